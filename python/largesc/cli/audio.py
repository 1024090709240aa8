# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens and reads speech for the command line."""

import os
from pathlib import Path

import numpy as np

from ..speech.files import AudioError, read_audio
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.reader import SpeechReader
from .process import stdin_for_data
from .say import say

RECORDINGS = Path("/usr/share/sounds/alsa")
SPOKEN = [
    "Front_Left.wav",
    "Front_Center.wav",
    "Front_Right.wav",
    "Side_Right.wav",
    "Rear_Right.wav",
    "Rear_Center.wav",
    "Rear_Left.wav",
    "Side_Left.wav",
]


def opened(path: str, raw_rate_hz: int | None = None) -> SpeechReader:
    """Any audio file, or raw 16-bit mono PCM, to be read piece by piece.

    Args:
        path: file, or ``-`` for stdin.
        raw_rate_hz: rate of raw PCM; None for a file with a header.

    Raises:
        AudioError: missing, unreadable or empty.
        ValueError: stdin is closed.
    """
    speech = SpeechReader(stdin_for_data() if path == "-" else path, raw_rate_hz)
    if speech.channels > 1:
        say(f"{speech.name}: {speech.channels} channels mixed down to one")
    if speech.rate_hz != SAMPLE_RATE_HZ:
        say(f"{speech.name}: resampled from {speech.rate_hz} Hz to {SAMPLE_RATE_HZ} Hz")
    return speech


def check_two_files(source: str, target: str) -> None:
    """Raises ValueError where the output would write over the input that is read."""
    if "-" in (source, target) or not (os.path.exists(source) and os.path.exists(target)):
        return
    if os.path.samefile(source, target) and os.path.isfile(source):
        raise ValueError(f"{target} is the input as well: give another file for the output")


def default_text() -> str:
    """What is said in :func:`default_speech`."""
    found = [RECORDINGS / name for name in SPOKEN if (RECORDINGS / name).exists()]
    return " ".join(path.stem.replace("_", " ") for path in found)


def default_speech() -> np.ndarray:
    """The spoken recordings of alsa-utils, one after the other, with half a second between.

    Raises:
        AudioError: they are not installed.
    """
    found = [RECORDINGS / name for name in SPOKEN if (RECORDINGS / name).exists()]
    if not found:
        raise AudioError(
            f"no recordings in {RECORDINGS}: apt-get install alsa-utils, or give an audio file"
        )
    say(f"speech: {len(found)} recordings of alsa-utils, resampled to {SAMPLE_RATE_HZ} Hz")
    pieces = []
    for path in found:
        pieces.append(read_audio(path))
        pieces.append(np.zeros(SAMPLE_RATE_HZ // 2, dtype=np.float32))
    return np.concatenate(pieces)

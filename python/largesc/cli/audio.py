# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing speech for the command line."""

import io
import sys
from pathlib import Path

import numpy as np
import soundfile

from ..speech.files import (
    AudioError,
    as_speech,
    decoded,
    from_pcm16,
    read_audio,
    to_pcm16,
    write_audio,
)
from ..speech.format import SAMPLE_RATE_HZ

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


def say(text: str) -> None:
    """One line to the user, apart from the data on stdout."""
    print(f"largesc: {text}", file=sys.stderr, flush=True)


def read_speech(path: str, raw_rate_hz: int | None = None) -> np.ndarray:
    """Any audio file, or raw 16-bit mono PCM, as float32 at 24 kHz.

    Args:
        path: file, or ``-`` for stdin.
        raw_rate_hz: rate of raw PCM; None for a file with a header.

    Raises:
        AudioError: missing, unreadable or empty.
    """
    source = sys.stdin.buffer if path == "-" else path
    if path != "-" and not Path(path).exists():
        raise AudioError(f"{path} does not exist")
    try:
        if raw_rate_hz:
            data = source.read() if path == "-" else Path(path).read_bytes()
            pcm = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2")
            audio, rate = from_pcm16(pcm)[:, None], raw_rate_hz
        else:
            # A pipe cannot be sought in, and the header of one may count more than comes.
            file = io.BytesIO(source.read()) if path == "-" else source
            audio, rate = decoded(file)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise AudioError(f"{path} is no audio file that can be read: {error}") from error
    if len(audio) == 0:
        raise AudioError(f"{path} is empty: there is no speech to send")
    if audio.shape[1] > 1:
        say(f"{path}: {audio.shape[1]} channels mixed down to one")
    if rate != SAMPLE_RATE_HZ:
        say(f"{path}: resampled from {rate} Hz to {SAMPLE_RATE_HZ} Hz")
    return as_speech(audio, rate)


def write_speech(path: str, samples: np.ndarray, raw: bool = False) -> None:
    """16-bit WAV, or raw PCM, at 24 kHz; ``-`` for stdout."""
    file = io.BytesIO()
    if raw:
        file.write(to_pcm16(samples).tobytes())
    else:
        write_audio(file, samples, "WAV")
    if path == "-":
        sys.stdout.buffer.write(file.getvalue())
        sys.stdout.buffer.flush()
    else:
        Path(path).write_bytes(file.getvalue())


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and tables of speech, for training and evaluation."""

import csv
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

SAMPLE_RATE_HZ = 24000
AUDIO_SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")


def read_audio(path: Path) -> np.ndarray:
    """Reads any file that libsndfile knows, mixed to mono at 24 kHz, float32 ``[samples]``."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = audio.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        gcd = np.gcd(rate, SAMPLE_RATE_HZ)
        mono = resample_poly(mono, SAMPLE_RATE_HZ // gcd, rate // gcd).astype(np.float32)
    return mono


def rows_of(source: Path) -> tuple[Path, list[dict[str, str]]]:
    """Folder and rows (path, corpus, speaker) of a table, or of a folder of audio files.

    In a folder the speaker of a file is the folder that it lies in, the corpus the whole.

    Raises:
        ValueError: there is no such file or folder, or no speech in it.
    """
    if source.is_dir():
        paths = (p for p in sorted(source.rglob("*")) if p.suffix.lower() in AUDIO_SUFFIXES)
        folder, rows = (
            source,
            [
                {
                    "path": str(path.relative_to(source)),
                    "corpus": source.name,
                    "speaker": str(path.parent.relative_to(source)),
                }
                for path in paths
            ],
        )
    elif source.is_file():
        folder = source.parent
        with source.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        if rows and (lacking := {"path", "corpus", "speaker"} - set(rows[0])):
            raise ValueError(f"{source} lacks the column {min(lacking)!r}: path, corpus, speaker")
    else:
        raise ValueError(f"{source} is missing: give a folder of audio files, or a table of them")
    if not rows:
        raise ValueError(
            f"{source} lists no speech: expected tab-separated path, corpus, speaker, or a folder "
            f"of {', '.join(AUDIO_SUFFIXES)} files"
        )
    return folder, rows

# SPDX-License-Identifier: GPL-3.0-or-later
"""Fundamental frequency of all training speech, found once by WORLD (pyworld)."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ..codec.source_filter import REFERENCE_HZ
from ..codec.spectral import SAMPLE_RATE_HZ
from .speech import PITCH_STEP_SAMPLES, Utterance, open_samples

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0


def find_pitch(cache: Path, place: tuple[int, int]) -> np.ndarray:
    """Pitch in Hz each 10 ms of the speech at ``place`` (start, samples), 0 where unvoiced."""
    import pyworld

    start, count = place
    speech = open_samples(cache)[start : start + count].astype(np.float64) / 32768.0
    pitch, times = pyworld.dio(
        speech, SAMPLE_RATE_HZ, f0_floor=LOWEST_HZ, f0_ceil=HIGHEST_HZ, frame_period=10.0
    )
    return pyworld.stonemask(speech, pitch, times, SAMPLE_RATE_HZ).astype(np.float32)


def prepare_pitch(utterances: list[Utterance], cache: Path, processes: int = 2) -> np.ndarray:
    """Pitch of everything in ``cache`` as one float32 array, a value each 240 samples, 0 unvoiced.

    A second call reads the finished file.
    """
    path = cache / "pitch.npy"
    if not path.exists():
        end = max(u.start + u.samples for u in utterances)
        found = np.zeros(end // PITCH_STEP_SAMPLES + 2, dtype=np.float32)
        places = [(u.start, u.samples) for u in utterances]
        with ProcessPoolExecutor(processes) as pool:
            pitches = pool.map(partial(find_pitch, cache), places, chunksize=32)
            for number, ((start, _), pitch) in enumerate(zip(places, pitches, strict=True)):
                # The utterance may begin between two steps, by 5 ms at most.
                first = round(start / PITCH_STEP_SAMPLES)
                found[first : first + len(pitch)] = pitch[: len(found) - first]
                if number % 500 == 0:
                    print(f"pitch: {number} of {len(places)} utterances", flush=True)
        partial_path = cache / "pitch.partial.npy"
        np.save(partial_path, found)
        partial_path.replace(path)
    return np.load(path, mmap_mode="r")


def continuous(pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log2 of pitch over 120 Hz with unvoiced gaps bridged, and where it is voiced.

    Args:
        pitch: Hz, ``[rows, steps]``, 0 where unvoiced.
    """
    voiced = pitch > 0
    out = np.zeros_like(pitch)
    steps = np.arange(pitch.shape[1])
    for row, known in enumerate(voiced):
        if known.any():
            out[row] = np.interp(steps, steps[known], np.log2(pitch[row, known] / REFERENCE_HZ))
    return out, voiced

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pitch, envelope and aperiodicity of all training speech, found once by WORLD (pyworld).

They are what the decoder's network is first taught, without making a sample of sound: that is twice
as fast as comparing spectra of decoded speech, and there is no noise in it.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ..codec.source_filter import REFERENCE_HZ
from ..speech.files import from_pcm16
from ..speech.format import SAMPLE_RATE_HZ
from .speech import (
    BANDS,
    PITCH_STEP_SAMPLES,
    SILENCE_LOG_POWER,
    Utterance,
    open_samples,
)

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
FFT_SAMPLES = 1024
# pyworld's coarse aperiodicity at 24 kHz: 3 and 6 and 9 kHz, in dB.
APERIODICITY_HZ = (3000.0, 6000.0, 9000.0)
COLUMNS = BANDS + len(APERIODICITY_HZ)


def band_places_hz(bands: int = BANDS) -> np.ndarray:
    """Centres of the bands in Hz, as ``codec.source_filter.band_weights`` has them."""
    top = 2595.0 * np.log10(1.0 + SAMPLE_RATE_HZ / 2 / 700.0)
    return 700.0 * (10.0 ** (np.linspace(0.0, top, bands) / 2595.0) - 1.0)


def analyse(cache: Path, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Analyses the speech at ``place`` (start, samples), a row each 10 ms.

    Returns pitch in Hz, 0 where unvoiced, ``[n]``, and natural log of the envelope's power with the
    coarse aperiodicity, ``[n, COLUMNS]``.
    """
    import pyworld

    start, count = place
    speech = from_pcm16(open_samples(cache)[start : start + count], np.float64)
    pitch, times = pyworld.dio(
        speech, SAMPLE_RATE_HZ, f0_floor=LOWEST_HZ, f0_ceil=HIGHEST_HZ, frame_period=10.0
    )
    pitch = pyworld.stonemask(speech, pitch, times, SAMPLE_RATE_HZ)
    power = pyworld.cheaptrick(speech, pitch, times, SAMPLE_RATE_HZ, fft_size=FFT_SAMPLES)
    coarse = pyworld.code_aperiodicity(
        pyworld.d4c(speech, pitch, times, SAMPLE_RATE_HZ, fft_size=FFT_SAMPLES), SAMPLE_RATE_HZ
    )
    places = band_places_hz() / (SAMPLE_RATE_HZ / FFT_SAMPLES)
    low = np.minimum(places.astype(int), power.shape[1] - 2)
    log_power = np.log(power + np.exp(SILENCE_LOG_POWER))
    share = places - low
    bands = log_power[:, low] * (1.0 - share) + log_power[:, low + 1] * share
    return pitch.astype(np.float32), np.hstack([bands, coarse]).astype(np.float16)


def prepare_world(
    utterances: list[Utterance], cache: Path, processes: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Analyses everything in ``cache``; a second call goes on where the first was stopped.

    Returns two maps with a row each 240 samples of the cache: pitch float32 ``[n]``, and the
    columns of :func:`analyse` float16 ``[n, COLUMNS]``.
    """
    end = max(u.start + u.samples for u in utterances) // PITCH_STEP_SAMPLES + 2
    maps = [cache / "pitch.f32", cache / "envelope.f16"]
    shapes = [((end,), np.float32), ((end, COLUMNS), np.float16)]
    opened = [
        np.memmap(path, dtype=kind, mode="r+" if path.exists() else "w+", shape=shape)
        for path, (shape, kind) in zip(maps, shapes, strict=True)
    ]
    # The utterance may begin between two steps, by 5 ms at most.
    first = [round(u.start / PITCH_STEP_SAMPLES) for u in utterances]
    todo = [n for n, step in enumerate(first) if not opened[1][step].any()]
    places = [(utterances[n].start, utterances[n].samples) for n in todo]
    with ProcessPoolExecutor(processes) as pool:
        found = pool.map(partial(analyse, cache), places, chunksize=16)
        for done, (number, (pitch, envelope)) in enumerate(zip(todo, found, strict=True)):
            step = first[number]
            count = min(len(pitch), end - step)
            opened[0][step : step + count] = pitch[:count]
            opened[1][step : step + count] = envelope[:count]
            if done % 500 == 0:
                print(f"analysis: {done} of {len(places)} utterances", flush=True)
    for whole in opened:
        whole.flush()
    return opened[0], opened[1]


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


def shares_of_noise(coarse: np.ndarray, bands: int = BANDS) -> np.ndarray:
    """Coarse aperiodicity in dB ``[..., 3]`` to noise's share of the power ``[..., bands]``.

    Between the places in dB linearly, from -60 dB at 0 Hz to 0 dB at 12 kHz, as WORLD has it.
    """
    known_hz = np.array([0.0, *APERIODICITY_HZ, SAMPLE_RATE_HZ / 2])
    place = np.interp(band_places_hz(bands), known_hz, np.arange(len(known_hz)))
    low = np.minimum(place.astype(int), len(known_hz) - 2)
    share = (place - low).astype(np.float32)
    ends = np.zeros((*coarse.shape[:-1], 1), np.float32)
    decibels = np.concatenate([ends - 60.0, coarse.astype(np.float32), ends], axis=-1)
    return 10.0 ** ((decibels[..., low] * (1.0 - share) + decibels[..., low + 1] * share) / 10.0)

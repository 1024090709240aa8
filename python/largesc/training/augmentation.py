# SPDX-License-Identifier: GPL-3.0-or-later
"""Each utterance once more as another voice, room and microphone would have it.

Read speech of few studios teaches a codec too little of the noise, echo and colour of other
recordings, and codebooks fitted to few voices fit new ones badly.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import fft
from scipy.signal import fftconvolve, resample_poly

from ..files import replacing
from ..speech.files import from_pcm16
from ..speech.format import SAMPLE_RATE_HZ
from .speech import Utterance, open_samples

# Voices become higher and faster, or lower and slower, by up to an eighth.
SPEED_PERCENT = (88, 114)
REVERBERANT, NOISY, COLOURED = 0.3, 0.7, 0.7
SNR_DB, COLOUR_DB, DECAY_S = (5.0, 35.0), 6.0, (0.1, 0.4)


def shaped(samples: np.ndarray, gains_db: np.ndarray, top_hz: float) -> np.ndarray:
    """Filters with gains at places spaced evenly in log frequency from 60 Hz to ``top_hz``."""
    size = fft.next_fast_len(len(samples), real=True)
    spectrum = fft.rfft(samples, size)
    hertz = np.maximum(fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ), 1.0)
    places = np.linspace(np.log(60.0), np.log(top_hz), len(gains_db))
    gains = np.interp(np.log(hertz), places, gains_db)
    return fft.irfft(spectrum * 10.0 ** (gains / 20.0), size)[: len(samples)]


def reverberant(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds a tail of noise that falls by 60 dB in a random time, 3 to 15 dB below what is dry."""
    decay_s = rng.uniform(*DECAY_S)
    tail = rng.standard_normal(int(decay_s * SAMPLE_RATE_HZ))
    tail *= 10.0 ** (-3.0 * np.arange(len(tail)) / len(tail))
    wet = fftconvolve(samples, tail)[: len(samples)]
    wet *= np.sqrt(np.mean(samples**2) / (np.mean(wet**2) + 1e-12))
    return samples + wet * 10.0 ** (-rng.uniform(3.0, 15.0) / 20.0)


def noise_like(
    count: int, others: list[np.ndarray], rng: np.random.Generator, top_hz: float
) -> np.ndarray:
    """Babble of other speech, or noise of a random colour whose level wanders, ``[count]``."""
    if others and rng.random() < 0.3:
        return np.sum([np.resize(other, count) for other in others], axis=0)
    tilt_db = np.linspace(0.0, -rng.uniform(0.0, 30.0), 8) + rng.uniform(-4.0, 4.0, 8)
    noise = shaped(rng.standard_normal(count), tilt_db, top_hz)
    knots = max(2, count // 12_000)
    wander_db = np.interp(np.linspace(0, knots, count), np.arange(knots), rng.normal(0, 2, knots))
    return noise * 10.0 ** (wander_db / 20.0)


def varied(cache: Path, utterances: list[Utterance], number: int) -> np.ndarray:
    """Utterance ``number`` in another voice, room and noise, int16; the same at each call."""
    rng = np.random.default_rng([7, number])
    samples = open_samples(cache)

    def read(u: Utterance) -> np.ndarray:
        return from_pcm16(samples[u.start : u.start + u.samples], np.float64)

    speech = resample_poly(read(utterances[number]), 100, int(rng.integers(*SPEED_PERCENT)))
    # Speech that was recorded at 16 kHz has nothing above 8 kHz, nor should its noise.
    power = np.square(np.abs(fft.rfft(speech, fft.next_fast_len(len(speech), real=True))))
    wide = power[2 * len(power) // 3 :].sum() > 1e-6 * power.sum()
    top_hz = SAMPLE_RATE_HZ / 2 if wide else 8000.0
    if rng.random() < COLOURED:
        speech = shaped(speech, rng.uniform(-COLOUR_DB, COLOUR_DB, 8), top_hz)
    if rng.random() < REVERBERANT:
        speech = reverberant(speech, rng)
    if rng.random() < NOISY:
        others = [read(utterances[n]) for n in rng.integers(0, len(utterances), 4)]
        noise = noise_like(len(speech), others, rng, top_hz)
        if not wide:
            noise = shaped(noise, np.where(np.arange(64) < 63, 0.0, -60.0), 8200.0)
        ratio = np.mean(speech**2) / (np.mean(noise**2) + 1e-12)
        speech = speech + noise * np.sqrt(ratio) * 10.0 ** (-rng.uniform(*SNR_DB) / 20.0)
    peak = np.abs(speech).max()
    return np.round(speech * (29_000.0 / max(peak, 1e-3))).astype(np.int16)


def add_variants(utterances: list[Utterance], cache: Path, processes: int = 2) -> list[Utterance]:
    """Appends a variant of each utterance to the speech in ``cache``; returns the variants."""
    index = cache / "varied.json"
    if index.exists():
        return [Utterance(**row) for row in json.loads(index.read_text())]
    end = max(u.start + u.samples for u in utterances)
    found = []
    with ProcessPoolExecutor(processes) as pool, (cache / "speech.i16").open("r+b") as out:
        # A call that was stopped may have left a part behind.
        out.truncate(2 * end)
        out.seek(2 * end)
        made = pool.map(partial(varied, cache, utterances), range(len(utterances)), chunksize=16)
        for original, pcm in zip(utterances, made, strict=True):
            out.write(pcm.tobytes())
            found.append(replace(original, start=end, samples=len(pcm)))
            end += len(pcm)
    with replacing(index) as file:
        file.write_text(json.dumps([asdict(u) for u in found]))
    return found

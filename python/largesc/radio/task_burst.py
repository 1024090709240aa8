# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of analogue symbols, found and made upright far below the SNR of a packet.

    preamble 256 | symbols of the command | guard 196

The preamble is eight times as long as a packet's sync, so that a burst is found at -6 dB a symbol.
The guard is silent, and so long that a receiver finds the burst though nothing comes behind it.
"""

from dataclasses import dataclass

import numpy as np

from .profiles import RadioProfile
from .pulses import SPAN, pulse_taps, to_symbols, whitening

PREAMBLE_SYMBOLS = 256
# The preamble is summed over so many symbols before frequencies are told apart: that reaches to
# 12 % of the symbol rate to each side.
SUMMED = 4
BINS = 2 * PREAMBLE_SYMBOLS // SUMMED
WIDEST = 0.12
# Share of the energy of 256 symbols that must fit. Noise passes with 0.9^255, 2e-12, a place and
# frequency.
THRESHOLD = 0.1
# Places that are compared, a symbol; around the first that fits, the best of so many symbols.
PLACES = 2
APART_SYMBOLS = 24
# Around the frequency that the preamble tells, cycles a symbol.
FINE = np.linspace(-6e-4, 6e-4, 25)
PIECE_SYMBOLS = 512
# Fewer places than of so many symbols are not searched at once.
LEAST_SYMBOLS = PIECE_SYMBOLS // 4
# The pulses of both ends reach on, the receiver compares places, and searches many at once.
GUARD_SYMBOLS = 2 * SPAN + 2 * APART_SYMBOLS + LEAST_SYMBOLS + 4
LOUDEST = 1e9


def preamble_symbols() -> np.ndarray:
    """complex64 ``[256]`` of energy 1."""
    # The first bits of the whitening are ones only.
    return to_symbols(whitening(1024 + PREAMBLE_SYMBOLS)[1024:], 1)


def make_task_burst(symbols: np.ndarray) -> np.ndarray:
    """Preamble, ``symbols`` (complex ``[n]`` of mean power 1) and guard, complex64."""
    guard = np.zeros(GUARD_SYMBOLS, dtype=np.complex64)
    return np.concatenate([preamble_symbols(), np.asarray(symbols, dtype=np.complex64), guard])


@dataclass(frozen=True)
class TaskBurst:
    """A burst that was found.

    Attributes:
        symbols: complex64 ``[n]``, upright, as sent and noise.
        snr_db: of a symbol, by the preamble.
        start: sample of its first symbol in the stream.
        offset: of the carrier, in cycles a symbol.
    """

    symbols: np.ndarray
    snr_db: float
    start: int
    offset: float


class TaskBurstReceiver:
    """Samples in, bursts out. Memory is bounded whatever comes in.

    Args:
        profile: of single carrier.
        words: what may be sent, complex ``[classes, n]`` of mean power 1: the carrier's offset is
            told by the preamble and the word that fits best together.

    Counters, in :attr:`counters`: ``bursts`` found, ``broken_samples`` (no number, or beyond 1e9).

    Raises:
        ValueError: the profile has another waveform.
    """

    def __init__(self, profile: RadioProfile, words: np.ndarray) -> None:
        if profile.waveform != "single_carrier":
            raise ValueError(
                f"profile {profile.name!r} is {profile.waveform}: use a single-carrier one"
            )
        self._sps = profile.samples_per_symbol
        self._words = np.asarray(words, dtype=np.complex64)
        self._known = preamble_symbols()
        self._taps = pulse_taps(self._sps) / self._sps
        self._half = SPAN * self._sps
        self._burst = (PREAMBLE_SYMBOLS + self._words.shape[1]) * self._sps
        self.counters = {"bursts": 0, "broken_samples": 0}
        # Filtered samples from the place on that is searched next.
        self._raw = np.zeros(2 * self._half, dtype=np.complex64)
        self._filtered = np.zeros(0, dtype=np.complex64)
        self._first = -self._half

    def push(self, samples: np.ndarray) -> list[TaskBurst]:
        """Takes complex samples ``[n]`` and gives the bursts that are whole with them."""
        found = []
        step = PIECE_SYMBOLS * self._sps
        for begin in range(0, len(samples), step):
            found += self._push(np.asarray(samples[begin : begin + step], dtype=np.complex64))
        return found

    def _push(self, samples: np.ndarray) -> list[TaskBurst]:
        broken = ~(np.abs(samples) < LOUDEST)
        if broken.any():
            self.counters["broken_samples"] += int(broken.sum())
            samples = np.where(broken, np.complex64(0), samples)
        self._raw = np.concatenate([self._raw, samples])
        new = np.convolve(self._raw, self._taps, mode="valid").astype(np.complex64)
        self._raw = self._raw[len(self._raw) - 2 * self._half :]
        self._filtered = np.concatenate([self._filtered, new])
        found = []
        # What is searched now is followed by all that a burst there may need.
        while (room := len(self._filtered) - self._burst - 2 * APART_SYMBOLS * self._sps) > 0:
            places = room // (self._sps // PLACES)
            if places < LEAST_SYMBOLS * PLACES:
                break
            taken, burst = self._search(places)
            if burst is not None:
                found.append(burst)
                self.counters["bursts"] += 1
            self._filtered = self._filtered[taken:]
            self._first += taken
        return found

    def _search(self, places: int) -> tuple[int, TaskBurst | None]:
        """Samples that are done with, and the first burst that begins within them."""
        step = self._sps // PLACES
        share = self._shares(np.arange(places) * step)[0]
        over = np.flatnonzero(share > THRESHOLD)
        if not len(over):
            return places * step, None
        near = int(over[0]) * step + np.arange(APART_SYMBOLS * self._sps)
        share, offset = self._shares(near)
        best = int(np.argmax(share))
        start = int(near[best])
        return start + self._burst, self._read(start, float(offset[best]))

    def _shares(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of the energy that the preamble explains at each start, and its offset."""
        n = starts[:, None] + np.arange(PREAMBLE_SYMBOLS) * self._sps
        heard = self._filtered[n]
        energy = np.square(np.abs(heard)).sum(axis=1)
        summed = (heard * self._known.conj()).reshape(len(n), -1, SUMMED).sum(axis=2)
        fit = np.abs(np.fft.fft(summed, BINS, axis=1)) ** 2
        offsets = np.fft.fftfreq(BINS) / SUMMED
        fit[:, np.abs(offsets) > WIDEST] = 0.0
        best = fit.argmax(axis=1)
        highest = fit[np.arange(len(n)), best]
        return highest / np.maximum(PREAMBLE_SYMBOLS * energy, 1e-30), offsets[best]

    def _read(self, start: int, offset: float) -> TaskBurst:
        count = PREAMBLE_SYMBOLS + self._words.shape[1]
        heard = self._filtered[start + np.arange(count) * self._sps]
        n = np.arange(count)
        coarse = offset + np.linspace(-0.5, 0.5, 33) / (BINS * SUMMED)
        preamble = heard[:PREAMBLE_SYMBOLS] * self._known.conj()
        turned = np.exp(-2j * np.pi * np.outer(coarse, n[:PREAMBLE_SYMBOLS])) @ preamble
        offset = coarse[int(np.argmax(np.abs(turned)))]
        turns = np.exp(-2j * np.pi * np.outer(offset + FINE, n))
        first = turns[:, :PREAMBLE_SYMBOLS] @ preamble
        words = (turns[:, PREAMBLE_SYMBOLS:] * heard[PREAMBLE_SYMBOLS:]) @ self._words.conj().T
        best = int(np.argmax(np.abs(first[:, None] + words).max(axis=1)))
        upright = heard * turns[best]
        gain = complex(first[best]) / PREAMBLE_SYMBOLS
        power = float(np.square(np.abs(upright[:PREAMBLE_SYMBOLS])).mean())
        noise = max(power - abs(gain) ** 2, 1e-6 * power, 1e-30)
        snr_db = 10.0 * np.log10(max(abs(gain) ** 2, 1e-30) / noise)
        symbols = (upright[PREAMBLE_SYMBOLS:] / (gain or 1.0)).astype(np.complex64)
        return TaskBurst(symbols, float(snr_db), self._first + start, float(offset + FINE[best]))

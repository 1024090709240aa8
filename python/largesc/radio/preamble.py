# SPDX-License-Identifier: GPL-3.0-or-later
"""The preamble of bursts of analogue symbols, found in a stream far below the SNR of a packet.

It is eight times as long as a packet's sync, so that a burst is found at -6 dB a symbol.
"""

from collections.abc import Iterator

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
PIECE_SYMBOLS = 512
# Fewer places than of so many symbols are not searched at once.
LEAST_SYMBOLS = PIECE_SYMBOLS // 4
# The pulses of both ends reach on, the receiver compares places, and searches many at once.
GUARD_SYMBOLS = 2 * SPAN + 2 * APART_SYMBOLS + LEAST_SYMBOLS + 4
LOUDEST = 1e9


def preamble_symbols(number: int = 1) -> np.ndarray:
    """complex64 ``[256]`` of energy 1.

    Args:
        number: 1 for bursts of features and commands, 7 for bursts of speech: pieces of the
            whitening that look least like themselves some symbols later, at any carrier offset.
    """
    first = 1024 * number
    return to_symbols(whitening(first + PREAMBLE_SYMBOLS)[first:], 1)


class PreambleSearch:
    """Samples in, places of preambles out. Memory is bounded whatever comes in.

    Args:
        profile: of single carrier.
        behind: symbols that must lie behind a preamble when it is found.
        over: symbols behind a preamble within which no other is searched; less than 0: others are
            searched that begin so long before it ends.
        number: of the preamble, as of :func:`preamble_symbols`.

    Attributes:
        counters: ``broken_samples`` (no number, or beyond 1e9), and what a receiver adds.
        filtered: samples behind the matched filter, from number :attr:`first` of the stream on.
        known: symbols of the preamble.
        raw: samples before it, as many more at both ends as a pulse reaches to each side.

    Raises:
        ValueError: the profile has another waveform.
    """

    def __init__(self, profile: RadioProfile, behind: int, over: int, number: int = 1) -> None:
        if profile.waveform != "single_carrier":
            raise ValueError(
                f"profile {profile.name!r} is {profile.waveform}: use a single-carrier one"
            )
        self.sps = profile.samples_per_symbol
        self.known = preamble_symbols(number)
        self._taps = pulse_taps(self.sps) / self.sps
        half = SPAN * self.sps
        self._behind = (PREAMBLE_SYMBOLS + behind) * self.sps
        self._over = (PREAMBLE_SYMBOLS + over) * self.sps
        self.counters = {"broken_samples": 0}
        self.raw = np.zeros(2 * half, dtype=np.complex64)
        self.filtered = np.zeros(0, dtype=np.complex64)
        # Number of the first filtered sample, and of the place that is searched next.
        self.first = self._place = -half

    def pieces(self, samples: np.ndarray) -> Iterator[None]:
        """Takes complex samples ``[n]``, and stops where preambles may be searched."""
        step = PIECE_SYMBOLS * self.sps
        for begin in range(0, len(samples), step):
            self._take(np.asarray(samples[begin : begin + step], dtype=np.complex64))
            yield

    def _take(self, samples: np.ndarray) -> None:
        broken = ~(np.abs(samples) < LOUDEST)
        if broken.any():
            self.counters["broken_samples"] += int(broken.sum())
            samples = np.where(broken, np.complex64(0), samples)
        overlap = self.raw[len(self.raw) - len(self._taps) + 1 :]
        new = np.convolve(np.concatenate([overlap, samples]), self._taps, mode="valid")
        self.raw, new = np.concatenate([self.raw, samples]), new.astype(np.complex64)
        self.filtered = np.concatenate([self.filtered, new])

    def forget(self, before: int) -> None:
        """Drops filtered samples before number ``before``, but none that is still searched."""
        gone = min(before, self._place) - self.first
        if gone > 0:
            self.filtered, self.raw = self.filtered[gone:], self.raw[gone:]
            self.first += gone

    @property
    def end(self) -> int:
        """Returns the number of the sample behind the last that is filtered."""
        return self.first + len(self.filtered)

    @property
    def searched(self) -> int:
        """Returns the number of the sample before which all preambles are found."""
        return self._place

    def found(self) -> Iterator[tuple[int, float]]:
        """Sample at which each preamble begins, and the carrier's offset in cycles a symbol."""
        # What is searched now is followed by all that is needed there.
        while (room := self.end - self._place - self._behind - 2 * APART_SYMBOLS * self.sps) > 0:
            step = self.sps // PLACES
            places = room // step
            if places < LEAST_SYMBOLS * PLACES:
                return
            share = self.shares(self._place + np.arange(places) * step)[0]
            over = np.flatnonzero(share > THRESHOLD)
            if not len(over):
                self._place += places * step
                continue
            near = self._place + int(over[0]) * step + np.arange(APART_SYMBOLS * self.sps)
            share, offset = self.shares(near)
            best = int(np.argmax(share))
            start = int(near[best])
            self._place = start + self._over
            yield start, float(offset[best])

    def shares(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of the energy that the preamble explains at each start, and its offset."""
        n = starts[:, None] - self.first + np.arange(PREAMBLE_SYMBOLS) * self.sps
        heard = self.filtered[n]
        energy = np.square(np.abs(heard)).sum(axis=1)
        summed = (heard * self.known.conj()).reshape(len(n), -1, SUMMED).sum(axis=2)
        fit = np.abs(np.fft.fft(summed, BINS, axis=1)) ** 2
        offsets = np.fft.fftfreq(BINS) / SUMMED
        fit[:, np.abs(offsets) > WIDEST] = 0.0
        best = fit.argmax(axis=1)
        highest = fit[np.arange(len(n)), best]
        return highest / np.maximum(PREAMBLE_SYMBOLS * energy, 1e-30), offsets[best]

    def finer(self, preamble: np.ndarray, offset: float) -> float:
        """The carrier's offset that fits a preamble best, complex ``[256]``, near ``offset``."""
        near = offset + np.linspace(-0.5, 0.5, 33) / (BINS * SUMMED)
        stripped = preamble * self.known.conj()
        turned = np.exp(-2j * np.pi * np.outer(near, np.arange(PREAMBLE_SYMBOLS))) @ stripped
        return float(near[int(np.argmax(np.abs(turned)))])

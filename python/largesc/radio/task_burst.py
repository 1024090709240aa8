# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of the task link: a few analogue symbols, made upright far below the SNR of a packet.

    preamble 256 | symbols of the command | guard 196

The guard is silent, and so long that a receiver finds the burst though nothing comes behind it.
"""

from dataclasses import dataclass

import numpy as np

from .preamble import GUARD_SYMBOLS, PREAMBLE_SYMBOLS, PreambleSearch, preamble_symbols
from .profiles import RadioProfile

# Around the frequency that the preamble tells, cycles a symbol.
FINE = np.linspace(-6e-4, 6e-4, 25)


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
        self._words = np.asarray(words, dtype=np.complex64)
        count = self._words.shape[1]
        self._search = PreambleSearch(profile, behind=count, over=count)
        self._known = preamble_symbols()
        self.counters = self._search.counters
        self.counters["bursts"] = 0

    def push(self, samples: np.ndarray) -> list[TaskBurst]:
        """Takes complex samples ``[n]`` and gives the bursts that are whole with them."""
        bursts = []
        for _ in self._search.pieces(samples):
            for start, offset in self._search.found():
                bursts.append(self._read(start, offset))
                self.counters["bursts"] += 1
            self._search.forget(self._search.end)
        return bursts

    def _read(self, start: int, offset: float) -> TaskBurst:
        count = PREAMBLE_SYMBOLS + self._words.shape[1]
        n = np.arange(count)
        heard = self._search.filtered[start - self._search.first + n * self._search.sps]
        preamble = heard[:PREAMBLE_SYMBOLS] * self._known.conj()
        offset = self._search.finer(heard[:PREAMBLE_SYMBOLS], offset)
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
        return TaskBurst(symbols, float(snr_db), start, float(offset + FINE[best]))

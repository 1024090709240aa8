# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparing the samples with the sync of a burst, at many carrier offsets."""

import math
from dataclasses import replace

import numpy as np

from .band import SPACING, USABLE
from .profiles import ROLL_OFF, SYNC_SYMBOLS, RadioProfile
from .pulses import SPAN, pulse_taps, sync_symbols

# Carrier offsets that are tried within a channel, in cycles a symbol: 10 % to each side.
OFFSET_STEP = 1 / 96
OFFSETS = OFFSET_STEP * np.arange(-10, 11)
# Places that are compared, a symbol.
PLACES = 4
# Half of what a burst occupies, in cycles a symbol.
HALF_WIDTH = (1 + ROLL_OFF) / 2


def most_search_hz(profile: RadioProfile, sample_rate: float) -> float:
    """Greatest carrier offset that can be searched in a stream of ``sample_rate``, in Hz.

    The search runs at whole multiples of four samples a symbol.
    """
    samples = max(PLACES, math.floor(sample_rate / profile.symbol_rate / PLACES) * PLACES)
    return (USABLE * samples - HALF_WIDTH) * profile.symbol_rate


def searched_profile(profile: RadioProfile, search_hz: float) -> RadioProfile:
    """The profile with as many samples a symbol as ``search_hz`` to each side need."""
    needed = (search_hz / profile.symbol_rate + HALF_WIDTH) / USABLE
    samples = PLACES * math.ceil(needed / PLACES - 1e-9)
    return replace(profile, samples_per_symbol=max(profile.samples_per_symbol, samples))


def channels_for(profile: RadioProfile, search_hz: float) -> int:
    """Channels to each side of the centre whose searches reach as far as ``search_hz``."""
    beyond = search_hz / profile.symbol_rate - OFFSETS[-1]
    return max(0, math.ceil(beyond / SPACING - 1e-9))


class SyncSearch:
    """How well the sync fits at each place, in the channels that are asked for.

    Args:
        samples_per_symbol: a multiple of 4.
    """

    def __init__(self, samples_per_symbol: int) -> None:
        self._sps = samples_per_symbol
        self.step = samples_per_symbol // PLACES
        self.half = SPAN * samples_per_symbol
        self._taps = pulse_taps(samples_per_symbol) / samples_per_symbol
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _channel(self, channel: int) -> tuple[np.ndarray, np.ndarray]:
        """Pulse ``[taps]`` and syncs ``[32, offsets]`` at the frequency of a channel."""
        if channel not in self._known:
            centre = channel * SPACING
            n = np.arange(-self.half, self.half + 1)
            taps = self._taps * np.exp(-2j * np.pi * centre / self._sps * n)
            turns = np.exp(-2j * np.pi * np.outer(np.arange(SYNC_SYMBOLS), centre + OFFSETS))
            banks = sync_symbols().conj()[:, None] * turns
            self._known[channel] = taps.astype(np.complex64), banks.astype(np.complex64)
        return self._known[channel]

    def fits(
        self, samples: np.ndarray, count: int, channels: list[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compares ``count`` places, :attr:`step` samples apart.

        Args:
            samples: complex64, from half a pulse before the first place on.
            channels: to search, 0 is the centre.

        Returns:
            Of each place the best fit, its share of the energy, and its offset in cycles a symbol.
        """
        length = count + (SYNC_SYMBOLS - 1) * PLACES
        windows = np.lib.stride_tricks.sliding_window_view(samples, 2 * self.half + 1)
        windows = np.ascontiguousarray(windows[:: self.step][:length])
        best = np.zeros(count, dtype=np.float32)
        metric, offset = np.zeros(count), np.zeros(count)
        for channel in channels:
            taps, banks = self._channel(channel)
            filtered = windows @ taps
            syncs = np.lib.stride_tricks.sliding_window_view(
                filtered, (SYNC_SYMBOLS - 1) * PLACES + 1
            )
            syncs = np.ascontiguousarray(syncs[:count, ::PLACES])
            energy = SYNC_SYMBOLS * np.sum(syncs.real**2 + syncs.imag**2, axis=1)
            fit = np.abs(syncs @ banks) ** 2
            highest = fit.max(axis=1)
            better = highest > best
            best = np.where(better, highest, best)
            metric = np.where(better, highest / np.maximum(energy, 1e-30), metric)
            told = channel * SPACING + OFFSETS[np.argmax(fit, axis=1)]
            offset = np.where(better, told, offset)
        return best, metric, offset

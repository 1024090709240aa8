# SPDX-License-Identifier: GPL-3.0-or-later
"""What a receiver of analogue symbols does with a burst that it has found: time, gain, symbols."""

import math
from dataclasses import dataclass, replace

import numpy as np

from .pilots import Gain, fit_gain
from .preamble import PREAMBLE_SYMBOLS, PreambleSearch
from .profiles import RadioProfile
from .pulses import SPAN, pulse, to_symbols, whitening

APART, PILOTS = 64, 4
# Of the preamble so many symbols make a group.
GROUP = 8
# Cycles a symbol to each side of what is known.
FINER = np.linspace(-3e-4, 3e-4, 25)
# Samples that the receiver's clock gains or loses against the sender's within a thousand symbols.
DRIFTS = np.linspace(-0.4, 0.4, 9)
# In shorter bursts that is little.
LEAST_DRIFTING = 1000


@dataclass(frozen=True)
class Layout:
    """Where everything of a burst stands, behind its preamble.

    Attributes:
        data: places of symbols.
        pilots: places of pilots.
        length: of both.
    """

    data: np.ndarray
    pilots: np.ndarray
    length: int


def laid_out(count: int) -> Layout:
    """The layout of ``count`` symbols: behind each 64 of them and the last stand 4 pilots."""
    n = np.arange(count)
    data = n + PILOTS * (n // APART)
    groups = -(-count // APART)
    starts = np.minimum((np.arange(groups) + 1) * APART, count) + PILOTS * np.arange(groups)
    pilots = (starts[:, None] + np.arange(PILOTS)).ravel()
    return Layout(data, pilots, count + PILOTS * groups)


def pilot_symbols(count: int) -> np.ndarray:
    """complex64 ``[count]`` of energy 1."""
    return to_symbols(whitening(4096 + count)[4096:], 1)


def spread_order(count: int) -> np.ndarray:
    """The order in which ``count`` symbols are sent: neighbours lie far apart."""
    step = max(1, round(count * 0.381966))
    while math.gcd(step, count) > 1:
        step += 1
    return np.arange(count) * step % count


@dataclass(frozen=True)
class Place:
    """Where a burst is: from so much behind sample ``start`` on, and the carrier ``offset``.

    ``drift`` is in samples within a thousand symbols, ``offset`` in cycles a symbol.
    """

    start: int
    late: float
    offset: float
    drift: float = 0.0


@dataclass(frozen=True)
class HeardSymbols:
    """Symbols of a burst.

    Attributes:
        symbols: complex64 ``[n]``, upright: h times what was sent, and noise.
        h: amplitude of each of them, float32 ``[n]``, of mean power 1 over the burst.
        snr_db: mean of a symbol, what is uncertain of ``h`` counted as noise.
        place: of the burst, as its pilots have it.
    """

    symbols: np.ndarray
    h: np.ndarray
    snr_db: float
    place: Place


class BurstReader:
    """Reads bursts out of the samples that a search keeps.

    Args:
        profile: of single carrier.
        search: of preambles.
    """

    def __init__(self, profile: RadioProfile, search: PreambleSearch) -> None:
        self._search, self._known = search, search.known
        self._rate, self._sps = profile.symbol_rate, profile.samples_per_symbol

    def found_at(self, start: int, offset: float) -> Place:
        """The place of a burst whose preamble was found at sample ``start``."""
        n = np.arange(PREAMBLE_SYMBOLS)
        offset = self._search.finer(self.symbols(Place(start, 0.0, 0.0), n), offset)
        return self._timed(Place(start, 0.0, offset))

    def strength(self, place: Place) -> float:
        """The power with which the preamble of a burst is received."""
        heard = self.symbols(place, np.arange(PREAMBLE_SYMBOLS))
        return float(np.abs(np.vdot(self._known, heard) / PREAMBLE_SYMBOLS) ** 2)

    def read(self, place: Place, stands: Layout, skipped: int = 0) -> HeardSymbols:
        """All symbols of a burst in the order of the sender.

        Args:
            place: of the burst.
            stands: what it holds.
            skipped: symbols at its beginning that are a header.
        """
        count = len(stands.data) - skipped
        drifts = DRIFTS if count > LEAST_DRIFTING else (0.0,)
        tried = [replace(place, drift=drift) for drift in drifts]
        fits = [(self.gain(one, stands, FINER), one) for one in tried]
        found, place = max(fits, key=lambda fit: fit[0].likelihood)
        data = PREAMBLE_SYMBOLS + stands.data[skipped:]
        gain, error = found.at(data)
        order = spread_order(count)
        power = max(float(np.mean(np.abs(gain) ** 2)), 1e-30)
        snr_db = 10.0 * math.log10(power / max(found.noise + error, 1e-30))
        heard = self.symbols(place, data) / math.sqrt(power)
        upright = np.empty(count, dtype=np.complex64)
        upright[order] = heard * np.exp(-1j * np.angle(gain))
        h = np.empty(count, dtype=np.float32)
        h[order] = np.abs(gain) / math.sqrt(power)
        return HeardSymbols(upright, h, snr_db, replace(place, offset=place.offset + found.turn))

    def gain(self, place: Place, stands: Layout, turns: np.ndarray) -> Gain:
        """The gain of a burst by its known symbols; ``turns`` that are left are tried."""
        first = PREAMBLE_SYMBOLS // GROUP
        preamble, pilots = np.arange(PREAMBLE_SYMBOLS), np.arange(len(stands.pilots))
        places = np.concatenate([preamble, PREAMBLE_SYMBOLS + stands.pilots])
        groups = np.concatenate([preamble // GROUP, first + pilots // PILOTS])
        sent = np.concatenate([self._known, pilot_symbols(len(pilots))])
        heard = self.symbols(place, places) * sent.conj()
        return fit_gain(heard, places, groups, turns, self._rate)

    def _timed(self, place: Place) -> Place:
        """The place at the time between two samples that fits the preamble best."""
        n, late = np.arange(PREAMBLE_SYMBOLS), place.late
        for step in (1.0, 0.5):
            near = [replace(place, late=late + shift) for shift in (-step, 0.0, step)]
            fit = [abs(np.vdot(self._known, self.symbols(one, n))) for one in near]
            bend = fit[0] - 2.0 * fit[1] + fit[2]
            if bend < 0:
                late += step * float(np.clip(0.5 * (fit[0] - fit[2]) / bend, -1.0, 1.0))
        return replace(place, late=late)

    def symbols(self, place: Place, n: np.ndarray) -> np.ndarray:
        """Symbols of numbers ``n`` of a burst, behind the matched filter, the carrier at 0."""
        half = SPAN * self._sps
        middle = place.late + n * (self._sps + 1e-3 * place.drift)
        whole = np.round(middle).astype(int)
        reach = np.arange(-half, half + 1)
        taps = pulse(((whole - middle)[:, None] + reach) / self._sps) / self._sps
        at = whole[:, None] + reach
        turn = np.exp(-2j * np.pi * place.offset / self._sps * at)
        near = np.clip(at + place.start - self._search.first + half, 0, len(self._search.raw) - 1)
        return (self._search.raw[near] * turn * taps).sum(axis=1)

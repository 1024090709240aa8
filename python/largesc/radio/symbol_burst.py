# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts that carry many analogue symbols, as a channel code of features gives them.

    preamble 256 | header 192 and symbols n, behind each 64 of them and the last 4 pilots | guard

The header is 4 bytes of whoever sends and a CRC, BPSK behind a convolutional code of rate 1/2,
nearly twice. The symbols are sent in another order, so that what fades for a while fades for all of
them a little. Preamble and pilots tell the gain at each symbol.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .._core import CRC_BYTES, append_crc, has_right_crc
from .codes import PacketCode
from .pilots import Gain, fit_gain
from .preamble import GUARD_SYMBOLS, PREAMBLE_SYMBOLS, PreambleSearch, preamble_symbols
from .profiles import PROFILES, TAIL_BITS, RadioProfile
from .pulses import SPAN, pulse, to_symbols, whitening

# Of their code and modulation nothing is used but in the header.
SYMBOL_PROFILES = {
    "ssb": PROFILES["ssb"],
    "medium": RadioProfile("medium", "single_carrier", "qpsk", 4800.0, 4, "convolutional"),
    "narrow": PROFILES["narrow"],
}
FACT_BYTES = 4
HEADER_BITS = 8 * (FACT_BYTES + CRC_BYTES)
CODED_BITS = 2 * (HEADER_BITS + TAIL_BITS)
HEADER_SYMBOLS = 192
# Beyond, the clocks of both ends drift apart.
MOST_SYMBOLS = 4096
APART, PILOTS = 64, 4
# The receiver compares places; pulses of both ends reach on.
LEAST_GUARD = 2 * SPAN + 8
# Of the preamble so many symbols make a group.
GROUP = 8
# Cycles a symbol to each side of what the preamble tells.
TURNS = np.linspace(-6e-4, 6e-4, 49)
# And of what preamble and header tell.
FINER = np.linspace(-3e-4, 3e-4, 25)
# Samples that the receiver's clock gains or loses against the sender's within a thousand symbols.
DRIFTS = np.linspace(-0.4, 0.4, 9)
# In shorter bursts that is little.
LEAST_DRIFTING = 1000


def find_symbol_profile(name: str) -> RadioProfile:
    """The profile ``name`` of those that carry analogue symbols.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SYMBOL_PROFILES:
        known = ", ".join(SYMBOL_PROFILES)
        raise ValueError(f"profile {name!r} carries no analogue symbols: use one of {known}")
    return SYMBOL_PROFILES[name]


@dataclass(frozen=True)
class Layout:
    """Where everything of a burst of ``count`` symbols stands, behind its preamble.

    Attributes:
        data: places of header and symbols.
        pilots: places of pilots.
        length: of both.
    """

    data: np.ndarray
    pilots: np.ndarray
    length: int


def layout(count: int) -> Layout:
    """The layout of a header and ``count`` symbols."""
    n = np.arange(HEADER_SYMBOLS + count)
    data = n + PILOTS * (n // APART)
    groups = -(-len(n) // APART)
    starts = np.minimum((np.arange(groups) + 1) * APART, len(n)) + PILOTS * np.arange(groups)
    pilots = (starts[:, None] + np.arange(PILOTS)).ravel()
    return Layout(data, pilots, len(n) + PILOTS * groups)


def pilot_symbols(count: int) -> np.ndarray:
    """complex64 ``[count]`` of energy 1."""
    return to_symbols(whitening(4096 + count)[4096:], 1)


def spread_order(count: int) -> np.ndarray:
    """The order in which ``count`` symbols are sent: neighbours lie far apart."""
    step = max(1, round(count * 0.381966))
    while math.gcd(step, count) > 1:
        step += 1
    return np.arange(count) * step % count


HEADER_ORDER = spread_order(HEADER_SYMBOLS)


def burst_symbols(count: int) -> int:
    """All symbols of a burst, preamble, header, pilots and guard included."""
    return PREAMBLE_SYMBOLS + layout(count).length + _guard(count)


def _guard(count: int) -> int:
    # A receiver finds a short burst though nothing comes behind it.
    return max(LEAST_GUARD, GUARD_SYMBOLS - count)


def make_symbol_burst(facts: bytes, symbols: np.ndarray) -> np.ndarray:
    """A burst, complex64.

    Args:
        facts: 4 bytes for the header; both ends know how many symbols follow on them.
        symbols: complex ``[n]`` of mean power 1, n from 1 to 4096.

    Raises:
        ValueError: there are other numbers of them.
    """
    if len(facts) != FACT_BYTES or not 1 <= len(symbols) <= MOST_SYMBOLS:
        raise ValueError(
            f"a burst of {len(facts)} bytes and {len(symbols)} symbols: use {FACT_BYTES} bytes "
            f"and 1 to {MOST_SYMBOLS} symbols"
        )
    head = append_crc(facts)
    bits = np.unpackbits(np.frombuffer(head, dtype=np.uint8))
    coded = np.resize(PacketCode("convolutional").encode(bits), HEADER_SYMBOLS)
    header = to_symbols(coded[HEADER_ORDER] ^ whitening(HEADER_SYMBOLS), 1)
    place = layout(len(symbols))
    body = np.zeros(place.length, dtype=np.complex64)
    body[place.pilots] = pilot_symbols(len(place.pilots))
    body[place.data] = np.concatenate([header, symbols[spread_order(len(symbols))]])
    guard = np.zeros(_guard(len(symbols)), dtype=np.complex64)
    return np.concatenate([preamble_symbols(), body, guard])


@dataclass(frozen=True)
class SymbolBurst:
    """A burst that was received.

    Attributes:
        facts: the 4 bytes of the sender.
        symbols: complex64 ``[n]``, upright: h times what was sent, and noise.
        h: amplitude of each of them, float32 ``[n]``, of mean power 1 over the burst.
        snr_db: mean of a symbol, what is uncertain of ``h`` counted as noise.
        start: sample of its first symbol in the stream.
        offset: of the carrier, in cycles a symbol.
    """

    facts: bytes
    symbols: np.ndarray
    h: np.ndarray
    snr_db: float
    start: int
    offset: float


@dataclass(frozen=True)
class _Place:
    """Where a burst is: from so much behind sample ``start`` on, and the carrier ``offset``.

    ``drift`` is in samples within a thousand symbols.
    """

    start: int
    late: float
    offset: float
    drift: float = 0.0


@dataclass(frozen=True)
class _Open:
    """A burst of which the header was read."""

    place: _Place
    facts: bytes
    count: int


class SymbolBurstReceiver:
    """Samples in, bursts out. Memory is bounded whatever comes in.

    A burst within which another one begins is over with it: the other one counts.

    Args:
        profile: of single carrier.
        count_of: how many symbols follow on these 4 bytes of a header, at most 4096; 0: it is none.

    Counters, in :attr:`counters`: ``preambles`` found, of them ``headers_failed``; ``bursts``
    whole, and ``cut`` ones; ``broken_samples`` (no number, or beyond 1e9).

    Raises:
        ValueError: the profile has another waveform.
    """

    def __init__(self, profile: RadioProfile, count_of: Callable[[bytes], int]) -> None:
        self._count_of = count_of
        self._head = layout(1).length
        self._search = PreambleSearch(profile, behind=self._head, over=0)
        self._rate, self._sps = profile.symbol_rate, profile.samples_per_symbol
        self._known, self._code = preamble_symbols(), PacketCode("convolutional")
        self._open: _Open | None = None
        self.counters = self._search.counters
        self.counters |= {"preambles": 0, "headers_failed": 0, "bursts": 0, "cut": 0}

    def push(self, samples: np.ndarray) -> list[SymbolBurst]:
        """Takes complex samples ``[n]`` and gives the bursts that are whole with them."""
        bursts = []
        for _ in self._search.pieces(samples):
            bursts += self._whole()
            for start, offset in self._search.found():
                self.counters["preambles"] += 1
                begun = self._header(start, offset)
                if begun is None:
                    self.counters["headers_failed"] += 1
                    continue
                self.counters["cut"] += self._open is not None
                self._open = begun
                bursts += self._whole()
            keep = self._search.end if self._open is None else self._open.place.start
            self._search.forget(keep - self._sps)
        return bursts

    def flush(self) -> None:
        """The stream is over: a burst that is not whole is counted as cut."""
        self.counters["cut"] += self._open is not None
        self._open = None

    def _whole(self) -> list[SymbolBurst]:
        one = self._open
        if one is None:
            return []
        length = PREAMBLE_SYMBOLS + layout(one.count).length
        if self._search.end < one.place.start + (length + 2) * self._sps:
            return []
        self._open = None
        self.counters["bursts"] += 1
        return [self._read(one)]

    def _header(self, start: int, offset: float) -> _Open | None:
        """The burst that begins at ``start``, where its header can be read."""
        stands, n = layout(0), np.arange(PREAMBLE_SYMBOLS)
        offset = self._search.finer(self._symbols(_Place(start, 0.0, 0.0), n), offset)
        place = self._timed(_Place(start, 0.0, offset))
        found = self._gain(place, stands, TURNS)
        data = PREAMBLE_SYMBOLS + stands.data
        straight = self._symbols(place, data) * found.at(data)[0].conj()
        sign = 1.0 - 2.0 * whitening(HEADER_SYMBOLS)
        soft = np.empty(HEADER_SYMBOLS)
        soft[HEADER_ORDER] = (straight.real + straight.imag) * sign
        coded = np.bincount(np.arange(HEADER_SYMBOLS) % CODED_BITS, soft)
        head = np.packbits(self._code.decode(coded, HEADER_BITS)).tobytes()
        facts = head[:FACT_BYTES]
        count = self._count_of(facts) if has_right_crc(head) else 0
        if not 1 <= count <= MOST_SYMBOLS:
            return None
        return _Open(replace(place, offset=place.offset + found.turn), facts, count)

    def _read(self, one: _Open) -> SymbolBurst:
        stands, drifts = layout(one.count), DRIFTS if one.count > LEAST_DRIFTING else (0.0,)
        tried = [replace(one.place, drift=drift) for drift in drifts]
        fits = [(self._gain(place, stands, FINER), place) for place in tried]
        found, place = max(fits, key=lambda fit: fit[0].likelihood)
        data = PREAMBLE_SYMBOLS + stands.data[HEADER_SYMBOLS:]
        gain, error = found.at(data)
        order = spread_order(one.count)
        power = max(float(np.mean(np.abs(gain) ** 2)), 1e-30)
        snr_db = 10.0 * math.log10(power / max(found.noise + error, 1e-30))
        heard = self._symbols(place, data) / math.sqrt(power)
        upright = np.empty(one.count, dtype=np.complex64)
        upright[order] = heard * np.exp(-1j * np.angle(gain))
        h = np.empty(one.count, dtype=np.float32)
        h[order] = np.abs(gain) / math.sqrt(power)
        offset = place.offset + found.turn
        return SymbolBurst(one.facts, upright, h, snr_db, place.start, offset)

    def _gain(self, place: _Place, stands: Layout, turns: np.ndarray) -> Gain:
        """The gain of a burst by its known symbols; ``turns`` that are left are tried."""
        first = PREAMBLE_SYMBOLS // GROUP
        preamble, pilots = np.arange(PREAMBLE_SYMBOLS), np.arange(len(stands.pilots))
        places = np.concatenate([preamble, PREAMBLE_SYMBOLS + stands.pilots])
        groups = np.concatenate([preamble // GROUP, first + pilots // PILOTS])
        sent = np.concatenate([self._known, pilot_symbols(len(pilots))])
        heard = self._symbols(place, places) * sent.conj()
        return fit_gain(heard, places, groups, turns, self._rate)

    def _timed(self, place: _Place) -> _Place:
        """The place at the time between two samples that fits the preamble best."""
        n, late = np.arange(PREAMBLE_SYMBOLS), place.late
        for step in (1.0, 0.5):
            near = [replace(place, late=late + shift) for shift in (-step, 0.0, step)]
            fit = [abs(np.vdot(self._known, self._symbols(one, n))) for one in near]
            bend = fit[0] - 2.0 * fit[1] + fit[2]
            if bend < 0:
                late += step * float(np.clip(0.5 * (fit[0] - fit[2]) / bend, -1.0, 1.0))
        return replace(place, late=late)

    def _symbols(self, place: _Place, n: np.ndarray) -> np.ndarray:
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts that carry many analogue symbols, as a channel code of features gives them.

    preamble 256 | header 192 and symbols n, behind each 64 of them and the last 4 pilots | guard

The header is 4 bytes of whoever sends and a CRC, BPSK behind a convolutional code of rate 1/2,
nearly twice. The symbols are sent in another order, so that what fades for a while fades for all of
them a little. Preamble and pilots tell the gain at each symbol.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .._core import CRC_BYTES, append_crc, has_right_crc
from .burst_reader import BurstReader, Layout, Place, laid_out, pilot_symbols, spread_order
from .codes import PacketCode
from .preamble import GUARD_SYMBOLS, PREAMBLE_SYMBOLS, PreambleSearch, preamble_symbols
from .profiles import PROFILES, TAIL_BITS, RadioProfile
from .pulses import SPAN, to_symbols, whitening

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
# The receiver compares places; pulses of both ends reach on.
LEAST_GUARD = 2 * SPAN + 8
# Cycles a symbol to each side of what the preamble tells.
TURNS = np.linspace(-6e-4, 6e-4, 49)


def find_symbol_profile(name: str) -> RadioProfile:
    """The profile ``name`` of those that carry analogue symbols.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SYMBOL_PROFILES:
        known = ", ".join(SYMBOL_PROFILES)
        raise ValueError(f"profile {name!r} carries no analogue symbols: use one of {known}")
    return SYMBOL_PROFILES[name]


def layout(count: int) -> Layout:
    """The layout of a header and ``count`` symbols."""
    return laid_out(HEADER_SYMBOLS + count)


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
class _Open:
    """A burst of which the header was read."""

    place: Place
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
        self._reader, self._sps = BurstReader(profile, self._search), profile.samples_per_symbol
        self._code = PacketCode("convolutional")
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
        place, stands = self._reader.found_at(start, offset), layout(0)
        found = self._reader.gain(place, stands, TURNS)
        data = PREAMBLE_SYMBOLS + stands.data
        straight = self._reader.symbols(place, data) * found.at(data)[0].conj()
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
        heard = self._reader.read(one.place, layout(one.count), HEADER_SYMBOLS)
        place = heard.place
        found = (heard.symbols, heard.h, heard.snr_db, place.start, place.offset)
        return SymbolBurst(one.facts, *found)

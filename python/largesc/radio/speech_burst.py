# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of analogue speech: all of one length, one behind the other, and without a header.

    preamble 256 | symbols n, behind each 64 of them and the last 4 pilots | silence

A burst lasts 0.64 s with everything, as long as the speech in it. Where a preamble is lost in a
fade, the burst is read at the place where it must be.
"""

from dataclasses import dataclass, replace

import numpy as np

from .burst_reader import (
    APART,
    PILOTS,
    BurstReader,
    HeardSymbols,
    Place,
    laid_out,
    pilot_symbols,
    spread_order,
)
from .preamble import (
    APART_SYMBOLS,
    GUARD_SYMBOLS,
    PREAMBLE_SYMBOLS,
    PreambleSearch,
    preamble_symbols,
)
from .profiles import RadioProfile
from .symbol_burst import MOST_SYMBOLS

BURST_S = 0.64
PREAMBLE = 7
# A preamble within so many symbols of where it is expected is that of the burst.
NEAR_SYMBOLS = 4
# Bursts in a row that are read without a preamble, and the SNR from which one counts.
MOST_BLIND, LEAST_BLIND_DB = 2, -7.0
# A preamble in the midst of a burst is that of another one, unless it has less than this of the
# power of the burst's own: then it is a second sender's, and is passed over.
WEAKER = 0.7
# Symbols are sent no greater than this, times their RMS. What is received beyond it and so many
# times the noise is a click, of which one would spoil all of the burst: nothing is known there.
GREATEST_SENT, CLICK = 1.5, 5.0
# Behind the last burst of an over, so that receivers see it whole.
OVER_SYMBOLS = GUARD_SYMBOLS


@dataclass(frozen=True)
class SpeechLayout:
    """What a burst of a profile holds.

    Attributes:
        count: symbols of the channel code, a multiple of ``frames``.
        length: all symbols, 0.64 s of them.
    """

    count: int
    length: int


def speech_layout(profile: RadioProfile, frames: int) -> SpeechLayout:
    """The most symbols that ``frames`` frames of speech may have in a burst."""
    length = round(BURST_S * profile.symbol_rate)
    room = length - PREAMBLE_SYMBOLS
    most = min(MOST_SYMBOLS, room - PILOTS * -(-room // (APART + PILOTS)))
    return SpeechLayout(most // frames * frames, length)


def make_speech_burst(symbols: np.ndarray, length: int) -> np.ndarray:
    """A burst of ``length`` symbols, complex64, from ``symbols`` of the channel code.

    Raises:
        ValueError: they do not fit.
    """
    place = laid_out(len(symbols))
    if not len(symbols) or PREAMBLE_SYMBOLS + place.length > length:
        raise ValueError(f"{len(symbols)} symbols do not fit a burst of {length}")
    out = np.zeros(length, dtype=np.complex64)
    out[:PREAMBLE_SYMBOLS] = preamble_symbols(PREAMBLE)
    out[PREAMBLE_SYMBOLS + place.pilots] = pilot_symbols(len(place.pilots))
    out[PREAMBLE_SYMBOLS + place.data] = symbols[spread_order(len(symbols))]
    return out


@dataclass(frozen=True)
class HeardBurst(HeardSymbols):
    """A burst that was received; its symbols are as they are where there are no echoes.

    Attributes:
        received: a sample for each of all symbols, complex ``[length]``, the carrier at 0.
    """

    received: np.ndarray


class SpeechBurstReceiver:
    """Samples in, bursts out. Memory is bounded whatever comes in.

    Args:
        profile: of single carrier.
        layout: of the bursts.

    Counters, in :attr:`counters`: ``preambles`` found, ``bursts`` read, of them ``blind`` ones
    without a preamble; ``cut`` ones; ``broken_samples`` (no number, or beyond 1e9).

    Raises:
        ValueError: the profile has another waveform.
    """

    def __init__(self, profile: RadioProfile, layout: SpeechLayout) -> None:
        self._stands = laid_out(layout.count)
        # A second sender's preamble may reach into this one's: the search goes on within it.
        inside = APART_SYMBOLS - PREAMBLE_SYMBOLS
        self._search = PreambleSearch(profile, behind=0, over=inside, number=PREAMBLE)
        self._reader, self._sps = BurstReader(profile, self._search), profile.samples_per_symbol
        self._length = layout.length
        # Places of the burst that comes in, and of one that should follow.
        self._open: Place | None = None
        self._next: Place | None = None
        self._blind = 0
        # Of the last burst with a preamble: the sample behind it, and its power.
        self._until, self._strength = 0, 0.0
        self.counters = self._search.counters
        self.counters |= {"preambles": 0, "bursts": 0, "blind": 0, "cut": 0}

    def push(self, samples: np.ndarray) -> list[HeardBurst]:
        """Takes complex samples ``[n]`` and gives the bursts that are whole with them."""
        bursts = []
        for _ in self._search.pieces(samples):
            bursts += self._whole()
            for start, offset in self._search.found():
                self.counters["preambles"] += 1
                bursts += self._whole()
                self._begin(self._reader.found_at(start, offset))
                bursts += self._whole()
            self._expect()
            kept = [place.start for place in (self._open, self._next) if place is not None]
            self._search.forget(min([*kept, self._search.end]) - self._sps)
        return bursts

    def flush(self) -> None:
        """The stream is over: a burst that is not whole is counted as cut."""
        self.counters["cut"] += self._open is not None and not self._blind
        self._open = self._next = None

    def _begin(self, place: Place) -> None:
        strength = self._reader.strength(place)
        if place.start < self._until - self._near and strength < WEAKER * self._strength:
            return
        self.counters["cut"] += self._open is not None and not self._blind
        self._open, self._next, self._blind = place, None, 0
        self._until, self._strength = place.start + self._length * self._sps, strength

    @property
    def _near(self) -> int:
        return NEAR_SYMBOLS * self._sps

    def _expect(self) -> None:
        """Begins a burst where it must be, once its preamble was searched there in vain."""
        place = self._next
        if self._open is None and place is not None:
            if self._search.searched > place.start + self._near:
                self._open, self._next = place, None
                self._blind += 1

    def _whole(self) -> list[HeardBurst]:
        place = self._open
        if place is None:
            return []
        reach = PREAMBLE_SYMBOLS + self._stands.length + 2
        if self._search.end < place.start + reach * self._sps:
            return []
        self._open = None
        heard = self._reader.read(place, self._stands)
        received = self._reader.symbols(heard.place, np.arange(self._length))
        # Of samples that are all zero there is no SNR.
        if self._blind and (heard.snr_db < LEAST_BLIND_DB or not received.any()):
            return []
        self.counters["bursts"] += 1
        self.counters["blind"] += self._blind > 0
        if self._blind < MOST_BLIND:
            self._next = self._behind(heard.place)
        return [self._without_clicks(HeardBurst(**vars(heard), received=received))]

    def _without_clicks(self, heard: HeardBurst) -> HeardBurst:
        noise = 10.0 ** (-heard.snr_db / 20.0)
        clicks = np.abs(heard.symbols) > GREATEST_SENT * heard.h + CLICK * noise
        data = PREAMBLE_SYMBOLS + self._stands.data[clicks[spread_order(len(clicks))]]
        heard.received[data] = heard.symbols[clicks] = heard.h[clicks] = 0.0
        return heard

    def _behind(self, place: Place) -> Place:
        """The place of the burst that follows."""
        late = place.late + self._length * (self._sps + 1e-3 * place.drift)
        whole = round(late)
        return replace(place, start=place.start + whole, late=late - whole)

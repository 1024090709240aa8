# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds bursts in a stream of samples and reads them. Memory is bounded whatever comes in."""

from dataclasses import dataclass

import numpy as np

from .band import SPACING, Band, Signal
from .burst import BurstReader, Header
from .codes import PacketCode
from .diagnosis import Heard, explain
from .equaliser import REACH, equalise
from .profiles import GUARD_SYMBOLS, HEADER_BITS, MOST_BYTES, SYNC_SYMBOLS, RadioProfile
from .pulses import SPAN, pulse_taps, sync_symbols
from .search import OFFSET_STEP, SyncSearch, channels_for, most_search_hz

# Share of the energy that must fit: of the sync alone, and of sync and header. Noise of 32
# symbols passes the first with 0.7^31.
SYNC_THRESHOLD = 0.3
HEADER_THRESHOLD = 0.3
# The best place within so many symbols to each side counts.
APART_SYMBOLS = 12
LEAST_SEARCH = 16
# Symbols that are searched at a time, so that a channel is searched only while it has a signal.
PIECE = 64
# Share of a sync's energy that noise does not reach: its 0.55^31.
STRONG_SYNC = 0.45
# Starts that wait for the rest of their burst. More is not speech but someone's nuisance.
MOST_WAITING = 16


@dataclass(frozen=True)
class Found:
    """One burst that was read; its CRC is not checked yet.

    Attributes:
        packet: with CRC.
        start: sample of the first sync symbol, from the first one that was pushed.
        offset: carrier offset in cycles a symbol.
        es_n0_db: of the payload.
        symbols: of the payload, upright and of amplitude 1.
    """

    packet: bytes
    start: int
    offset: float
    es_n0_db: float
    symbols: np.ndarray


@dataclass
class _Waiting:
    start: int
    late: float
    offset: float
    header: Header | None = None


class BurstReceiver:
    """Samples in, packets out.

    A signal is looked for in all of the band, and bursts where one is: in the channel of the last
    packet and at the centre always, elsewhere while something stands out of the noise.

    Args:
        profile: of single carrier, with the samples a symbol that ``search_hz`` needs.
        search_hz: greatest carrier offset at which bursts are found; 0 for all that the samples
            hold.

    Counters, in :attr:`counters`: ``syncs`` seen, ``headers`` believed, ``crowded`` (syncs left out
    since too many bursts were under way), ``broken_samples`` (no number, or beyond 1e9: now 0).

    Raises:
        ValueError: the profile has another waveform, or its samples do not hold ``search_hz``.
    """

    def __init__(self, profile: RadioProfile, search_hz: float = 0.0) -> None:
        if profile.waveform != "single_carrier":
            raise ValueError(
                f"profile {profile.name!r} is {profile.waveform}: use a single-carrier one"
            )
        widest = most_search_hz(profile, profile.sample_rate)
        if not 0 <= search_hz <= widest:
            raise ValueError(
                f"search_hz {search_hz:g} is out of range: {profile.sample_rate:g} samples a "
                f"second hold 0 to {widest:g}; use a higher sample rate"
            )
        self.profile = profile
        self.counters = {"syncs": 0, "headers": 0, "crowded": 0, "broken_samples": 0}
        self.heard = Heard()
        self._sps = profile.samples_per_symbol
        self._reader = BurstReader(profile, PacketCode(profile.code))
        self._half = SPAN * self._sps
        self._finder = SyncSearch(self._sps)
        self._band = Band(
            self._sps, profile.symbol_rate, channels_for(profile, search_hz or widest)
        )
        self._last_channel = 0
        self._sync_span = (SYNC_SYMBOLS - 1) * self._sps
        # As long as any header, so that those of other modulations are known when they come.
        self._header_span = (SYNC_SYMBOLS + HEADER_BITS - 1) * self._sps
        longest = profile.burst_symbols(MOST_BYTES) - GUARD_SYMBOLS
        self.longest_samples = longest * self._sps + 2 * self._half
        # Half a pulse, the equaliser, and the timing may move by a symbol.
        self._edge = self._half + (REACH + 2) * self._sps
        # A burst must be at hand as long as its start may still be found.
        late = 2 * APART_SYMBOLS + SYNC_SYMBOLS + LEAST_SEARCH
        self._keep = self.longest_samples + 2 * self._edge + late * self._sps
        self._samples = np.zeros(self._edge, dtype=np.complex64)
        self._first = -self._edge
        self._next = 0
        self._waiting: list[_Waiting] = []

    def push(self, samples: np.ndarray) -> list[Found]:
        """Takes complex64 samples; returns the bursts that are complete, by their end."""
        found = []
        samples = np.asarray(samples, dtype=np.complex64)
        for start in range(0, len(samples), self.longest_samples):
            part = samples[start : start + self.longest_samples]
            good = np.abs(part) < 1e9
            if not good.all():
                self.counters["broken_samples"] += int(np.sum(~good))
                part = np.where(good, part, 0).astype(np.complex64)
            self._samples = np.concatenate([self._samples, part])
            self._band.push(part)
            while self._search():
                pass
            found += self._read()
            self._forget()
        return found

    def _search(self) -> bool:
        """Looks for syncs in some symbols, as far as both sides of a place are known.

        Returns:
            Whether there may be more to search.
        """
        apart, step = APART_SYMBOLS * self._sps, self._finder.step
        end = self._first + len(self._samples) - self._half - self._sync_span
        begin = max(self._next - apart, self._first + self._edge)
        end = min(end, self._next + PIECE * self._sps + apart)
        # A few symbols at a time: each search filters its surroundings anew.
        if end - apart < self._next + LEAST_SEARCH * self._sps:
            return False
        count = (end - begin) // step
        end = begin + count * step
        x = self._samples[begin - self._half - self._first :]
        # Stations apart from each other may begin a burst at the same time.
        for channels in self._channels(begin, end):
            self._find_syncs(x, begin, count, channels)
        self._next = end - apart
        return True

    def _find_syncs(self, x: np.ndarray, begin: int, count: int, channels: list[int]) -> None:
        """Keeps the places between ``begin`` and the end where the sync fits best around.

        Those at both sides, that were or will be searched with other samples, only compare.
        """
        apart, step = APART_SYMBOLS * self._sps, self._finder.step
        best, metric, offset = self._finder.fits(x, count, channels)
        # By the fit itself: its share is large at the edge of a burst as well.
        places = apart // step
        padded = np.pad(np.where(metric > SYNC_THRESHOLD, best, 0.0), places)
        highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * places + 1).max(axis=1)
        peaks = (metric > SYNC_THRESHOLD) & (best >= highest)
        for place in np.flatnonzero(peaks):
            start = begin + int(place) * step
            if not self._next <= start < begin + count * step - apart:
                continue
            self.counters["syncs"] += 1
            if len(self._waiting) >= MOST_WAITING:
                self.counters["crowded"] += 1
                continue
            self._waiting.append(_Waiting(start, 0.0, float(offset[place])))

    def _channels(self, begin: int, end: int) -> list[list[int]]:
        """Channels to search between two samples: where bursts were, and where a signal is.

        Returns:
            Channels that lie beside each other, together.
        """
        channels = {0, self._last_channel}
        for strongest in self._band.signals(begin, end + self._sync_span):
            # A spectrum so short may be wrong by one, but not by what was read there.
            if abs(strongest - self._last_channel) > 1:
                channels |= {strongest - 1, strongest, strongest + 1}
            else:
                channels.add(strongest)
        groups: list[list[int]] = []
        for channel in sorted(channels):
            if abs(channel) > self._band.channels:
                continue
            if not groups or channel > groups[-1][-1] + 1:
                groups.append([])
            groups[-1].append(channel)
        return groups

    def _matched(self, at: _Waiting, late: float, first: int, last: int, step: int) -> np.ndarray:
        """Offset taken away, pulse matched between the samples.

        Args:
            late: samples behind the start.
            first, last: places from there, in samples.
            step: samples from one value to the next.
        """
        whole = int(np.floor(late + 0.5))
        begin = at.start + whole + first - self._half - self._first
        x = self._samples[begin : begin + last - first + 2 * self._half + 1]
        n = np.arange(len(x)) - self._half + first
        x = x * np.exp(-2j * np.pi * at.offset / self._sps * n)
        windows = np.lib.stride_tricks.sliding_window_view(x, 2 * self._half + 1)[::step]
        return windows @ (pulse_taps(self._sps, late - whole) / self._sps)

    def _symbols(self, at: _Waiting, count: int, late: float | None = None) -> np.ndarray:
        """Returns ``count`` symbols of a burst from its start on."""
        late = at.late if late is None else late
        return self._matched(at, late, 0, (count - 1) * self._sps, self._sps)

    def _equalised(self, at: _Waiting, count: int, known: np.ndarray) -> np.ndarray:
        """Symbols from a start on, echoes taken out."""
        reach = REACH * self._sps
        last = (count - 1) * self._sps + reach
        samples = self._matched(at, at.late, -reach, last, self._sps // 2)
        return equalise(samples, known, self.profile.bits_per_symbol)

    def _refine(self, at: _Waiting) -> None:
        """Timing to a fraction of a sample and offset to a fraction of a step, by the sync."""
        sync = sync_symbols().conj()
        for _ in range(2):
            stripped = self._symbols(at, SYNC_SYMBOLS) * sync
            spectrum = np.abs(np.fft.fft(stripped, 512))
            near = np.abs(np.fft.fftfreq(512)) <= OFFSET_STEP
            at.offset += float(np.fft.fftfreq(512)[np.argmax(np.where(near, spectrum, 0.0))])
            tried = at.late + np.arange(-2, 3) * self._sps / 8
            tried = np.clip(tried, -self._sps, self._sps)
            fits = [abs(np.sum(self._symbols(at, SYNC_SYMBOLS, late) * sync)) for late in tried]
            best = int(np.clip(np.argmax(fits), 1, 3))
            bend = fits[best - 1] - 2 * fits[best] + fits[best + 1]
            shift = 0.5 * (fits[best - 1] - fits[best + 1]) / bend if bend < 0 else 0.0
            at.late = float(tried[best] + np.clip(shift, -1, 1) * self._sps / 8)

    def _read(self) -> list[Found]:
        """Headers and payloads that have come in completely."""
        end = self._first + len(self._samples)
        found, waiting = [], []
        for at in self._waiting:
            if at.header is None:
                if at.start + self._header_span + self._edge >= end:
                    waiting.append(at)
                    continue
                self._refine(at)
                symbols = self._symbols(at, SYNC_SYMBOLS + self.profile.header_symbols)
                at.header = self._reader.read_header(symbols)
                if at.header is None or at.header.quality < HEADER_THRESHOLD:
                    self._note_other(at)
                    continue
                self.counters["headers"] += 1
            count = self.profile.burst_symbols(at.header.packet_bytes) - GUARD_SYMBOLS
            if at.start + (count - 1) * self._sps + self._edge >= end:
                waiting.append(at)
                continue
            symbols = self._equalised(at, count, at.header.known)
            packet, es_n0_db, upright = self._reader.read_payload(symbols, at.header)
            # Between two groups of channels, one burst may be found in both.
            if any(f.packet == packet and abs(f.start - at.start) < self._sps for f in found):
                continue
            found.append(Found(packet, at.start, at.offset, es_n0_db, upright))
        self._waiting = waiting
        return found

    def _note_other(self, at: _Waiting) -> None:
        """Keeps what a sync without a header of this link was like."""
        symbols = self._symbols(at, SYNC_SYMBOLS + HEADER_BITS)
        if self._reader.sync_quality(symbols) < STRONG_SYNC:
            return
        self.heard.strong_syncs += 1
        if other := self._reader.other_header(symbols):
            self.heard.others[other] = self.heard.others.get(other, 0) + 1

    def accepted(self, found: Found) -> None:
        """Tells that the CRC of a burst was right: its carrier is where the next one will be."""
        self._last_channel = round(found.offset / SPACING)

    def seen(self) -> Signal | None:
        """The strongest signal of the last seconds, whatever it is; None where none stands out."""
        return self._band.seen()

    def spectrum_db(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets in Hz, and the greatest power there in the last seconds in dB over the noise."""
        offsets, power = self._band.spectrum_db()
        return offsets * self.profile.symbol_rate, power

    def diagnosis(self) -> str:
        """What was heard and what to try, in a sentence or two, for a receiver without packets."""
        search = (self._band.channels + 0.5) * SPACING * self.profile.symbol_rate
        return explain(self.profile, self.heard, self._band.seen(), search)

    def _forget(self) -> None:
        surplus = len(self._samples) - self._keep
        if surplus > 0:
            self._samples = self._samples[surplus:].copy()
            self._first += surplus

    def unfinished(self) -> int:
        """Bursts whose header was believed and whose end has not come."""
        return sum(at.header is not None for at in self._waiting)

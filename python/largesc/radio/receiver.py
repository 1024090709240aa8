# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds bursts in a stream of samples and reads them. Memory is bounded whatever comes in."""

from dataclasses import dataclass

import numpy as np

from .burst import BurstReader, Header
from .codes import PacketCode
from .equaliser import REACH, equalise
from .profiles import GUARD_SYMBOLS, MOST_BYTES, SYNC_SYMBOLS, RadioProfile
from .pulses import SPAN, pulse_taps, sync_symbols

# Carrier offsets that are searched, in cycles a symbol: 10 % to each side and some more.
OFFSET_STEP = 1 / 96
OFFSETS = OFFSET_STEP * np.arange(-10, 11)
# Share of the energy that must fit: of the sync alone, and of sync and header. Noise of 32
# symbols passes the first with 0.7^31.
SYNC_THRESHOLD = 0.3
HEADER_THRESHOLD = 0.3
# The best place within so many symbols to each side counts.
APART_SYMBOLS = 12
LEAST_SEARCH = 16
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
    """

    packet: bytes
    start: int
    offset: float
    es_n0_db: float


@dataclass
class _Waiting:
    start: int
    late: float
    offset: float
    header: Header | None = None


class BurstReceiver:
    """Samples in, packets out.

    Args:
        profile: of single carrier.

    Counters, in :attr:`counters`: ``syncs`` seen, ``headers`` believed, ``crowded`` (syncs left out
    since too many bursts were under way), ``broken_samples`` (no number, or beyond 1e9: now 0).
    """

    def __init__(self, profile: RadioProfile) -> None:
        if profile.waveform != "single_carrier":
            raise ValueError(
                f"profile {profile.name!r} is {profile.waveform}: use a single-carrier one"
            )
        self.profile = profile
        self.counters = {"syncs": 0, "headers": 0, "crowded": 0, "broken_samples": 0}
        self._sps = profile.samples_per_symbol
        self._reader = BurstReader(profile, PacketCode(profile.code))
        self._half = SPAN * self._sps
        self._taps = pulse_taps(self._sps) / self._sps
        places = np.arange(SYNC_SYMBOLS)
        turns = np.exp(-2j * np.pi * np.outer(places, OFFSETS))
        self._banks = (sync_symbols().conj()[:, None] * turns).astype(np.complex64)
        self._sync_span = (SYNC_SYMBOLS - 1) * self._sps
        self._header_span = (SYNC_SYMBOLS + profile.header_symbols - 1) * self._sps
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
            self._search()
            found += self._read()
            self._forget()
        return found

    def _search(self) -> None:
        """Looks for syncs as far as both sides of a place are known."""
        apart = APART_SYMBOLS * self._sps
        end = self._first + len(self._samples) - self._half - self._sync_span
        begin = max(self._next - apart, self._first + self._edge)
        # A few symbols at a time: each search filters its surroundings anew.
        if end - apart < self._next + LEAST_SEARCH * self._sps:
            return
        x = self._samples[begin - self._half - self._first :]
        filtered = np.convolve(x, self._taps, "valid").astype(np.complex64)
        count = end - begin
        windows = np.lib.stride_tricks.sliding_window_view(filtered, self._sync_span + 1)
        windows = np.ascontiguousarray(windows[:count, :: self._sps])
        energy = SYNC_SYMBOLS * np.sum(windows.real**2 + windows.imag**2, axis=1)
        fit = np.abs(windows @ self._banks) ** 2
        best = fit.max(axis=1)
        metric = best / np.maximum(energy, 1e-30)
        # By the fit itself: its share is large at the edge of a burst as well.
        padded = np.pad(np.where(metric > SYNC_THRESHOLD, best, 0.0), apart)
        highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * apart + 1).max(axis=1)
        peaks = (metric > SYNC_THRESHOLD) & (best >= highest)
        for place in np.flatnonzero(peaks):
            start = begin + int(place)
            if not self._next <= start < end - apart:
                continue
            self.counters["syncs"] += 1
            if len(self._waiting) >= MOST_WAITING:
                self.counters["crowded"] += 1
                continue
            self._waiting.append(_Waiting(start, 0.0, float(OFFSETS[np.argmax(fit[place])])))
        self._next = end - apart

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
        """Symbols from a start on."""
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
                    continue
                self.counters["headers"] += 1
            count = self.profile.burst_symbols(at.header.packet_bytes) - GUARD_SYMBOLS
            if at.start + (count - 1) * self._sps + self._edge >= end:
                waiting.append(at)
                continue
            symbols = self._equalised(at, count, at.header.known)
            packet, es_n0_db = self._reader.read_payload(symbols, at.header)
            found.append(Found(packet, at.start, at.offset, es_n0_db))
        self._waiting = waiting
        return found

    def _forget(self) -> None:
        surplus = len(self._samples) - self._keep
        if surplus > 0:
            self._samples = self._samples[surplus:].copy()
            self._first += surplus

    def unfinished(self) -> int:
        """Bursts whose header was believed and whose end has not come."""
        return sum(at.header is not None for at in self._waiting)

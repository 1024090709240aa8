# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of the translation link on the air of a radio, and back from what was heard.

Of a burst there travel its symbols and, in the 4 bytes of a header, what a receiver needs:

bits 0 - 7    number of the burst on the air, the last 8 bit of it
     8 - 15   gain, in steps of 0.25 dB
    16 - 20   number of the window, the last 5 bit of it
    21        the window is over
    22 - 25   blocks of four feature frames, less one
    26 - 31   symbols a frame, the last 6 bit of their number
"""

import struct
from dataclasses import replace

import numpy as np

from ..channel_codec.linear import BLOCK_FRAMES, MOST_GAIN_STEPS
from ..features.whisper import FEATURES_PER_S
from ..options import TranslationOptions, check_range
from ..radio.air import SimulatedAir
from ..radio.profiles import RadioProfile
from ..radio.symbol_burst import (
    MOST_SYMBOLS,
    SYMBOL_PROFILES,
    SymbolBurst,
    SymbolBurstReceiver,
    burst_symbols,
    find_symbol_profile,
    make_symbol_burst,
)
from .translation import Burst

FACTS = struct.Struct(">BbH")
INDEXES, WINDOWS, MOST_BLOCKS, SIZES = 2**8, 2**5, 2**4, 2**6
# Amplitude of the greatest symbols: what is beyond is cut off, so that peaks of a burst are four
# times its RMS in place of six. That leaves an error of -35 dB.
GREATEST = 3.5


def check_fits(
    profile: str,
    symbols: int,
    segment_s: float = TranslationOptions.segment_s,
    features_per_s: float = FEATURES_PER_S,
) -> RadioProfile:
    """The profile, where it carries ``symbols`` a frame as fast as they come.

    Args:
        profile, symbols: as of :class:`RadioSender`.
        segment_s: length of a segment of speech, each of which is a burst.
        features_per_s: feature frames a second, Whisper's if nothing is said.

    Raises:
        ValueError: it does not, or there is no such profile.
    """
    found = find_symbol_profile(profile)
    check_range("symbols", symbols, 1, MOST_SYMBOLS // BLOCK_FRAMES)

    def fits(of: RadioProfile, count: int) -> bool:
        return time_share(of, count, segment_s, features_per_s) <= 1.0

    if not fits(found, symbols):
        fewer = [n for n in range(1, symbols) if fits(found, n)]
        wider = [n for n, p in SYMBOL_PROFILES.items() if fits(p, symbols)]
        # Short segments are mostly overhead.
        short = segment_s < TranslationOptions.segment_s
        ways = [f"at most {n}" for n in fewer[-1:]] + ["longer segments"] * short
        ways += [f"the profile {name}" for name in wider[:1]]
        raise ValueError(
            f"symbols {symbols} a frame of {1000 / features_per_s:g} ms, in segments of "
            f"{segment_s:g} s, are more than the profile {profile} carries as fast as they come: "
            f"use {', or '.join(ways)}"
        )
    return found


def time_share(
    profile: RadioProfile,
    symbols: int,
    segment_s: float = TranslationOptions.segment_s,
    features_per_s: float = FEATURES_PER_S,
) -> float:
    """Time on the air of a segment, all overhead included, by its length."""
    count = round(segment_s * features_per_s * symbols)
    bursts = -(-count // most_burst(symbols))
    total = bursts * burst_symbols(-(-count // bursts))
    return total / profile.symbol_rate / segment_s


def most_burst(symbols: int) -> int:
    """Symbols of the longest burst on the air: whole blocks of four frames."""
    block = BLOCK_FRAMES * symbols
    return min(MOST_BLOCKS, MOST_SYMBOLS // block) * block


class RadioSender:
    """Bursts of the link to symbols on the air. A long one goes as several.

    Args:
        profile: ``ssb``, ``medium`` or ``narrow``.
        symbols: complex symbols a feature frame.
        features_per_s: feature frames a second.

    Raises:
        ValueError: the profile is unknown, or too slow for so many symbols.

    Attributes:
        sent: bursts on the air so far.
    """

    def __init__(self, profile: str, symbols: int, features_per_s: float = FEATURES_PER_S) -> None:
        self.profile = check_fits(profile, symbols, features_per_s=features_per_s)
        self._symbols, self.sent = symbols, 0

    def push(self, burst: Burst) -> np.ndarray:
        """Symbols on the air, complex64 ``[n]``, silence behind them included.

        Raises:
            ValueError: the burst has another number of symbols a frame, or none at all.
        """
        block = BLOCK_FRAMES * self._symbols
        if burst.symbols.ndim != 2 or burst.symbols.shape[1] != block or not len(burst.symbols):
            raise ValueError(
                f"a burst of shape {burst.symbols.shape}: use [n, {block}], {self._symbols} symbols"
                " a frame as at the channel encoder"
            )
        if not np.isfinite(burst.symbols).all():
            raise ValueError("a burst with symbols that are no numbers")
        most = most_burst(self._symbols) // block
        parts = []
        for first in range(0, len(burst.symbols), most):
            part = limited(burst.symbols[first : first + most])
            last = burst.last and first + most >= len(burst.symbols)
            rest = burst.window % WINDOWS << 11 | last << 10
            rest |= len(part) - 1 << 6 | self._symbols % SIZES
            facts = FACTS.pack(self.sent % INDEXES, burst.gain_steps, rest)
            parts.append(make_symbol_burst(facts, part.ravel().astype(np.complex64)))
            self.sent += 1
        return np.concatenate(parts)


def limited(symbols: np.ndarray) -> np.ndarray:
    """Symbols of the same phase and of an amplitude of at most 3.5."""
    return symbols * np.minimum(1.0, GREATEST / np.maximum(np.abs(symbols), 1e-9))


class RadioReceiver:
    """Samples from the air to bursts of the link, with their gain and SNR as measured.

    Args:
        profile, symbols, features_per_s: as at the sender.

    Counters, in :attr:`counters`: those of :class:`SymbolBurstReceiver`, and ``other_symbols``,
    bursts of a sender with another number of symbols a frame.

    Raises:
        ValueError: the profile is unknown, or too slow for so many symbols.
    """

    def __init__(self, profile: str, symbols: int, features_per_s: float = FEATURES_PER_S) -> None:
        self.profile = check_fits(profile, symbols, features_per_s=features_per_s)
        self._receiver, self._symbols = SymbolBurstReceiver(self.profile, self._count), symbols
        self.counters = self._receiver.counters
        self.counters["other_symbols"] = 0
        self._index = self._window = 0
        self.offset_hz = self.snr_db = 0.0

    def push(self, samples: np.ndarray) -> list[Burst]:
        """Takes complex samples ``[n]`` and gives the bursts that are whole with them."""
        return [self._burst(heard) for heard in self._receiver.push(samples)]

    def flush(self) -> None:
        """The stream is over: a burst that is not whole is counted as ``cut``."""
        self._receiver.flush()

    def _count(self, facts: bytes) -> int:
        """Symbols behind a header; 0 where they are not of this link."""
        rest = FACTS.unpack(facts)[2]
        count = BLOCK_FRAMES * self._symbols * ((rest >> 6) % MOST_BLOCKS + 1)
        if rest % SIZES != self._symbols % SIZES or count > MOST_SYMBOLS:
            self.counters["other_symbols"] += 1
            return 0
        return count

    def _burst(self, heard: SymbolBurst) -> Burst:
        index, gain, rest = FACTS.unpack(heard.facts)
        block = BLOCK_FRAMES * self._symbols
        self._index = nearest(index, self._index, INDEXES)
        self._window = nearest(rest >> 11, self._window, WINDOWS)
        self.offset_hz = heard.offset * self.profile.symbol_rate
        self.snr_db = heard.snr_db
        return Burst(
            index=self._index,
            window=self._window,
            first=0,
            last=bool(rest >> 10 & 1),
            gain_steps=max(gain, -MOST_GAIN_STEPS),
            symbols=heard.symbols.reshape(-1, block),
            h=heard.h.reshape(-1, block),
            spoken=0,
            speech_end=0,
            snr_db=heard.snr_db,
        )


def nearest(number: int, last: int, count: int) -> int:
    """The number of 0 or more that ends like ``number`` and lies nearest to ``last``."""
    away = (number - last + count // 2) % count - count // 2
    return last + away if last + away >= 0 else last + away + count


class RadioAir:
    """Both radios and the air between them in numpy: bursts in, bursts as received out.

    The carrier is off by ``offset_hz``; phase, gain and place are the receiver's to find. Between
    bursts time passes as it does for the speaker.

    Args:
        options: of the link, checked; with ``rayleigh`` the signal fades.
        features_per_s: feature frames a second.
        offset_hz: of the carrier.

    Raises:
        ValueError: the profile is unknown, or too slow for symbols and segments of the options.
    """

    def __init__(
        self,
        options: TranslationOptions,
        features_per_s: float = FEATURES_PER_S,
        offset_hz: float = 50.0,
    ) -> None:
        check_fits(options.radio, options.symbols, options.segment_s, features_per_s)
        self._sender = RadioSender(options.radio, options.symbols, features_per_s)
        self.receiver = RadioReceiver(options.radio, options.symbols, features_per_s)
        self.profile = self._sender.profile
        self._air = SimulatedAir(
            self.profile,
            None if options.channel == "none" else options.snr_db,
            options.doppler_hz if options.channel == "rayleigh" else None,
            offset_hz,
            np.random.default_rng(options.seed),
        )
        self._at_s, self._most_late_s = 0.0, 0.0
        self._sent_symbols, self._payload_symbols = 0, 0

    def figures(self) -> dict[str, float]:
        """What was sent and received.

        Returns:
            Counters of the receiver; bursts ``sent``; ``symbols`` on the air, and of them
            ``payload_symbols`` of the channel code; ``most_late_s``: as long as a burst had to wait
            for those before it.
        """
        return self.receiver.counters | {
            "sent": self._sender.sent,
            "symbols": self._sent_symbols,
            "payload_symbols": self._payload_symbols,
            "most_late_s": self._most_late_s,
        }

    def __call__(self, burst: Burst, from_s: float) -> tuple[list[Burst], float]:
        """Sends a burst at ``from_s`` or as soon as the one before is over.

        Returns:
            What is received, with the places in the speech as the sender knows them; and the time
            in s that it was on the air.
        """
        self._at_s = max(self._at_s, from_s)
        self._most_late_s = max(self._most_late_s, self._at_s - from_s)
        symbols = self._sender.push(burst)
        self._sent_symbols += len(symbols)
        self._payload_symbols += burst.symbols.size
        took_s = len(symbols) / self.profile.symbol_rate
        heard = self.receiver.push(self._air(symbols, self._at_s))
        self._at_s += took_s
        told = {"first": burst.first, "spoken": burst.spoken, "speech_end": burst.speech_end}
        return [replace(one, **told) for one in heard], took_s

# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: samples to packets, for single-carrier profiles."""

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pmt
from gnuradio import gr

from ..._core import CRC_BYTES, has_right_crc
from ...radio.profiles import GUARD_SYMBOLS, RadioProfile
from ...radio.receiver import BurstReceiver, Found
from ...speech.format import FRAME_S
from ..block_base import STATUS_FRAMES, TokenBlock
from ..messages import make_packet, to_pmt

# Counters that pass without a packet, two seconds or so, before the log says what is heard.
UNREAD_STATUS = 2
# Mean powers of an input as they are told, from -100 dBFS.
LEAST_POWER, MOST_POWER = 1e-10, 1e18
# Of a recording's last eleven minutes at two frames a packet.
MOST_BURSTS = 4096
log = logging.getLogger(__name__)


class Burst(NamedTuple):
    """A burst whose packet was accepted.

    Attributes:
        start_s: of its first symbol, behind the beginning of the stream.
        length_s: from there to its last symbol.
        carrier_offset_hz, es_n0_db: as measured.
    """

    start_s: float
    length_s: float
    carrier_offset_hz: float
    es_n0_db: float


class burst_sink(TokenBlock, gr.sync_block):  # noqa: N801
    """Finds and reads bursts, and keeps those whose CRC is right.

    Input: complex stream at the sample rate of the profile. Output: message ports `packets` (PDUs
    of bytes, no metadata), `symbols` (PDUs of complex symbols, the payload of each packet, upright
    and of amplitude 1), `status` (dicts of :meth:`statistics`, and in words :meth:`hearing`).

    Where signals are heard for two seconds and none becomes a packet, the log says once what they
    look like.

    Args:
        profile: of single carrier, with the samples a symbol that ``search_hz`` needs.
        search_hz: greatest carrier offset at which bursts are found; 0 for all that the samples
            hold.
        on_stop: called when a run is over.
    """

    def __init__(
        self,
        *,
        profile: RadioProfile,
        search_hz: float = 0.0,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        gr.sync_block.__init__(self, "burst_sink", [np.complex64], None)
        self.open_ports({}, ["packets", "symbols"], None)
        self._profile, self._search_hz, self._on_stop = profile, search_hz, on_stop
        self._status_samples = int(STATUS_FRAMES * FRAME_S * profile.sample_rate)
        self.counters |= {"accepted": 0, "crc_failures": 0}
        self.begin()

    def begin(self) -> None:
        self._core = BurstReceiver(self._profile, self._search_hz)
        self._since_status = self._unread_status = 0
        self._told = False
        self._bursts: deque[Burst] = deque(maxlen=MOST_BURSTS)
        self._measured = {"es_n0_db": 0.0, "carrier_offset_hz": 0.0}
        # Energy since the last status, and mean power before it.
        self._energy, self._level_dbfs = 0.0, 10 * math.log10(LEAST_POWER)
        self._only_zeros = True
        self._accepted_before: deque[int] = deque([0, 0], maxlen=2)

    def halt(self) -> None:
        self._on_stop()

    def work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        for found in self._core.push(samples):
            if not has_right_crc(found.packet):
                self.counters["crc_failures"] += 1
                continue
            self.counters["accepted"] += 1
            self._core.accepted(found)
            self._measured["es_n0_db"] = found.es_n0_db
            self._measured["carrier_offset_hz"] = found.offset * self._profile.symbol_rate
            self._keep(found)
            self.publish("packets", make_packet(found.packet[:-CRC_BYTES]))
            self.publish("symbols", pmt.cons(pmt.make_dict(), pmt.to_pmt(found.symbols)))
        self._since_status += len(samples)
        self._energy += float(np.vdot(samples, samples).real)
        if self._since_status >= self._status_samples:
            self._measure_level()
            self._since_status = 0
            self.publish_status()
            self._accepted_before.append(self.counters["accepted"])
            self._say_what_is_heard()
        return len(samples)

    def _keep(self, found: Found) -> None:
        profile = self._profile
        symbols = profile.burst_symbols(len(found.packet) - CRC_BYTES) - GUARD_SYMBOLS
        self._bursts.append(
            Burst(
                found.start / profile.sample_rate, symbols / profile.symbol_rate, **self._measured
            )
        )

    def bursts(self) -> list[Burst]:
        """Those whose packets were accepted, the last 4096."""
        return list(self._bursts)

    def _measure_level(self) -> None:
        self._only_zeros = not self._energy
        # What is no number is counted by the receiver.
        power = np.nan_to_num(self._energy / self._since_status, posinf=MOST_POWER)
        self._level_dbfs = 10 * math.log10(np.clip(power, LEAST_POWER, MOST_POWER))
        self._energy = 0.0

    def _say_what_is_heard(self) -> None:
        if self._told or self.counters["accepted"]:
            return
        heard = self.diagnosis()
        self._unread_status = self._unread_status + 1 if heard else 0
        if self._unread_status >= UNREAD_STATUS:
            self._told = True
            log.warning("no packet yet: %s", heard)

    def diagnosis(self) -> str:
        """What was heard and what to try, where no packet was accepted; empty for noise alone."""
        return "" if self.counters["accepted"] else self._core.diagnosis()

    def hearing(self) -> str:
        """What the last two seconds were, in words: packets, why there are none, or noise."""
        if self.counters["accepted"] > self._accepted_before[0]:
            return "packets come"
        if self._only_zeros and not self._energy:
            return "no samples come, or only zeros: does what gives them run, with its gain up?"
        heard = self._core.diagnosis()
        return f"no packet: {heard}" if heard else "noise alone"

    def publish_status(self) -> None:
        self.publish("status", to_pmt(self.statistics() | {"hearing": self.hearing()}))

    def spectrum_db(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets in Hz, and the greatest power there in the last seconds in dB over the noise."""
        return self._core.spectrum_db()

    def statistics(self) -> dict[str, int | float]:
        """Counters; Es/N0 in dB and carrier offset in Hz of the last packet that was accepted.

        ``signal_db`` and ``signal_offset_hz`` are those of the strongest signal of the last two
        seconds, whatever it is, and 0 where none stands out of the noise. ``level_dbfs`` is the
        mean power in the band that is searched, of the second before the last status; 0 for
        amplitude 1.
        """
        signal = self._core.seen()
        rate = self._profile.symbol_rate
        return {
            **self._core.counters,
            **self.counters,
            "unfinished": self._core.unfinished(),
            **self._measured,
            "signal_db": 0.0 if signal is None else signal.level_db,
            "signal_offset_hz": 0.0 if signal is None else signal.offset * rate,
            "level_dbfs": self._level_dbfs,
        }

# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: samples to packets, for single-carrier profiles."""

import numpy as np
import pmt
from gnuradio import digital, gr

from ...radio.profiles import CRC_BYTES, RadioProfile
from ...radio.receiver import BurstReceiver
from ...speech.format import FRAME_S
from ..block_base import STATUS_FRAMES, TokenBlock


def packet_crc() -> object:
    """In-tree CRC-16/CCITT-FALSE, as that of the packet format."""
    return digital.crc(8 * CRC_BYTES, 0x1021, 0xFFFF, 0, False, False)


class burst_sink(TokenBlock, gr.sync_block):  # noqa: N801
    """Finds and reads bursts, and keeps those whose CRC is right.

    Input: complex stream at the sample rate of the profile. Output: message ports `packets` (PDUs
    of bytes, no metadata), `status`.

    Args:
        profile: of single carrier.
    """

    def __init__(self, *, profile: RadioProfile) -> None:
        gr.sync_block.__init__(self, "burst_sink", [np.complex64], None)
        self.open_ports({}, ["packets"], None)
        self._core = BurstReceiver(profile)
        self._crc = packet_crc()
        self._symbol_rate = profile.symbol_rate
        self._status_samples = int(STATUS_FRAMES * FRAME_S * profile.sample_rate)
        self._since_status = 0
        self._measured = {"es_n0_db": 0.0, "carrier_offset_hz": 0.0}
        self.counters |= {"accepted": 0, "crc_failures": 0}

    def work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        for found in self._core.push(samples):
            body, check = found.packet[:-CRC_BYTES], found.packet[-CRC_BYTES:]
            if self._crc.compute(list(body)) != int.from_bytes(check, "big"):
                self.counters["crc_failures"] += 1
                continue
            self.counters["accepted"] += 1
            self._measured["es_n0_db"] = found.es_n0_db
            self._measured["carrier_offset_hz"] = found.offset * self._symbol_rate
            self.publish(
                "packets", pmt.cons(pmt.make_dict(), pmt.init_u8vector(len(body), list(body)))
            )
        self._since_status += len(samples)
        if self._since_status >= self._status_samples:
            self._since_status = 0
            self.publish_status()
        return len(samples)

    def statistics(self) -> dict[str, int | float]:
        """Counters; Es/N0 in dB and carrier offset in Hz of the last packet that was accepted."""
        return {
            **self._core.counters,
            **self.counters,
            "unfinished": self._core.unfinished(),
            **self._measured,
        }

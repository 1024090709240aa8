# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: counts packets on their way out of an in-tree receiver."""

import pmt
from gnuradio import gr

from .._core import keys
from .burst_source import read_packet
from .messages import STATUS_FRAMES, TokenBlock


class packet_counter(TokenBlock, gr.basic_block):  # noqa: N801
    """Hands packets on and counts them.

    Input: message port `packets`. Output: message ports `packets` (without the receiver's
    metadata), `status`.
    """

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "packet_counter", None, None)
        self.open_ports({"packets": self._on_packet}, ["packets"], "packets")
        self.counters |= {"accepted": 0}

    def _on_packet(self, message: object) -> None:
        head = pmt.car(message) if pmt.is_pair(message) else pmt.PMT_NIL
        if pmt.is_dict(head) and pmt.dict_has_key(head, pmt.intern(keys.end_of_stream)):
            self.finish()
            return
        found = read_packet(message)
        if found is None:
            self.refuse("expected a PDU of bytes")
            return
        self.counters["accepted"] += 1
        packet = found[1]
        self.publish(
            "packets", pmt.cons(pmt.make_dict(), pmt.init_u8vector(len(packet), list(packet)))
        )
        if self.counters["accepted"] % STATUS_FRAMES == 0:
            self.publish_status()

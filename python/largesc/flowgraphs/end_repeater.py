# SPDX-License-Identifier: GPL-3.0-or-later
"""The end packet, sent again: a receiver that misses it plays on for 5 s."""

import time

from gnuradio import gr

from ..blocks.block_base import TokenBlock
from ..blocks.messages import make_packet, read_packet

SENDINGS = 3


class end_repeater(TokenBlock, gr.basic_block):  # noqa: N801
    """Passes packets on, and sends the end packet three times.

    Input and output: message port `packets`. Only the last end packet has the metadata of the end,
    so that what is behind this block ends with it. Output: `status`.

    Args:
        interval_s: seconds between two sendings, a packet time, so that a burst of losses rarely
            takes all three.
    """

    def __init__(self, *, interval_s: float) -> None:
        gr.basic_block.__init__(self, "end_repeater", None, None)
        self._interval_s = interval_s
        self.open_ports({"packets": self._on_packet}, ["packets"], "packets")
        self.counters |= {"packets": 0, "bytes": 0}

    def _on_packet(self, message: object) -> None:
        if self._ended:
            return
        over, packet = read_packet(message)
        if over:
            for _ in range(SENDINGS - 1 if packet else 0):
                self.publish("packets", make_packet(packet))
                self.counters["packets"] += 1
                self.counters["bytes"] += len(packet)
                # Nothing can wait behind the end.
                time.sleep(self._interval_s)
        self.publish("packets", message)
        if over:
            self.finish()

    def statistics(self) -> dict[str, int]:
        """Counters: packets and bytes that were sent beyond those of the packetizer, refused."""
        return dict(self.counters)

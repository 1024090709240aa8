# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that keep what passes in a flowgraph, by frame, for whoever measures."""

import numpy as np
import pmt
from gnuradio import gr

from .._core import keys
from ..blocks.messages import DONE, read_pdu
from .loopback import Loopback


class Observer(gr.basic_block):
    """Keeps what passes on its ports, by frame."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "observer", None, None)
        self.decisions: dict[int, dict] = {}
        self.tokens: dict[int, np.ndarray] = {}
        self.received: dict[int, np.ndarray] = {}
        self.concealed: dict[int, int] = {}
        for port, handler in (
            ("sent", self._on_sent),
            ("received", self._on_received),
            ("concealed", self._on_concealed),
        ):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)
        # The end comes with the messages; the scheduler's own may overtake some of them.
        self.set_msg_handler(pmt.intern("system"), self._ignore)
        self._ends = 0

    def _ignore(self, message: object) -> None:
        pass

    def _take(self, message: object) -> tuple[dict, np.ndarray] | None:
        found = read_pdu(message)
        if found is not None and found[0].get(keys.end_of_stream):
            self._ends += 1
            if self._ends == 3:
                self.gateway.system_handler(DONE)
            return None
        return found

    def _on_sent(self, message: object) -> None:
        if (found := self._take(message)) is not None:
            self.decisions[found[0][keys.frame_index]] = found[0]
            self.tokens[found[0][keys.frame_index]] = found[1]

    def _on_received(self, message: object) -> None:
        if (found := self._take(message)) is not None and not found[0].get(keys.repair):
            self.received[found[0][keys.frame_index]] = found[1]

    def _on_concealed(self, message: object) -> None:
        if (found := self._take(message)) is not None:
            self.concealed[found[0][keys.frame_index]] = found[0][keys.concealed_tokens]


class PacketFates(gr.basic_block):
    """Frames whose packet came through the channel."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "packet_fates", None, None)
        self.arrived: set[int] = set()
        self.message_port_register_in(pmt.intern("packets"))
        self.set_msg_handler(pmt.intern("packets"), self._on_packet)
        self.set_msg_handler(pmt.intern("system"), self._ignore)

    def _ignore(self, message: object) -> None:
        pass

    def _on_packet(self, message: object) -> None:
        meta = pmt.to_python(pmt.car(message)) or {}
        if meta.get(keys.end_of_stream):
            self.gateway.system_handler(DONE)
        elif keys.frame_index in meta:
            self.arrived.add(meta[keys.frame_index])


def observed(tb: Loopback) -> tuple[Observer, PacketFates]:
    """Wires both into a loopback, for the caller to keep."""
    observer, packets = Observer(), PacketFates()
    tb.msg_connect(tb.tx.controller, "tokens", observer, "sent")
    tb.msg_connect(tb.rx.depacketizer, "tokens", observer, "received")
    tb.msg_connect(tb.rx.concealer, "tokens", observer, "concealed")
    tb.msg_connect(tb.channel, "packets", packets, "packets")
    return observer, packets

# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets on stdin and stdout: each behind its length, two bytes, most significant first."""

import os
import struct
import threading
from collections.abc import Callable

import pmt
from gnuradio import gr

from ..blocks.messages import DONE, credit_of, end_of_stream, make_packet, read_packet
from .output import Output

# As from a network. A greater length is that of something else.
MOST_BYTES = 2048
PACKETS, CREDIT = pmt.intern("packets"), pmt.intern("credit")
# Between two looks at what is full.
FULL_S = 0.01


def waiting(block: object) -> int:
    """Messages in front of the port `packets` of a block."""
    return block.to_basic_block().nmsgs(PACKETS)


class packet_writer(gr.basic_block):  # noqa: N801
    """Writes `packets` PDUs to a descriptor.

    Output: message port `credit`, dicts for the frames of what is written.

    Attributes:
        output: knows what went wrong.
    """

    def __init__(self, *, descriptor: int) -> None:
        gr.basic_block.__init__(self, "packet_writer", None, None)
        self.output = Output(descriptor)
        self.counters = {"packets": 0, "bytes": 0, "refused": 0}
        self._done = threading.Event()
        self.message_port_register_in(PACKETS)
        self.message_port_register_out(CREDIT)
        self.set_msg_handler(PACKETS, self._on_packet)
        self.set_msg_handler(pmt.intern("system"), self._on_system)

    def _on_system(self, message: object) -> None:
        # Behind the packets that still wait; the block lives until the command has looked at it.
        self.gateway._post(PACKETS, end_of_stream(-1))

    def _on_packet(self, message: object) -> None:
        over, data = read_packet(message)
        if data and len(data) <= MOST_BYTES:
            self.output.write(struct.pack(">H", len(data)) + data)
            if not self.output.over():
                self.counters["packets"] += 1
                self.counters["bytes"] += len(data)
        elif not over:
            self.counters["refused"] += 1
        if (credit := credit_of(message)) is not None:
            self.message_port_pub(CREDIT, credit)
        if over:
            self._done.set()

    def ended(self) -> bool:
        """Whether the last packet is written, or none can be any more."""
        return self._done.is_set() or self.output.over()

    def statistics(self) -> dict[str, int]:
        """Counters: packets, bytes, and refused: what is no packet."""
        return dict(self.counters)


class packet_reader(gr.basic_block):  # noqa: N801
    """Reads packets from a descriptor into `packets` PDUs.

    Behind the last packet the block ends, and with it what is downstream.

    Attributes:
        is_full: whether too much waits downstream, so that nothing is read until it is less.
        ended: set behind the last packet.
        error: what was wrong with the stream; what came before it is read.
    """

    def __init__(self, *, descriptor: int, name: str = "stdin") -> None:
        gr.basic_block.__init__(self, "packet_reader", None, None)
        self.is_full: Callable[[], bool] = lambda: False
        self.ended, self._stopped = threading.Event(), threading.Event()
        self.error = ""
        self.counters = {"packets": 0, "bytes": 0}
        self._descriptor, self._name = descriptor, name
        self.message_port_register_out(PACKETS)

    def start(self) -> bool:
        # A thread may hang in a read for ever, so that nothing must wait for it.
        self._stopped.clear()
        threading.Thread(target=self._run, daemon=True).start()
        return True

    def stop(self) -> bool:
        self._stopped.set()
        return True

    def _read(self, size: int) -> bytes:
        """So many bytes; fewer only at the end."""
        data = b""
        while len(data) < size and (piece := os.read(self._descriptor, size - len(data))):
            data += piece
        return data

    def _next(self) -> bytes:
        """The next packet, empty behind the last one."""
        head = self._read(2)
        if not head:
            return b""
        size = int.from_bytes(head, "big")
        if len(head) == 2 and not 0 < size <= MOST_BYTES:
            self.error = (
                f"{self._name} is no stream of packets (a length of {size} bytes): it comes from "
                "'largesc tx' or 'largesc channel'"
            )
            return b""
        data = self._read(size) if len(head) == 2 else b""
        if len(data) < size or len(head) < 2:
            self.error = f"{self._name} ends within a packet"
            return b""
        return data

    def _run(self) -> None:
        try:
            while data := self._next():
                self.counters["packets"] += 1
                self.counters["bytes"] += len(data)
                self.message_port_pub(PACKETS, make_packet(data))
                while self.is_full() and not self._stopped.wait(FULL_S):
                    pass
        except OSError as error:
            self.error = f"{self._name} cannot be read: {error.strerror}"
        self.ended.set()
        self.gateway._post(pmt.intern("system"), DONE)

    def statistics(self) -> dict[str, int]:
        """Counters: packets and bytes that came."""
        return dict(self.counters)

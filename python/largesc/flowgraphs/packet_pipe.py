# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets on stdin and stdout: each behind its length, two bytes, most significant first."""

import os
import struct
import threading

import numpy as np
import pmt
from gnuradio import gr

from ..blocks.messages import DONE


class packet_writer(gr.basic_block):  # noqa: N801
    """Writes `packets` PDUs to a binary file."""

    def __init__(self, *, file: object) -> None:
        gr.basic_block.__init__(self, "packet_writer", None, None)
        self._file = file
        self.message_port_register_in(pmt.intern("packets"))
        self.set_msg_handler(pmt.intern("packets"), self._on_packet)
        # The command ends it, once everything is written.
        self.set_msg_handler(pmt.intern("system"), self._ignore)

    def _ignore(self, message: object) -> None:
        pass

    def _on_packet(self, message: object) -> None:
        data = bytes(pmt.u8vector_elements(pmt.cdr(message)))
        try:
            self._file.write(struct.pack(">H", len(data)) + data)
            self._file.flush()
        except (BrokenPipeError, ValueError):
            # Whoever read them has gone: there is nothing left to do with a packet.
            pass


class packet_reader(gr.basic_block):  # noqa: N801
    """Reads packets from a file descriptor into `packets` PDUs.

    ``ended`` is set behind the last packet; the block then ends, and with it what is downstream.
    """

    def __init__(self, *, descriptor: int) -> None:
        gr.basic_block.__init__(self, "packet_reader", None, None)
        self.ended = threading.Event()
        self._descriptor = descriptor
        self.message_port_register_out(pmt.intern("packets"))

    def start(self) -> bool:
        # A thread may hang in a read for ever, so that nothing must wait for it.
        threading.Thread(target=self._run, daemon=True).start()
        return True

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = os.read(self._descriptor, size - len(data))
            if not piece:
                return b""
            data += piece
        return data

    def _run(self) -> None:
        while head := self._read(2):
            data = np.frombuffer(self._read(struct.unpack(">H", head)[0]), dtype=np.uint8)
            vector = pmt.init_u8vector(len(data), data.tolist())
            self.message_port_pub(pmt.intern("packets"), pmt.cons(pmt.make_dict(), vector))
        self.ended.set()
        self.gateway._post(pmt.intern("system"), DONE)

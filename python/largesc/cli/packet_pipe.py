# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets on stdin and stdout: each behind its length, two bytes, most significant first."""

import struct
import threading

import numpy as np
import pmt
from gnuradio import gr

from ..blocks.messages import DONE


class packet_writer(gr.basic_block):  # noqa: N801
    """Writes `packets` PDUs to a binary file."""

    def __init__(self, file: object) -> None:
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
            self.gateway.system_handler(DONE)


class packet_reader(gr.basic_block):  # noqa: N801
    """Reads packets from a binary file into `packets` PDUs; ends with the file."""

    def __init__(self, file: object) -> None:
        gr.basic_block.__init__(self, "packet_reader", None, None)
        self._file = file
        self.message_port_register_out(pmt.intern("packets"))

    def start(self) -> bool:
        threading.Thread(target=self._run, daemon=True).start()
        return True

    def _run(self) -> None:
        while len(head := self._file.read(2)) == 2:
            size = struct.unpack(">H", head)[0]
            data = np.frombuffer(self._file.read(size), dtype=np.uint8)
            vector = pmt.init_u8vector(len(data), data.tolist())
            self.message_port_pub(pmt.intern("packets"), pmt.cons(pmt.make_dict(), vector))
        self.gateway.system_handler(DONE)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: what the receiver knows of the channel, as packets for the way back."""

import math
import time
from dataclasses import replace

import pmt
from gnuradio import gr

from ..control.report_follower import ReportPacer
from ..options import LinkOptions, ReportOptions
from ..packets.report import Report, encode
from .block_base import TokenBlock
from .messages import make_packet, read_report


class report_tx(TokenBlock, gr.basic_block):  # noqa: N801
    """Reports to packets of 4 bytes, or 6 with CRC; see docs/packet-format.md.

    Input: message ports `report` (dicts of uep_depacketizer), `status` (of packet_radio_rx, for the
    SNR), `send` (anything: the newest report goes now, as at the end of an over).
    Output: message ports `packets`, `status`.

    Args:
        interval_ms: at most one report in so many ms over a long time, up to three at once when p
            changes; 100 to 60000, or 0: by `send` only.
        crc: as the speech packets of the link.

    Raises:
        ValueError: ``interval_ms`` is out of range.
    """

    def __init__(
        self, *, interval_ms: float = ReportOptions.interval_ms, crc: bool = LinkOptions.crc
    ) -> None:
        self._pacer = ReportPacer(interval_ms)
        self._interval_ms = interval_ms
        self._crc = crc
        self._report: Report | None = None
        self._snr_db: float | None = None
        self._sequence = 0
        gr.basic_block.__init__(self, "report_tx", None, None)
        inputs = {"report": self._on_report, "status": self._on_status, "send": self._on_send}
        self.open_ports(inputs, ["packets"], None)
        self.counters |= {"reports": 0, "packets": 0, "bytes": 0}

    def begin(self) -> None:
        # The numbers of the reports go on, for a receiver that has not stopped.
        self._pacer = ReportPacer(self._interval_ms)
        self._report = self._snr_db = None

    def _on_report(self, message: object) -> None:
        try:
            report = read_report(message)
        except ValueError as error:
            self.refuse(str(error))
            return
        self.counters["reports"] += 1
        self._report = report
        if self._pacer.due(report.loss_probability, 1e3 * time.monotonic()):
            self._send()

    def _on_status(self, message: object) -> None:
        if not pmt.is_dict(message):
            self.refuse("expected a status, a dict")
            return
        value = pmt.dict_ref(message, pmt.intern("es_n0_db"), pmt.PMT_NIL)
        if pmt.is_real(value) and math.isfinite(pmt.to_double(value)):
            self._snr_db = pmt.to_double(value)

    def _on_send(self, message: object) -> None:
        if self._report is not None:
            self._send()

    def _send(self) -> None:
        report = self._report
        if report.snr_db is None:
            report = replace(report, snr_db=self._snr_db)
        data = encode(report, self._sequence, self._crc)
        self._sequence += 1
        self.counters["packets"] += 1
        self.counters["bytes"] += len(data)
        self.publish("packets", make_packet(data))
        self.publish_status()

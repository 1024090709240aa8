# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: reports that came back, for the controller."""

import threading
import time
from functools import partial

from gnuradio import gr

from ..control.policies import checked_burst, checked_probability
from ..control.report_follower import ReportFollower
from ..options import LinkOptions, ReportOptions, SenderOptions
from ..packets import refusal
from ..packets.report import Report, decode, is_report
from .block_base import ThreadedBlock, count_once
from .messages import packet_bytes, report_dict

# While no report comes, what is believed goes out this often.
STEP_S = 0.25


class report_rx(ThreadedBlock, gr.basic_block):  # noqa: N801
    """Packets to reports; makes the sender cautious when none come.

    Input: message port `packets`; speech packets on the same link are passed over and counted.
    Output: message ports `report` (dicts for adaptive_controller), `status`.

    After ``timeout_ms`` without a report (from the start on) p rises, until at twice that time it
    is ``cautious_loss`` if it was below; the next report is believed at once. Duplicates, late
    reports and those with a wrong CRC are counted.

    Args:
        timeout_ms: 100 to 3600000; half duplex above the length of an over.
        cautious_loss: 0 to 1.
        crc: as the speech packets of the link.
        loss_probability, mean_burst_packets: until the first report, as in adaptive_controller.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        timeout_ms: float = ReportOptions.timeout_ms,
        cautious_loss: float = ReportOptions.cautious_loss,
        crc: bool = LinkOptions.crc,
        loss_probability: float = SenderOptions.loss_probability,
        mean_burst_packets: float = SenderOptions.mean_burst_packets,
    ) -> None:
        first = Report(checked_probability(loss_probability), checked_burst(mean_burst_packets))
        self._make = partial(ReportFollower, timeout_ms, cautious_loss, first)
        self._core = self._make()
        self._crc = crc
        self._lock = threading.Lock()
        gr.basic_block.__init__(self, "report_rx", None, None)
        self.open_ports({"packets": self._on_packet}, ["report"], None)
        self.counters |= {"other_packets": 0, "refusals": 0}
        self.refusal_reason = ""

    def begin(self) -> None:
        self._core = self._make()
        self.refusal_reason = ""

    def run(self) -> None:
        """Makes the sender cautious while no report comes."""
        while not self.stopped.wait(STEP_S):
            with self._lock:
                now = now_ms()
                late, belief = self._core.cautious(now), self._core.belief(now)
            if late:
                self.publish("report", report_dict(belief))
                self.publish_status()

    def _on_packet(self, message: object) -> None:
        data = packet_bytes(message)
        if data is None:
            self.refuse("expected a PDU of bytes (u8)")
            return
        if not is_report(data, self._crc):
            self._on_other(data)
            return
        found = decode(data, self._crc)
        if found is None:
            self.refuse("a report with a wrong CRC")
            return
        with self._lock:
            taken = self._core.take(*found, now_ms())
        if taken:
            self.refusal_reason = ""
            self.publish("report", report_dict(found[1]))
            self.publish_status()

    def _on_other(self, data: bytes) -> None:
        reason = refusal.decode(data, self._crc)
        if reason is None:
            self.counters["other_packets"] += 1
            return
        self.refusal_reason = reason
        count_once(self, "refusals", reason, f"the gateway takes no call: {reason}")
        self.publish_status()

    def cautious(self) -> bool:
        """Whether reports have been missing for longer than the timeout."""
        with self._lock:
            return self._core.cautious(now_ms())

    def statistics(self) -> dict[str, int]:
        """Counters: reports, duplicates, late, timeouts, refused, other_packets, refusals."""
        return self._core.counters | self.counters


def now_ms() -> float:
    """Returns the time in ms of a clock that never goes back."""
    return 1e3 * time.monotonic()

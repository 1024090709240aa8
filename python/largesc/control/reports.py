# SPDX-License-Identifier: GPL-3.0-or-later
"""Receiver reports on the wire: format, pace, and what the sender believes of them.

The bytes are defined in docs/packet-format.md. Nothing here has a clock: callers tell the time.
"""

import math
from binascii import crc_hqx
from dataclasses import dataclass, replace

from .._core import CODE_REPORT, REPORT_BYTES

CRC_BYTES = 2
# A report up to this much older than the newest is late; further off, the receiver began anew.
LATE_REPORTS = 16
LOWEST_SNR_DB, UNKNOWN_SNR = -16, 63
UNKNOWN_FRAMES = 15
# How many reports may go at once when the channel changes, out of what was saved before.
MOST_SAVED = 3.0
# In the square root of p, steps of which are about equally likely at any p.
CHANGE = 0.12
QUIET_INTERVALS = 1.25
LEAST_GAP_MS = 160.0


@dataclass(frozen=True)
class Report:
    """What a receiver says of the channel.

    Attributes:
        loss_probability: 0 to 1; the wire keeps 64 steps, finer where it is small.
        mean_burst_packets: 1 or more; the wire keeps 16 steps up to 13.5.
        snr_db: None where it is not known; the wire keeps whole dB, -16 to 46.
        buffered_frames: frames that wait for playout; None where it is not known; the wire keeps
            0 to 14.
    """

    loss_probability: float
    mean_burst_packets: float = 1.0
    snr_db: float | None = None
    buffered_frames: int | None = None


def clamped(value: float, low: int, high: int) -> int:
    """Nearest whole number in the range; ``low`` for what is no number."""
    return low if math.isnan(value) else round(min(max(value, low), high))


def encode(report: Report, sequence: int, crc: bool) -> bytes:
    """Bytes of a report: 4, or 6 with CRC. Values out of range are cut."""
    loss = clamped(63 * math.sqrt(max(report.loss_probability, 0.0)), 0, 63)
    burst = clamped(4 * math.log2(max(report.mean_burst_packets, 1.0)), 0, 15)
    snr, frames = UNKNOWN_SNR, UNKNOWN_FRAMES
    if report.snr_db is not None:
        snr = clamped(report.snr_db - LOWEST_SNR_DB, 0, UNKNOWN_SNR - 1)
    if report.buffered_frames is not None:
        frames = clamped(report.buffered_frames, 0, UNKNOWN_FRAMES - 1)
    fields = loss << 10 | burst << 6 | snr
    data = bytes([sequence % 256, CODE_REPORT << 4 | frames]) + fields.to_bytes(2, "big")
    return data + crc_hqx(data, 0xFFFF).to_bytes(2, "big") if crc else data


def is_report(data: bytes, crc: bool) -> bool:
    """Whether a packet claims to be a report; its CRC may still be wrong."""
    size = REPORT_BYTES + (CRC_BYTES if crc else 0)
    return len(data) == size and data[1] >> 4 == CODE_REPORT


def decode(data: bytes, crc: bool) -> tuple[int, Report] | None:
    """Sequence number and report; None for what is no report or has a wrong CRC."""
    if not is_report(data, crc) or (crc and crc_hqx(data, 0xFFFF) != 0):
        return None
    fields = int.from_bytes(data[2:4], "big")
    snr, frames = fields & 63, data[1] & 15
    return data[0], Report(
        ((fields >> 10) / 63) ** 2,
        2.0 ** ((fields >> 6 & 15) / 4),
        None if snr == UNKNOWN_SNR else float(snr + LOWEST_SNR_DB),
        None if frames == UNKNOWN_FRAMES else frames,
    )


class ReportPacer:
    """Says when a report goes out.

    Over a long time at most one in ``interval_ms``. While p stays as it is they go a little less
    often, and what that saves lets up to three follow each other when p changes.

    Args:
        interval_ms: 100 or more; 0: never by itself.

    Raises:
        ValueError: ``interval_ms`` is out of range.
    """

    def __init__(self, interval_ms: float) -> None:
        if interval_ms != 0 and not 100 <= interval_ms <= 60_000:
            raise ValueError(
                f"interval_ms {interval_ms} is out of range: use 100 to 60000, or 0 for reports "
                "on demand only"
            )
        self.interval_ms = float(interval_ms)
        self._sent_ms: float | None = None
        self._saved, self._saved_ms = MOST_SAVED, 0.0
        self._root = 0.0

    def due(self, loss_probability: float, now_ms: float) -> bool:
        """Whether a report with this p goes out now; if so, it is taken as sent."""
        if self.interval_ms == 0:
            return False
        root = math.sqrt(max(loss_probability, 0.0))
        if self._sent_ms is not None:
            saved = self._saved + (now_ms - self._saved_ms) / self.interval_ms
            self._saved, self._saved_ms = min(saved, MOST_SAVED), now_ms
            changed = abs(root - self._root) > CHANGE
            gap_ms = LEAST_GAP_MS if changed else QUIET_INTERVALS * self.interval_ms
            # The tolerance takes up times that are no multiples of a packet's.
            if now_ms - self._sent_ms < gap_ms - 1e-6 or self._saved < 1.0:
                return False
        self._sent_ms = self._saved_ms = now_ms
        self._saved, self._root = self._saved - 1.0, root
        return True


class ReportFollower:
    """What the sender believes: the newest report, and less and less of it while none comes.

    ``timeout_ms`` after the last report p begins to rise, and after twice that it stands at
    ``cautious_loss``; a p above that stays as it is. The next report is believed at once.

    Args:
        timeout_ms: 100 or more.
        cautious_loss: 0 to 1.
        report: believed until the first one comes.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        timeout_ms: float = 3000.0,
        cautious_loss: float = 0.2,
        report: Report = Report(0.0),  # noqa: B008
    ) -> None:
        if not 100 <= timeout_ms <= 3_600_000:
            raise ValueError(f"timeout_ms {timeout_ms} is out of range: use 100 to 3600000")
        if not 0.0 <= cautious_loss <= 1.0:
            raise ValueError(f"cautious_loss {cautious_loss} is out of range: use 0 to 1")
        self.timeout_ms, self.cautious_loss = timeout_ms, cautious_loss
        self.counters = {"reports": 0, "duplicates": 0, "late": 0, "timeouts": 0}
        self.report = report
        self._sequence: int | None = None
        self._since_ms: float | None = None
        self._cautious = False

    def take(self, sequence: int, report: Report, now_ms: float) -> bool:
        """Takes a decoded report; False when it is a duplicate or late, and counted as that."""
        if self._sequence is not None and not self.cautious(now_ms):
            behind = (self._sequence - sequence) % 256
            if behind <= LATE_REPORTS:
                self.counters["late" if behind else "duplicates"] += 1
                return False
        self._sequence, self.report, self._since_ms = sequence, report, now_ms
        self._cautious = False
        self.counters["reports"] += 1
        return True

    def cautious(self, now_ms: float) -> bool:
        """Whether the last report, or the first call, is longer ago than the timeout."""
        if self._since_ms is None:
            self._since_ms = now_ms
        late = now_ms - self._since_ms > self.timeout_ms
        self.counters["timeouts"] += late and not self._cautious
        self._cautious = late
        return late

    def belief(self, now_ms: float) -> Report:
        """The report as the controller should take it now."""
        if not self.cautious(now_ms):
            return self.report
        p = self.report.loss_probability
        part = min(1.0, (now_ms - self._since_ms) / self.timeout_ms - 1.0)
        return replace(self.report, loss_probability=p + part * max(0.0, self.cautious_loss - p))

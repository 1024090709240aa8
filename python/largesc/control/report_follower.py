# SPDX-License-Identifier: GPL-3.0-or-later
"""When a receiver reports, and what the sender believes of the reports.

Nothing here has a clock: callers tell the time.
"""

import math
from dataclasses import replace

from ..packets.report import Report

# A report up to this much older than the newest is late; further off, the receiver began anew.
LATE_REPORTS = 16
# How many reports may go at once when the channel changes, out of what was saved before.
MOST_SAVED = 3.0
# In the square root of p, steps of which are about equally likely at any p.
CHANGE = 0.12
QUIET_INTERVALS = 1.25
LEAST_GAP_MS = 160.0


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

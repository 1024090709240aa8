# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command says while it runs, and how it waits for its end."""

import time
from collections.abc import Callable, Sequence

from ..flowgraphs.transport import udp_packets
from .audio import say

# Seconds without a packet or a report until the user hears of it: within 2, and behind one report
# that was lost, which leaves 1.6.
MISSING_S = 1.9


class Watch:
    """Tells the user within 2 s when nothing comes any more, and when it comes again.

    Args:
        count: of what should come.
        gone, back: what to say.
    """

    def __init__(self, count: Callable[[], int], gone: str, back: str) -> None:
        self._count, self._gone, self._back = count, gone, back
        self._seen, self._since, self._missing = 0, time.monotonic(), False

    def look(self) -> None:
        """Call it several times a second."""
        seen, now = self._count(), time.monotonic()
        if seen != self._seen:
            if self._missing:
                say(self._back)
            self._seen, self._since, self._missing = seen, now, False
        elif not self._missing and now - self._since > MISSING_S:
            self._missing = True
            say(self._gone)


class PeerWatch:
    """Tells the user who sends, and when that changes; at most once a second."""

    def __init__(self, block: udp_packets) -> None:
        self._block, self._peer, self._said = block, None, 0.0

    def look(self) -> None:
        """Call it several times a second."""
        peer, now = self._block.peer, time.monotonic()
        if peer != self._peer and now - self._said > 1.0:
            self._peer, self._said = peer, now
            say(f"packets come from {peer[0]}:{peer[1]}")


def wait_for(ended: Callable[[], bool], seconds: float, watches: Sequence = ()) -> None:
    """Until ``ended()``, or for ``seconds`` when they are above 0, or Ctrl-C."""
    begin = time.monotonic()
    try:
        while not ended() and not (seconds > 0 and time.monotonic() - begin > seconds):
            for watch in watches:
                watch.look()
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass

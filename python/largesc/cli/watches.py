# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command says while it runs, and how it waits for its end."""

import threading
import time
from collections.abc import Callable, Sequence

from ..flowgraphs.output import Output
from ..flowgraphs.transport import udp_packets
from .process import ending
from .refusals import because
from .say import say

# Seconds without a packet or a report until the user hears of it: within 2, and behind one report
# that was lost, which leaves 1.6.
MISSING_S = 1.9
# What a receiver refuses is judged after so long, and with so many packets.
REFUSED_S, LEAST_REFUSED = 2.0, 5
LOOK_S = 0.05


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


class RefusalWatch:
    """Tells the user once when most packets of 2 s are refused, and the likely reason.

    Args:
        heard: packets that were understood.
        refused: packets that were not, by reason.
    """

    def __init__(self, heard: Callable[[], int], refused: Callable[[], dict[str, int]]) -> None:
        self._heard, self._refused = heard, refused
        self._since, self._before, self._said = time.monotonic(), (0, {}), False

    def look(self) -> None:
        """Call it several times a second."""
        now = time.monotonic()
        if self._said or now - self._since < REFUSED_S:
            return
        heard, refused = self._heard(), self._refused()
        (old_heard, old), self._before, self._since = self._before, (heard, refused), now
        lately = {name: n - old.get(name, 0) for name, n in refused.items() if n > old.get(name, 0)}
        count, good = sum(lately.values()), heard - old_heard
        if count >= LEAST_REFUSED and count > good:
            self._said = True
            say(f"{count} of {count + good} packets in 2 s are refused: {because(lately)}")


class StallWatch:
    """Tells the user once that nobody reads what a live receiver plays."""

    def __init__(self, output: Output) -> None:
        self._output, self._said = output, False

    def look(self) -> None:
        """Call it several times a second."""
        since = self._output.waits_since
        if since and not self._said and time.monotonic() - since > MISSING_S:
            self._said = True
            say("stdout has not been read for 2 s: what comes meanwhile is left out (skew_dropped)")


def waiting(tb: object) -> threading.Thread:
    """A thread that lives until a started flowgraph has come to its end."""
    waiter = threading.Thread(target=tb.wait, daemon=True)
    waiter.start()
    return waiter


def wait_for(ended: Callable[[], bool], seconds: float = 0.0, watches: Sequence = ()) -> None:
    """Until ``ended()``, a signal, or for ``seconds`` when they are above 0."""
    begin = time.monotonic()
    while not ended() and not ending.signal:
        if 0 < seconds < time.monotonic() - begin:
            return
        for watch in watches:
            watch.look()
        time.sleep(LOOK_S)

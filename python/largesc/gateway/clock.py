# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's clock: a tick each 80 ms, until it is stopped."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable

from ..speech.format import FRAME_MS
from .gateway import Gateway
from .inbox import Inbox
from .phones import Phones

TICK_NS = FRAME_MS * 1_000_000
# Behind by more, it goes on from now: depacketizers leave out what they missed.
MOST_BEHIND_NS = 5 * TICK_NS
KEPT_TICKS = 1000
log = logging.getLogger(__name__)


class GatewayClock:
    """Turns a gateway in real time.

    Args:
        gateway: of the calls.
        phones: of the other way.
        inbox: the socket of both.
        new_keys: whether keys are to be read again.

    Attributes:
        tick_ms: what each of the last ticks took in all.
        skipped: ticks that were left out, since computing took too long.
        failures: faults of this program, each of which cost a datagram or a tick.
    """

    def __init__(
        self, gateway: Gateway, phones: Phones, inbox: Inbox, new_keys: Callable[[], bool]
    ) -> None:
        self._gateway, self._phones, self._inbox = gateway, phones, inbox
        self.tick_ms: deque[float] = deque(maxlen=KEPT_TICKS)
        self.skipped = self.failures = 0
        self._new_keys = new_keys

    def run(self, over: Callable[[], bool]) -> None:
        """Until ``over`` says so; then all calls are ended and told."""
        due_ns = time.monotonic_ns()
        while not over():
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            began_ns = time.monotonic_ns()
            if self._new_keys():
                self._attempt(self._gateway.read_keys_again)
            self._turn(began_ns)
            now_ns = time.monotonic_ns()
            self.tick_ms.append((now_ns - began_ns) / 1e6)
            due_ns += TICK_NS
            if now_ns - due_ns > MOST_BEHIND_NS:
                missed = (now_ns - due_ns) // TICK_NS
                self.skipped += missed
                due_ns += missed * TICK_NS
        for part in (self._gateway, self._phones):
            for data, peer in self._attempt(part.close) or ():
                self._inbox.send(data, peer)

    def _turn(self, now_ns: int) -> None:
        known = Counter([*self._gateway.peers(), *self._phones.phones])
        for data, peer, came_ns in self._inbox.drain(known):
            self._attempt(self._take, data, peer, came_ns)
        for part in (self._gateway, self._phones):
            for data, peer in self._attempt(part.tick, now_ns) or ():
                self._inbox.send(data, peer)

    def _take(self, data: bytes, peer: tuple, came_ns: int) -> None:
        if not self._phones.take(data, peer, came_ns):
            self._gateway.take(data, peer, came_ns)

    def _attempt(self, function: Callable, *arguments: object) -> object:
        """Calls it; a fault ends no call but is counted, and the log tells of the first."""
        try:
            return function(*arguments)
        except Exception:
            self.failures += 1
            if self.failures == 1:
                log.exception("a fault of the gateway, which goes on")
            return None

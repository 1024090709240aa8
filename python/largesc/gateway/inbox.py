# SPDX-License-Identifier: GPL-3.0-or-later
"""A UDP socket whose datagrams wait for the next tick; a flood drowns nobody who is known."""

import socket
import threading
import time
from collections import Counter, deque

from ..packets.address import address, bind, resolved

MOST_BYTES = 2048
POLL_S = 0.1
# Of each call of a known address, and of all unknown ones together, between two ticks of 80 ms.
MOST_OF_ONE, MOST_OF_STRANGERS = 32, 256
# The kernel keeps what comes while this process computes.
SOCKET_BYTES = 4 * 2**20
# IPv4 at a socket of both kinds; outside of this file it looks as at one of its own.
MAPPED = "::ffff:"
# Behind an error of the network.
ERROR_S = 0.02


class Inbox:
    """Receives and sends at one address, IPv4 and IPv6.

    Args:
        listen: ``host:port``; ``*:port`` for all addresses of this machine.

    Raises:
        ValueError: the address has another form, is unknown or in use.

    Attributes:
        counters: datagrams ``received``, ``sent``, ``flooded`` (dropped since too many came), and
            ``errors`` of the network.
    """

    def __init__(self, listen: str) -> None:
        self.counters = dict.fromkeys(("received", "sent", "flooded", "errors"), 0)
        self._socket, self._both = opened(listen)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        self._socket.settimeout(POLL_S)
        self._known: Counter[tuple] = Counter()
        self._waiting: deque[tuple[bytes, tuple, int]] = deque()
        self._counts: dict[tuple | None, int] = {}
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        self._thread.start()

    def check_reach(self, peer: tuple, text: str) -> None:
        """Raises ValueError where nothing can be sent from here to ``peer``."""
        wanted = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
        if not self._both and wanted != self._socket.family:
            kind = "IPv6" if ":" in peer[0] else "IPv4"
            raise ValueError(
                f"{text} is an address of {kind}, and this gateway listens at the other kind "
                "alone: --listen '*:PORT' takes both"
            )

    def drain(self, known: Counter[tuple]) -> list[tuple[bytes, tuple, int]]:
        """What came since: datagrams, where from, and when by ``time.monotonic_ns``.

        Args:
            known: addresses that are heard before all others from now on, and how many calls
                come from each.
        """
        with self._lock:
            found, self._waiting = list(self._waiting), deque()
            self._counts, self._known = {}, known
        return found

    def send(self, data: bytes, peer: tuple) -> None:
        """Sends one; what cannot be sent is counted."""
        if self._both and ":" not in peer[0]:
            peer = (MAPPED + peer[0], peer[1])
        try:
            self._socket.sendto(data, peer)
            self.counters["sent"] += 1
        except OSError:
            self.counters["errors"] += 1

    def close(self) -> None:
        """Stops the thread that receives, and closes the socket."""
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                data, peer = self._socket.recvfrom(MOST_BYTES)
            except TimeoutError:
                continue
            except OSError:
                # Of what was sent before.
                self.counters["errors"] += 1
                self._stopped.wait(ERROR_S)
                continue
            self.counters["received"] += 1
            if peer[0].startswith(MAPPED):
                peer = (peer[0].removeprefix(MAPPED), peer[1])
            self._put(data, peer, time.monotonic_ns())

    def _put(self, data: bytes, peer: tuple, now_ns: int) -> None:
        with self._lock:
            calls = self._known[peer]
            who = peer if calls else None
            count = self._counts.get(who, 0)
            if count >= (calls * MOST_OF_ONE or MOST_OF_STRANGERS):
                self.counters["flooded"] += 1
                return
            self._counts[who] = count + 1
            self._waiting.append((data, peer, now_ns))


def opened(listen: str) -> tuple[socket.socket, bool]:
    """A bound UDP socket, and whether it takes IPv4 and IPv6."""
    host, port = address(listen)
    if host == "*" and socket.has_dualstack_ipv6():
        found = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bind(found, ("::", port), listen)
        return found, True
    family, where = resolved(listen, True)
    found = socket.socket(family, socket.SOCK_DGRAM)
    bind(found, where, listen)
    return found, False

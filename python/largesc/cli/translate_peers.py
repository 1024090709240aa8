# SPDX-License-Identifier: GPL-3.0-or-later
"""Two ends of a link of messages over UDP, each of which knows whether the other lives.

A sender asks each 0.3 s whether somebody is there, and a listener answers.
"""

import queue
import secrets
import socket
import struct
import threading
import time
from contextlib import suppress

from ..packets.address import bind, resolved
from ..packets.pieces import MOST_CALL, Assemblers, Piece, Whole, pieces_of, read_piece
from ..tasks.translation import MOST_AGE_S
from .say import say
from .watches import Watch

# Calls at once at an edge, as it comes and at most.
CALLS, MOST_CALLS = 4, 64
PING, PONG = 250, 251
PING_S, POLL_S = 0.3, 0.05
MOST_BYTES = 2048
# Messages that wait for whoever takes them; the oldest is left out for a new one.
MOST_WAITING = 64
# A burst of 10 s is 250 packets.
SOCKET_BYTES = 4 << 20
# Linux stamps a packet when it comes; a process that was stopped reads it later.
STAMPS = getattr(socket, "SO_TIMESTAMPNS", 35)
STAMP = struct.Struct("@ll")
# A long burst goes out in groups, so that the listener's socket holds it.
GROUP, GROUP_PAUSE_S = 32, 0.002


class Sender:
    """Messages to one listener, of any number of calls.

    Args:
        to: ``host:port``.

    Raises:
        ValueError: there is no such host.

    Attributes:
        counters: ``messages``, ``bytes`` with headers, ``send_errors``.
        answers: signs of life of the listener.
    """

    def __init__(self, to: str) -> None:
        family, self._peer = resolved(to, False)
        self._to, self._socket = to, socket.socket(family, socket.SOCK_DGRAM)
        self._socket.settimeout(POLL_S)
        self._session, self.answers = secrets.randbits(32), 0
        # Session and number of the next message of each call.
        self._calls: dict[int, tuple[int, int]] = {}
        self.counters = {"messages": 0, "bytes": 0, "send_errors": 0}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def send(self, kind: int, message: bytes, call: int = 0) -> None:
        """Sends a message; what the network refuses is counted.

        Raises:
            ValueError: it is too long.
        """
        session, number = self._calls.get(call, (secrets.randbits(32), 0))
        for piece in pieces_of(kind, session, number, message, call):
            if piece.part and piece.part % GROUP == 0:
                time.sleep(GROUP_PAUSE_S)
            sent = self._put(piece)
            self.counters["bytes" if sent else "send_errors"] += sent or 1
        self._calls[call] = session, number + 1
        self.counters["messages"] += 1

    def end(self, call: int) -> None:
        """Forgets a call: the next message of this number begins another one."""
        self._calls.pop(call, None)

    def watch(self, name: str) -> Watch:
        """Tells the user when ``name`` answers no more."""
        return Watch(
            lambda: self.answers,
            f"{name} at {self._to} does not answer; what is said meanwhile is lost",
            f"{name} at {self._to} answers",
        )

    def close(self) -> None:
        """Stops asking for signs of life, and closes the socket."""
        self._closed.set()
        self._thread.join()
        self._socket.close()

    def _put(self, piece: Piece) -> int:
        """Bytes that went out; 0 where the network refuses."""
        try:
            return self._socket.sendto(piece.packet(), self._peer)
        except OSError:
            return 0

    def _ask(self) -> None:
        asked_s = 0.0
        while not self._closed.is_set():
            if time.monotonic() - asked_s > PING_S:
                asked_s = time.monotonic()
                self._put(Piece(PING, self._session, 0, 0, 1, b""))
            try:
                piece = read_piece(self._socket.recv(MOST_BYTES))
            except TimeoutError:
                continue
            except (OSError, ValueError):
                # No answer, whatever it is.
                self._closed.wait(POLL_S)
                continue
            self.answers += (piece.kind, piece.session) == (PONG, self._session)


class Devices:
    """Messages to where their call goes.

    Args:
        addresses: ``host:port``, for all calls, or ``call=host:port`` for one.

    Raises:
        ValueError: an address is none, or a call has two.

    Attributes:
        counters: ``sent_bytes``, ``send_errors``; ``nowhere``: messages of calls that
            have no address.
    """

    def __init__(self, addresses: list[str]) -> None:
        wanted: dict[int | None, str] = {}
        for given in addresses:
            call, address = call_and_address(given)
            if call in wanted:
                whose = "all calls" if call is None else f"call {call}"
                raise ValueError(f"--to {given}: {whose} go to {wanted[call]} already")
            wanted[call] = address
        self._senders = {call: Sender(address) for call, address in wanted.items()}
        self._nowhere = 0

    def send(self, kind: int, message: bytes, call: int) -> None:
        """Sends a message of a call to its address, or else to that of all calls."""
        sender = self._senders.get(call, self._senders.get(None))
        if sender is not None:
            sender.send(kind, message, call)
            return
        self._nowhere += 1
        if self._nowhere == 1:
            say(
                f"call {call} goes nowhere: give --to {call}=HOST:PORT, or --to HOST:PORT for all "
                "calls"
            )

    def end(self, call: int) -> None:
        """Tells all addresses that a call is over."""
        for sender in self._senders.values():
            sender.end(call)

    def watches(self, name: str) -> list[Watch]:
        """Tells the user of each address that answers no more."""
        return [sender.watch(name) for sender in self._senders.values()]

    @property
    def counters(self) -> dict[str, int]:
        """Sums up what all addresses have counted."""
        each = [sender.counters for sender in self._senders.values()]
        sums = {"sent_bytes": sum(c["bytes"] for c in each)}
        sums["send_errors"] = sum(c["send_errors"] for c in each)
        return sums | {"nowhere": self._nowhere}

    def close(self) -> None:
        """Closes the sockets of all addresses."""
        for sender in self._senders.values():
            sender.close()


def call_and_address(given: str) -> tuple[int | None, str]:
    """The call, None for all, and the address of ``[CALL=]HOST:PORT``.

    Raises:
        ValueError: the call is no number of 16 bits.
    """
    call, equals, address = given.rpartition("=")
    if not equals:
        return None, given
    if not call.isdecimal() or int(call) > MOST_CALL:
        raise ValueError(
            f"--to {given}: {call!r} is no call: use 0 to {MOST_CALL}, as CALL=HOST:PORT"
        )
    return int(call), address


class Listener:
    """Messages of some calls, whole and in order, each of one sender at a time.

    Args:
        listen: ``host:port``.
        most_calls: at once.

    Raises:
        ValueError: it cannot be listened at.

    Attributes:
        heard: packets that were understood, signs of life among them.
    """

    def __init__(self, listen: str, most_calls: int = 1) -> None:
        family, where = resolved(listen, True)
        self._at, self._socket = listen, socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, STAMPS, 1)
        self._socket.settimeout(POLL_S)
        bind(self._socket, where, listen)
        self._assembler, self.heard, self._overrun = Assemblers(most_calls), 0, 0
        self._most_calls, self._refused = most_calls, False
        self._waiting: queue.Queue[Whole] = queue.Queue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    @property
    def counters(self) -> dict[str, int]:
        """Of messages and packets; ``overrun``: messages that nobody took in time."""
        return self._assembler.counters | {"overrun": self._overrun}

    def receive(self, timeout_s: float = POLL_S) -> Whole | None:
        """The next message; None where none comes."""
        try:
            return self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def watch(self, name: str) -> Watch:
        """Tells the user when nothing of ``name`` comes any more."""
        return Watch(
            lambda: self.heard,
            f"nothing comes from {name} to {self._at}",
            f"{name} is heard at {self._at}",
        )

    def close(self) -> None:
        """Stops the thread that receives, and closes the socket."""
        self._closed.set()
        self._thread.join()
        self._socket.close()

    def _hear(self) -> None:
        while not self._closed.is_set():
            try:
                packet, stamps, _, peer = self._socket.recvmsg(MOST_BYTES, 64)
            except TimeoutError:
                found = self._assembler.due(time.monotonic())
            except OSError:
                self._closed.wait(POLL_S)
                continue
            else:
                found = self._taken(packet, came_s(stamps), peer)
            for whole in found:
                if self._waiting.qsize() >= MOST_WAITING:
                    self._waiting.get_nowait()
                    self._overrun += 1
                self._waiting.put(whole)

    def _taken(self, packet: bytes, arrived_s: float, peer: tuple) -> list[Whole]:
        try:
            piece = read_piece(packet)
        except ValueError:
            return self._assembler.push(packet, arrived_s)
        self.heard += 1
        if piece.kind == PING:
            self._answer(piece, peer)
            return []
        found = self._assembler.take(piece, arrived_s)
        if not self._refused and self._assembler.counters["refused_calls"]:
            self._refused = True
            say(
                f"call {piece.call} is left out, since {self._most_calls} came before it: an edge "
                "takes more with --calls; more of them are counted"
            )
        return found

    def _answer(self, piece: Piece, peer: tuple) -> None:
        try:
            self._socket.sendto(Piece(PONG, piece.session, 0, 0, 1, b"").packet(), peer)
        except OSError:
            # It asks again.
            return


def came_s(stamps: list[tuple[int, int, bytes]]) -> float:
    """When a packet came, on the monotonic clock; now where the system does not tell."""
    for level, kind, data in stamps:
        if (level, kind) == (socket.SOL_SOCKET, STAMPS) and len(data) >= STAMP.size:
            seconds, nanoseconds = STAMP.unpack_from(data)
            return time.monotonic() - max(0.0, time.time() - seconds - 1e-9 * nanoseconds)
    return time.monotonic()


def is_old(arrived_s: float, most_s: float = MOST_AGE_S) -> bool:
    """Whether what came then has waited for too long to be of use."""
    return time.monotonic() - arrived_s > most_s

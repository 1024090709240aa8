# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: packets from and to other programs over KISS by TCP."""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque

from gnuradio import gr

from ..packets.address import address, bind, resolved
from ..packets.ax25 import checked_address, read_ui_frame, ui_frame
from ..packets.kiss import MOST_BYTES, KissReader, kiss_frame
from .block_base import ThreadedBlock, count_once
from .messages import make_packet, packet_bytes

MOST_CLIENTS = 16
# Packets that wait for a program that does not read, behind what its socket holds.
MOST_WAITING, SOCKET_BYTES = 64, 8192
READ_BYTES = 4096
POLL_S, CONNECT_S, RETRY_S, STATUS_S = 0.1, 2.0, 1.0, 1.0
log = logging.getLogger(__name__)


class Client:
    """A program at the other end: what it said so far, and what it has not read yet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        # What lies in sockets is late: live speech must not wait there.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self.socket, self.reader = connection, KissReader()
        self.waiting: deque[bytes] = deque()
        # Of a frame that has begun the rest must follow.
        self.rest = b""


class kiss_packets(ThreadedBlock, gr.basic_block):  # noqa: N801
    """A KISS port for packets, or a connection to that of another program.

    As a port, packets go to each program that is connected, and what any of them sends comes out.
    A program that does not read loses the oldest packets; they are counted. Nothing that comes
    ends the block: what is no data frame is counted.

    Input: message port `packets` (PDUs of bytes). Output: message ports `packets` (PDUs of bytes,
    no metadata), `status`.

    Args:
        listen: ``host:port`` to open; empty for none.
        tnc: ``host:port`` of a packet modem to connect to, as direwolf's 127.0.0.1:8001; it is
            tried again each second when it has gone.
        call: call sign with or without SSID: packets are sent in AX.25 UI frames from it to
            ``LARGSC``, and taken out of such frames. Empty: frames hold packets and nothing else.

    Raises:
        ValueError: not one of ``listen`` and ``tnc``, an address that cannot be used, a modem that
            does not answer, or a call sign that AX.25 does not have.
    """

    def __init__(self, *, listen: str = "127.0.0.1:8001", tnc: str = "", call: str = "") -> None:
        gr.basic_block.__init__(self, "kiss_packets", None, None)
        self.open_ports({"packets": self._on_packet}, ["packets"], None)
        names = "received", "sent", "dropped", "refused_clients", "connections", "connect_errors"
        self.counters |= dict.fromkeys([*names, "foreign"], 0)
        self.counters |= KissReader().counters
        if bool(listen) == bool(tnc):
            raise ValueError(f"kiss_packets: give one of listen {listen!r} and tnc {tnc!r}")
        self._call = checked_address(call) if call else ""
        self._tnc, self._lock = tnc, threading.Lock()
        # A byte wakes the thread: a packet is there.
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._clients: list[Client] = []
        self._source = ""
        self._listener = self._listening(listen) if listen else None
        if tnc:
            self._connect()

    def _listening(self, where: str) -> socket.socket:
        family, at = resolved(where, True, socket.SOCK_STREAM)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind(listener, at, where)
        listener.listen()
        listener.setblocking(False)
        return listener

    def port(self) -> int:
        """Returns the TCP port that is open, also where the system chose it."""
        return self._listener.getsockname()[1]

    def _connect(self) -> None:
        try:
            self._add(socket.create_connection(address(self._tnc), CONNECT_S))
        except OSError as error:
            raise ValueError(
                f"no packet modem answers at {self._tnc} ({error}): start it, as direwolf, or "
                "give the address of its KISS port"
            ) from error

    def _add(self, connection: socket.socket) -> None:
        with self._lock:
            self._clients.append(Client(connection))
        self.counters["connections"] += 1

    def begin(self) -> None:
        self._source = ""
        for client in list(self._clients):
            self._drop(client)
        if self._tnc:
            self.attempt(self._connect)

    def halt(self) -> None:
        super().halt()
        if self._tnc:
            for client in list(self._clients):
                self._drop(client)

    def _drop(self, client: Client) -> None:
        with self._lock:
            self._clients.remove(client)
        client.socket.close()

    def _on_packet(self, message: object) -> None:
        data = packet_bytes(message)
        if not data or len(data) > MOST_BYTES:
            size = "no bytes" if not data else f"{len(data)} bytes"
            self.refuse(f"a packet of {size}: 1 to {MOST_BYTES} bytes go into a KISS frame")
            return
        frame = kiss_frame(ui_frame(self._call, data) if self._call else data)
        with self._lock:
            for client in self._clients:
                client.waiting.append(frame)
                if len(client.waiting) > MOST_WAITING:
                    client.waiting.popleft()
                    text = "a program does not read its packets: the oldest are dropped"
                    count_once(self, "dropped", "dropped", text)
        # Where no more bytes fit, it is awake.
        with contextlib.suppress(BlockingIOError):
            self._button.send(b"!", socket.MSG_DONTWAIT)

    def run(self) -> None:
        """Talks to whoever is connected."""
        told = time.monotonic()
        while not self.stopped.is_set():
            if time.monotonic() - told > STATUS_S:
                told = time.monotonic()
                self.publish_status()
            if self._tnc and not self._clients and not self._again():
                continue
            with selectors.DefaultSelector() as selector:
                selector.register(self._bell, selectors.EVENT_READ, self._on_bell)
                if self._listener is not None:
                    selector.register(self._listener, selectors.EVENT_READ, self._on_connection)
                for client in self._clients:
                    wants = selectors.EVENT_WRITE if client.waiting or client.rest else 0
                    selector.register(client.socket, selectors.EVENT_READ | wants, client)
                for key, events in selector.select(POLL_S):
                    if isinstance(key.data, Client):
                        self._talk(key.data, events)
                    else:
                        key.data()

    def _on_bell(self) -> None:
        self._bell.recv(READ_BYTES)

    def _on_connection(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It has gone again.
            return
        if len(self._clients) < MOST_CLIENTS:
            self._add(connection)
            return
        connection.close()
        text = f"{MOST_CLIENTS} programs are connected already"
        count_once(self, "refused_clients", "refused_clients", text)

    def _talk(self, client: Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._send(client)
            if events & selectors.EVENT_READ:
                data = client.socket.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError
                self._read(client, data)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)

    def _send(self, client: Client) -> None:
        if not client.rest:
            with self._lock:
                client.rest = client.waiting.popleft()
        client.rest = client.rest[client.socket.send(client.rest) :]
        if not client.rest:
            self.counters["sent"] += 1

    def _read(self, client: Client, data: bytes) -> None:
        before = dict(client.reader.counters)
        for packet in client.reader.push(data):
            if self._call:
                found = read_ui_frame(packet)
                if found is None:
                    self.counters["foreign"] += 1
                    continue
                source, packet = found
                self._heard(source)
            if packet:
                self.counters["received"] += 1
                self.publish("packets", make_packet(packet))
        for name, count in client.reader.counters.items():
            self.counters[name] += count - before[name]

    def _heard(self, source: str) -> None:
        if source != self._source:
            self._source = source
            log.info("packets come from %s", source)

    def _again(self) -> bool:
        """Connects anew; where that fails, waits a second."""
        try:
            self._connect()
        except ValueError as error:
            count_once(self, "connect_errors", "connect", str(error))
            self.stopped.wait(RETRY_S)
            return False
        return True

    def statistics(self) -> dict[str, int | str]:
        """Counters, and with a call sign ``source``, whom the last packet came from.

        ``received`` and ``sent`` packets, sent once for each program; ``dropped`` ones that nobody
        has read; ``refused`` ones of 0 or too many bytes; ``connections`` made,
        ``refused_clients``, ``connect_errors``; of what came, ``commands``, ``bad_frames``,
        ``oversized`` and ``foreign``: AX.25 frames that are not to ``LARGSC``.
        """
        return dict(self.counters) | ({"source": self._source} if self._call else {})

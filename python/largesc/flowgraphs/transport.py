# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the packets of the command line go and come from: UDP, ZMQ, or pipes."""

import logging
import socket

import pmt
from gnuradio import gr, zeromq

from .._core import has_right_crc
from ..blocks.block_base import ThreadedBlock
from ..blocks.messages import make_packet, packet_bytes
from .packet_pipe import packet_reader, packet_writer

ZMQ = "zmq://"
POLL_MS = 100
MOST_BYTES = 2048
# More packets than a socket holds.
MOST_WAITING = 65536
PACKETS = pmt.intern("packets")
PEER = pmt.intern("peer")
log = logging.getLogger(__name__)


def address(text: str) -> tuple[str, int]:
    """``host:port`` to both parts; an IPv6 host may stand in brackets.

    Raises:
        ValueError: it has another form.
    """
    host, _, port = text.rpartition(":")
    # int() reads the digits of every script, and as many as there are.
    good = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    if not host or not good:
        raise ValueError(
            f"address {text!r} is not of the form host:port, as 127.0.0.1:5000, [::1]:5000, or "
            "*:5000 for all of this machine"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def resolved(text: str, passive: bool) -> tuple:
    """Family and socket address of ``host:port``.

    Raises:
        ValueError: it has another form, or there is no such host.
    """
    host, port = address(text)
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(
            None if host == "*" else host, port, type=socket.SOCK_DGRAM, flags=flags
        )
    except OSError as error:
        raise ValueError(f"host {host!r} was not found: {error.strerror}") from error
    except ValueError as error:
        # No name can be so long, or have such characters.
        raise ValueError(f"host {host!r} is no name of a host") from error
    return found[0][0], found[0][4]


def check_free(at: str | int | None) -> None:
    """Raises ValueError where :func:`packet_source` will, but without opening anything for long.

    What is opened before the models are loaded has a queue of old packets when it starts.
    """
    if not isinstance(at, str):
        return
    stream = at.startswith(ZMQ)
    family, where = resolved(at.removeprefix(ZMQ), True)
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probe:
        if stream:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind(probe, where, at)


def bind(to_bind: socket.socket, where: tuple, text: str) -> None:
    """Binds, or raises ValueError that names the address."""
    try:
        to_bind.bind(where)
    except OSError as error:
        to_bind.close()
        raise ValueError(
            f"{text} cannot be listened at: {error.strerror}; use an address of this machine and a "
            "port that no other program has"
        ) from error


class udp_packets(ThreadedBlock, gr.basic_block):  # noqa: N801
    """A UDP socket for `packets` PDUs in both directions.

    In-tree socket_pdu ends for good at the first error of the network; here it is counted, and the
    next packet is tried again.

    Input: message ports `packets`, and `accepted` for those received packets that turned out good,
    with their metadata. Output: message ports `packets`, whose metadata has the `peer`, and
    `status`.

    Args:
        listen: ``host:port`` to receive at; empty for any free port.
        to: ``host:port`` to send to; empty for where the last accepted packet came from.
        crc: of the accepted packets, only those with a right CRC count.

    Raises:
        ValueError: an address has another form, is unknown or in use.
    """

    def __init__(self, *, listen: str = "", to: str = "", crc: bool = False) -> None:
        gr.basic_block.__init__(self, "udp_packets", None, None)
        inputs = {"packets": self._on_packet, "accepted": self._on_accepted}
        self.open_ports(inputs, ["packets"], None)
        self.counters |= {"received": 0, "sent": 0, "send_errors": 0, "receive_errors": 0}
        self._fixed, self._crc = bool(to), crc
        family, other = resolved(listen or to, bool(listen))
        self.peer = other if to else None
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.settimeout(POLL_MS / 1000)
        bind(self._socket, other if listen else ("", 0), listen)

    def begin(self) -> None:
        # What came while nothing ran would be played behind what comes now.
        self._socket.setblocking(False)
        for _ in range(MOST_WAITING):
            try:
                self._socket.recvfrom(MOST_BYTES)
            except BlockingIOError:
                break
            except OSError:
                # Of what was sent before.
                continue
        self._socket.settimeout(POLL_MS / 1000)

    def run(self) -> None:
        """Receives."""
        while not self.stopped.is_set():
            try:
                data, peer = self._socket.recvfrom(MOST_BYTES)
            except TimeoutError:
                continue
            except OSError:
                self.counters["receive_errors"] += 1
                self.stopped.wait(POLL_MS / 1000)
                continue
            self.counters["received"] += 1
            head = pmt.dict_add(pmt.make_dict(), PEER, pmt.to_pmt(peer))
            self.message_port_pub(PACKETS, pmt.cons(head, pmt.cdr(make_packet(data))))

    def _on_accepted(self, message: object) -> None:
        data = packet_bytes(message)
        if self._fixed or not data or (self._crc and not has_right_crc(data)):
            return
        peer = pmt.dict_ref(pmt.car(message), PEER, pmt.PMT_NIL)
        if not pmt.is_null(peer):
            self.peer = pmt.to_python(peer)

    def _on_packet(self, message: object) -> None:
        data, peer = packet_bytes(message), self.peer
        if not data or peer is None:
            return
        try:
            self._socket.sendto(data, peer)
            self.counters["sent"] += 1
        except OSError as error:
            self.counters["send_errors"] += 1
            if self.counters["send_errors"] == 1:
                log.warning("a packet could not be sent, the next one is tried again: %s", error)

    def statistics(self) -> dict[str, int]:
        """Counters: received, sent, send_errors, receive_errors, refused."""
        return dict(self.counters)


def zmq_block(make: object, text: str, bind: bool) -> object:
    """An in-tree ZMQ block for ``zmq://host:port``."""
    host, port = address(text.removeprefix(ZMQ))
    if ":" in host:
        raise ValueError(f"{text}: ZMQ goes over IPv4 only; use such an address, or UDP")
    if host != "*":
        # ZMQ itself says nothing of a host that is not there.
        resolved(text.removeprefix(ZMQ), bind)
    try:
        return make(f"tcp://{host}:{port}", POLL_MS, bind)
    except RuntimeError as error:
        raise ValueError(f"{text} cannot be used: {error}") from error


def packet_sink(to: str | int) -> tuple[object, str]:
    """Where packets go, and its port: UDP, ZMQ, or a descriptor."""
    if isinstance(to, int):
        return packet_writer(descriptor=to), "packets"
    if to.startswith(ZMQ):
        return zmq_block(zeromq.pub_msg_sink, to, False), "in"
    return udp_packets(to=to), "packets"


def packet_source(at: str | int, *, crc: bool = False) -> tuple[object, str]:
    """Where packets come from, and its port: UDP, ZMQ, or a descriptor; ``crc`` as for UDP."""
    if isinstance(at, int):
        return packet_reader(descriptor=at), "packets"
    if at.startswith(ZMQ):
        return zmq_block(zeromq.sub_msg_source, at, True), "out"
    return udp_packets(listen=at, crc=crc), "packets"


def way_back(block: object, other: str | None, make: object) -> tuple[object, str] | None:
    """The block and port for reports: that of ``other``, else the UDP socket of the packets.

    None where there is neither.
    """
    if other:
        return make(other)
    return (block, "packets") if isinstance(block, udp_packets) else None

# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the packets of the command line go and come from: UDP, ZMQ, KISS, or pipes."""

import logging
import socket

import pmt
from gnuradio import gr, zeromq

from .._core import has_right_crc
from ..blocks.block_base import ThreadedBlock
from ..blocks.kiss_packets import kiss_packets
from ..blocks.messages import make_packet, packet_bytes
from ..packets.address import address, bind, resolved
from .packet_pipe import packet_reader, packet_writer

ZMQ = "zmq://"
# A KISS port of ours, and that of another program.
KISS, KISS_TNC = "kiss://", "kiss-tnc://"
POLL_MS = 100
MOST_BYTES = 2048
# More packets than a socket holds.
MOST_WAITING = 65536
PACKETS = pmt.intern("packets")
PEER = pmt.intern("peer")
log = logging.getLogger(__name__)


def check_free(at: str | int | None) -> None:
    """Raises ValueError where :func:`packet_source` will, but without opening anything for long.

    What is opened before the models are loaded has a queue of old packets when it starts.
    """
    if not isinstance(at, str):
        return
    if at.startswith(KISS_TNC):
        return
    stream = at.startswith((ZMQ, KISS))
    where = at.removeprefix(ZMQ).removeprefix(KISS).rpartition("@")[2]
    family, where = resolved(where, True)
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probe:
        if stream:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind(probe, where, at)


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
        """Receives datagrams and publishes them until the block is stopped."""
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


def kiss_block(text: str) -> kiss_packets:
    """A KISS port, or the connection to one, for ``SCHEME://[CALL@]HOST:PORT``."""
    call, _, where = text.partition("://")[2].rpartition("@")
    ours = text.startswith(KISS)
    return kiss_packets(listen=where if ours else "", tnc="" if ours else where, call=call)


def packet_sink(to: str | int) -> tuple[object, str]:
    """Where packets go, and its port: UDP, ZMQ, KISS, or a descriptor."""
    if isinstance(to, int):
        return packet_writer(descriptor=to), "packets"
    if to.startswith(ZMQ):
        return zmq_block(zeromq.pub_msg_sink, to, False), "in"
    if to.startswith((KISS, KISS_TNC)):
        return kiss_block(to), "packets"
    return udp_packets(to=to), "packets"


def packet_source(at: str | int, *, crc: bool = False) -> tuple[object, str]:
    """Where packets come from, and its port: UDP, ZMQ, KISS, or a descriptor; ``crc`` for UDP."""
    if isinstance(at, int):
        return packet_reader(descriptor=at), "packets"
    if at.startswith(ZMQ):
        return zmq_block(zeromq.sub_msg_source, at, True), "out"
    if at.startswith((KISS, KISS_TNC)):
        return kiss_block(at), "packets"
    return udp_packets(listen=at, crc=crc), "packets"


def way_back(block: object, other: str | None, make: object) -> tuple[object, str] | None:
    """The block and port for reports: that of ``other``, else the UDP socket of the packets.

    None where there is neither.
    """
    if other:
        return make(other)
    return (block, "packets") if isinstance(block, udp_packets) else None

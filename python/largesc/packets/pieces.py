# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of any length in packets that UDP carries, and back, whole and in order.

0, 1     mark, "LT"
2        version, 2
3        kind of the message; 0: the call is over
4, 5     call: who speaks, where an edge serves many
6 - 9    session, drawn by the sender when it starts
10 - 13  number of the message within its session
14, 15   number of the piece; of the parity behind the last one, that of pieces
16, 17   pieces of the message
18 ...   at most 1200 bytes of it; parity: 2 more
last 2   CRC-16

The parity of a message is the XOR of all its pieces, each with its length (2 bytes) in front and
filled up with zeros: any one piece may be lost. All numbers are big-endian. Packets are neither
signed nor encrypted.
"""

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from .._core import CRC_BYTES, append_crc, has_right_crc

MARK, VERSION = b"LT", 2
HEAD = struct.Struct(">2sBBHIIHH")
MOST_CALL = 0xFFFF
# Kind of a message that ends its call.
END = 0
LENGTH_BYTES = 2
MOST_PIECE_BYTES, MOST_PIECES = 1200, 1000
# What is behind a message that is not whole waits so long for it.
HOLD_S = 0.2
# A number further ahead is none of a message that was sent; one each 0.75 s takes 20 hours for it.
MOST_AHEAD = 100_000
# Messages that are not whole are kept, sessions and messages that are over are known, up to these.
MOST_OPEN, MOST_SESSIONS, MOST_DONE = 32, 16, 256
COUNTERS = (
    "messages", "repaired", "lost", "doubled", "out_of_order", "late", "refused", "restarts",
)  # fmt: skip
# A call is over when nothing of it has come for so long.
CALL_OVER_S = 30.0
# One of which no message has become whole in so long gives way to another, where all are taken.
GIVES_WAY_S = 2.0


@dataclass(frozen=True)
class Piece:
    """One packet: part ``part`` of ``parts`` of a message of a call; ``parts`` is its parity."""

    kind: int
    session: int
    number: int
    part: int
    parts: int
    data: bytes
    call: int = 0

    def packet(self) -> bytes:
        """Returns the bytes that are sent: head, data and CRC-16."""
        place = (self.session, self.number, self.part, self.parts)
        return append_crc(HEAD.pack(MARK, VERSION, self.kind, self.call, *place) + self.data)


def pieces_of(kind: int, session: int, number: int, message: bytes, call: int = 0) -> list[Piece]:
    """A message in pieces, an empty one is one, and its parity behind them.

    Raises:
        ValueError: it is too long.
    """
    parts = max(1, -(-len(message) // MOST_PIECE_BYTES))
    if parts > MOST_PIECES:
        raise ValueError(
            f"a message of {len(message)} bytes: send at most {MOST_PIECES * MOST_PIECE_BYTES}, in "
            "shorter segments"
        )
    cuts = [message[n * MOST_PIECE_BYTES : (n + 1) * MOST_PIECE_BYTES] for n in range(parts)]
    cuts.append(xor(len(cut).to_bytes(LENGTH_BYTES) + cut for cut in cuts))
    number %= 2**32
    return [Piece(kind, session, number, n, parts, cut, call) for n, cut in enumerate(cuts)]


def xor(rows: Iterable[bytes]) -> bytes:
    """XOR of rows of bytes, each filled up with zeros to the longest."""
    found, size = 0, 0
    for row in rows:
        found ^= int.from_bytes(row, "little")
        size = max(size, len(row))
    return found.to_bytes(size, "little")


def read_piece(packet: bytes) -> Piece:
    """The piece that a packet holds.

    Raises:
        ValueError: it is none, or damaged.
    """
    if len(packet) < HEAD.size + CRC_BYTES or not packet.startswith(MARK):
        raise ValueError(f"a packet of {len(packet)} bytes that is none of a translation")
    if not has_right_crc(packet):
        raise ValueError("a packet with a wrong CRC")
    _, version, kind, call, session, number, part, parts = HEAD.unpack_from(packet)
    data = packet[HEAD.size : -CRC_BYTES]
    if version != VERSION:
        raise ValueError(f"a packet of version {version}: use one version at both ends")
    least = LENGTH_BYTES if part == parts else 0
    fits = part <= parts and 1 <= parts <= MOST_PIECES
    if not fits or not least <= len(data) <= least + MOST_PIECE_BYTES:
        raise ValueError(f"a packet of {len(data)} bytes that is piece {part} of {parts}")
    return Piece(kind, session, number, part, parts, data, call)


@dataclass
class Whole:
    """A message that is complete.

    Attributes:
        session, kind, message, call: as sent.
        arrived_s: when its last piece came.
    """

    session: int
    kind: int
    message: bytes
    arrived_s: float
    call: int = 0


@dataclass
class Open:
    """A message of which pieces have come."""

    kind: int
    parts: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    whole_s: float | None = None

    def message(self) -> bytes:
        """All of it, once there are as many pieces as it has parts, parity among them."""
        for lost in set(range(self.parts)) - set(self.pieces):
            rows = [
                len(cut).to_bytes(LENGTH_BYTES) + cut
                for n, cut in self.pieces.items()
                if n < self.parts
            ]
            row = xor([self.pieces[self.parts], *rows])
            length = int.from_bytes(row[:LENGTH_BYTES])
            self.pieces[lost] = row[LENGTH_BYTES : LENGTH_BYTES + length]
        return b"".join(self.pieces[part] for part in range(self.parts))


class Assembler:
    """Puts messages of one call together, and in order, from packets of one sender at a time.

    A sender that starts anew has another session: it is followed, and what still comes of the one
    before is late. What nobody can use is counted.

    Args:
        call: its number, which the messages are given.
        counters: to count in: ``messages``; those ``repaired`` by their parity; ``lost`` ones;
            pieces that were ``doubled`` (or came after the repair), ``out_of_order`` (and used) or
            ``late`` (and not); packets that were ``refused``; ``restarts`` of the sender.
    """

    def __init__(self, call: int, counters: dict[str, int]) -> None:
        self._call, self.counters = call, counters
        self._session: int | None = None
        self._over: deque[int] = deque(maxlen=MOST_SESSIONS)
        self._begin(0)

    def _begin(self, number: int) -> None:
        self._open: dict[int, Open] = {}
        self._done: deque[int] = deque(maxlen=MOST_DONE)
        self._next, self._newest = number, (number, 0)

    def take(self, piece: Piece, now_s: float) -> list[Whole]:
        """Takes a packet that was read; gives out the messages that are whole and in turn.

        Args:
            piece: of the call.
            now_s: when it came; never goes back.
        """
        self._place(piece, now_s)
        return self.due(now_s)

    def _place(self, piece: Piece, now_s: float) -> None:
        # Parity comes behind what is whole, as a rule: it is never late.
        parity = piece.part == piece.parts
        if piece.session != self._session:
            if piece.session in self._over:
                self.counters["late"] += not parity
                return
            if self._session is not None:
                self.counters["restarts"] += 1
                self._over.append(self._session)
            self._session = piece.session
            self._begin(piece.number)
        if piece.number < self._next:
            self.counters["doubled" if piece.number in self._done else "late"] += not parity
            return
        if piece.number > self._next + MOST_AHEAD:
            self.counters["refused"] += 1
            return
        found = self._open.setdefault(piece.number, Open(piece.kind, piece.parts))
        if (piece.kind, piece.parts) != (found.kind, found.parts):
            self.counters["refused"] += 1
            return
        if piece.part in found.pieces or found.whole_s is not None:
            self.counters["doubled"] += not parity
            return
        place = (piece.number, piece.part)
        self.counters["out_of_order"] += place < self._newest
        self._newest = max(self._newest, place)
        found.pieces[piece.part] = piece.data
        if len(found.pieces) == found.parts:
            found.whole_s = now_s

    def due(self, now_s: float) -> list[Whole]:
        """Messages that are in turn, or have waited long enough for those before."""
        found = []
        for number in sorted(n for n, m in self._open.items() if m.whole_s is not None):
            message = self._open[number]
            crowded = len(self._open) > MOST_OPEN
            if number != self._next and now_s - message.whole_s < HOLD_S and not crowded:
                break
            self._pass_over(number)
            del self._open[number]
            self._next = number + 1
            self._done.append(number)
            self.counters["messages"] += 1
            self.counters["repaired"] += message.parts in message.pieces
            whole = message.message()
            found.append(Whole(self._session, message.kind, whole, message.whole_s, self._call))
        if len(self._open) > MOST_OPEN:
            # None of them is whole.
            self._pass_over(sorted(self._open)[-MOST_OPEN])
        return found

    def _pass_over(self, number: int) -> None:
        """Gives up what is not whole before a message."""
        self.counters["lost"] += number - self._next
        self._next = number
        self._open = {n: message for n, message in self._open.items() if n >= number}


class Assemblers:
    """Puts messages of several calls together, each by an :class:`Assembler` of its own.

    Args:
        most: calls at once; packets of more are counted and left out until one is over. One
            without a whole message gives its place to another after 2 s, an ended one at once.

    Attributes:
        counters: those of all calls together, and ``refused_calls``: packets of calls too many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: dict[int, Assembler] = {}
        self._heard_s: dict[int, float] = {}
        # Since when those calls are here of which no message has become whole.
        self._unproven: dict[int, float] = {}
        # Calls that were ended, and their sessions: what still comes of them is late.
        self._ended: dict[int, int] = {}
        self.counters = dict.fromkeys((*COUNTERS, "refused_calls"), 0)

    def push(self, packet: bytes, now_s: float) -> list[Whole]:
        """Takes a packet of any bytes, as :meth:`take`."""
        try:
            piece = read_piece(packet)
        except ValueError:
            self.counters["refused"] += 1
            return []
        return self.take(piece, now_s)

    def take(self, piece: Piece, now_s: float) -> list[Whole]:
        """Takes a packet that was read; gives out what is whole and in turn, of all calls."""
        found = self.due(now_s)
        if piece.call not in self._calls:
            if not self._has_place(now_s):
                self.counters["refused_calls"] += 1
                return found
            self._calls[piece.call] = Assembler(piece.call, self.counters)
            self._unproven[piece.call] = now_s
        if self._ended.get(piece.call) != piece.session:
            self._heard_s[piece.call] = now_s
            self._ended.pop(piece.call, None)
        own = self._calls[piece.call].take(piece, now_s)
        self._seen(own)
        return found + own

    def _seen(self, found: list[Whole]) -> None:
        """Keeps in mind which calls are proven, and which are ended."""
        for whole in found:
            self._unproven.pop(whole.call, None)
            if whole.kind == END:
                self._ended[whole.call] = whole.session

    def _has_place(self, now_s: float) -> bool:
        """Whether another call may begin; one that is none gives way to it."""
        if len(self._calls) < self._most:
            return True
        for call in self._ended:
            self._forget(call)
            return True
        for call, since_s in self._unproven.items():
            if now_s - since_s > GIVES_WAY_S:
                self._forget(call)
                return True
        return False

    def _forget(self, call: int) -> None:
        del self._calls[call], self._heard_s[call]
        self._unproven.pop(call, None)
        self._ended.pop(call, None)

    def due(self, now_s: float) -> list[Whole]:
        """Gives out what has waited long enough, and forgets calls that are over."""
        found = [whole for each in self._calls.values() for whole in each.due(now_s)]
        self._seen(found)
        for call in [c for c, at in self._heard_s.items() if now_s - at > CALL_OVER_S]:
            self._forget(call)
        return found

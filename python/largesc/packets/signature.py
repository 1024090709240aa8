# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed packets: packet, low bytes of a counter, truncated HMAC-SHA256 of both.

HMAC keeps its strength when truncated (RFC 2104, section 5) and is in every crypto library. The
counter is the number of sixteenths of a second since 1970, or one more than the last one where
packets follow faster: a sender that starts anew goes on above what it sent before. All of its 8
bytes are signed, two are sent: the receiver knows the others from its clock or the last packet, or
searches for them where the clocks are hours apart.
"""

import hmac
import random
import time
from collections.abc import Callable

from .key_file import KEY_BYTES

COUNTS_PER_SECOND = 16
COUNTER_BYTES = 8
SENT_COUNTER_BYTES = 2
COUNTER_SPAN = 1 << (8 * SENT_COUNTER_BYTES)
LEAST_TAG_BYTES, MOST_TAG_BYTES = 4, 32
# Nobody else's HMAC under the same key is one of ours, nor is one of the other direction.
LABELS = {"forward": b"gr-largesc packet 1", "back": b"gr-largesc report 1"}
# Counts, 4 s: what is older than the newest by more is refused.
REPLAY_WINDOW = 64
# A receiver that has heard nothing yet takes packets this much older than its own start.
CLOCK_TOLERANCE_S = 120.0
# Spans of the two bytes, 68 minutes each, by which the sender's clock may be off: 14.8 hours, more
# than any time zone.
FAR_SPANS = [sign * n for n in range(1, 14) for sign in (1, -1)]
# So long a hit of the search waits for the second one, whatever else comes meanwhile.
FAR_HIT_S = 5.0


class _Tags:
    """Truncated tags under one key, in one direction."""

    def __init__(self, key: bytes, tag_bytes: int, direction: str) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes: use {KEY_BYTES}")
        if not LEAST_TAG_BYTES <= tag_bytes <= MOST_TAG_BYTES:
            raise ValueError(
                f"tag_bytes {tag_bytes} is out of range: use {LEAST_TAG_BYTES} to {MOST_TAG_BYTES}"
            )
        if direction not in LABELS:
            raise ValueError(f"direction {direction!r} is unknown: use {' or '.join(LABELS)}")
        self._key, self._label = key, LABELS[direction]
        self._bytes = tag_bytes

    def tag(self, counter: int, packet: bytes) -> bytes:
        signed = self._label + counter.to_bytes(COUNTER_BYTES, "big") + packet
        return hmac.digest(self._key, signed, "sha256")[: self._bytes]

    def fits(self, tag: bytes, counter: int, packet: bytes) -> bool:
        if not 0 <= counter < 1 << 8 * COUNTER_BYTES:
            return False
        return hmac.compare_digest(tag, self.tag(counter, packet))


def overhead_bytes(tag_bytes: int = 4) -> int:
    """Bytes by which a packet grows."""
    return SENT_COUNTER_BYTES + tag_bytes


def is_recent(data: bytes, tag_bytes: int = 4, clock: Callable[[], float] = time.time) -> bool:
    """Whether the counter of a signed packet, right or not, is within two minutes of the clock."""
    if len(data) < overhead_bytes(tag_bytes):
        return False
    sent = int.from_bytes(data[-overhead_bytes(tag_bytes) :][:SENT_COUNTER_BYTES], "big")
    now = int(clock() * COUNTS_PER_SECOND)
    return abs(_nearest(sent, now) - now) <= CLOCK_TOLERANCE_S * COUNTS_PER_SECOND


class PacketSigner:
    """Signs the packets of one sender.

    Args:
        key: 32 bytes, of this sender and the reports that it gets.
        tag_bytes: 4 to 32.
        clock: seconds since 1970.
        direction: ``forward``, or ``back`` for the receiver's reports: neither passes for the
            other.

    Raises:
        ValueError: key or tag has another length, or the direction is unknown.
    """

    def __init__(
        self,
        key: bytes,
        tag_bytes: int = 4,
        clock: Callable[[], float] = time.time,
        direction: str = "forward",
    ) -> None:
        self._tags = _Tags(key, tag_bytes, direction)
        self._clock = clock
        self._counter = -1

    def sign(self, packet: bytes) -> bytes:
        """The packet with counter and tag behind it."""
        # A clock that is set back must not repeat a counter.
        self._counter = max(self._counter + 1, int(self._clock() * COUNTS_PER_SECOND))
        sent = (self._counter % COUNTER_SPAN).to_bytes(SENT_COUNTER_BYTES, "big")
        return packet + sent + self._tags.tag(self._counter, packet)


class _Window:
    """Counters that were accepted: the newest one, and which of the few before it."""

    def __init__(self, counter: int) -> None:
        self.newest, self._bits = counter, 1

    def refusal(self, counter: int) -> str:
        """Why a counter is refused; empty, and it is noted, where it is not."""
        ahead = counter - self.newest
        if ahead <= -REPLAY_WINDOW:
            return "refused_old"
        if ahead <= 0 and self._bits >> -ahead & 1:
            return "refused_replay"
        if ahead > 0:
            self.newest = counter
            kept = self._bits << ahead if ahead < REPLAY_WINDOW else 0
            self._bits = (1 | kept) & ((1 << REPLAY_WINDOW) - 1)
        else:
            self._bits |= 1 << -ahead
        return ""


class PacketVerifier:
    """Keeps of any bytes the packets that were signed with the key, each once.

    Args:
        as for the sender.

    Raises:
        as there.

    Attributes:
        counters: ``accepted``; ``refused_short``; ``refused_tag`` (forged, damaged, or another
            key); ``refused_replay`` (came before); ``refused_old``.
        sender_ahead_s: so much the sender's counter is ahead of the clock here, by the last packet
            with a right tag.
        last_refusal: counter of the last packet that was refused.
    """

    def __init__(
        self,
        key: bytes,
        tag_bytes: int = 4,
        clock: Callable[[], float] = time.time,
        direction: str = "forward",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tags = _Tags(key, tag_bytes, direction)
        self._tail_bytes = overhead_bytes(tag_bytes)
        self._clock, self._monotonic = clock, monotonic
        self._started = monotonic()
        self._lag = clock() - self._started
        self._window: _Window | None = None
        # Of a sender whose clock is far ahead, apart from the others: it must not shut them out.
        self._ahead: _Window | None = None
        self._ahead_from = 0
        # Of the search: its order and whose turn it is, what it has found, and when.
        self._spans, self._turn = list(FAR_SPANS), 0
        self._far, self._far_s = None, 0.0
        self.sender_ahead_s, self.last_refusal = 0.0, ""
        self.counters = dict.fromkeys(
            ("accepted", "refused_short", "refused_tag", "refused_replay", "refused_old"), 0
        )

    def verify(self, data: bytes) -> bytes | None:
        """The packet without counter and tag; None where it is refused, which is counted."""
        if len(data) <= self._tail_bytes:
            return self._refuse("refused_short")
        packet, tail = data[: -self._tail_bytes], data[-self._tail_bytes :]
        sent, tag = tail[:SENT_COUNTER_BYTES], tail[SENT_COUNTER_BYTES:]
        counter = self._found(packet, int.from_bytes(sent, "big"), tag)
        if counter is None:
            return self._refuse("refused_tag")
        self.sender_ahead_s = counter / COUNTS_PER_SECOND - self._clock()
        refusal = self._refusal(counter)
        if refusal:
            return self._refuse(refusal)
        self.counters["accepted"] += 1
        return packet

    def _refuse(self, why: str) -> None:
        self.counters[why] += 1
        self.last_refusal = why

    def _found(self, packet: bytes, sent: int, tag: bytes) -> int | None:
        """The whole counter under which the tag is right; None where there is none."""
        now = _nearest(sent, self._now())
        near = {now}
        for window in (self._window, self._ahead):
            if window is not None:
                near.add(_nearest(sent, window.newest))
        for counter in near:
            if self._tags.fits(tag, counter, packet):
                return counter
        return self._searched(packet, sent, tag, now)

    def _searched(self, packet: bytes, sent: int, tag: bytes, now: int) -> int | None:
        """One try a packet, and two hits: that luck is no help, and garbage costs little."""
        now_s = self._monotonic()
        if self._far is not None and now_s - self._far_s < FAR_HIT_S:
            counter = _nearest(sent, self._far)
            if self._tags.fits(tag, counter, packet):
                self._far, self._far_s = counter, now_s
                return counter
        if self._turn == len(self._spans):
            # Whoever sends in between takes turns, and in no order always the same ones.
            random.shuffle(self._spans)
            self._turn = 0
        counter = now + self._spans[self._turn] * COUNTER_SPAN
        self._turn += 1
        if self._tags.fits(tag, counter, packet):
            self._far, self._far_s = counter, now_s
        return None

    def _now(self) -> int:
        return int(self._clock() * COUNTS_PER_SECOND)

    def _floor(self) -> int:
        """The least counter of a receiver that has heard nothing.

        It follows a clock that is set back, since that was ahead when this receiver started.
        """
        self._lag = min(self._lag, self._clock() - self._monotonic())
        return int((self._started + self._lag - CLOCK_TOLERANCE_S) * COUNTS_PER_SECOND)

    def _refusal(self, counter: int) -> str:
        """Why a counter of a right tag is refused: it came before, or too late; else it is noted.

        Counters from the first one of a sender far ahead on have a window of their own, until the
        clock has come there.
        """
        if self._ahead is not None and counter >= self._ahead_from:
            refusal = self._ahead.refusal(counter)
            if not refusal and _is_near(counter, self._now()):
                self._window, self._ahead = self._ahead, None
            return refusal
        if counter < self._floor():
            return "refused_old"
        if _is_near(counter, self._now()) or (
            self._window is not None and _is_near(counter, self._window.newest)
        ):
            if self._window is not None:
                return self._window.refusal(counter)
            self._window = _Window(counter)
            return ""
        if self._ahead is not None or counter < self._now():
            return "refused_old"
        self._ahead, self._ahead_from = _Window(counter), counter
        return ""


def _is_near(counter: int, other: int) -> bool:
    """Whether two bytes of a counter and another one tell the whole."""
    return abs(counter - other) <= COUNTER_SPAN // 2


def _nearest(sent: int, counter: int) -> int:
    """The whole counter that ends with what was sent, nearest to another one."""
    half = COUNTER_SPAN // 2
    return counter - half + (sent - counter + half) % COUNTER_SPAN

# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed packets: packet, low bytes of a counter, truncated HMAC-SHA256 of both.

HMAC keeps its strength when truncated (RFC 2104, section 5) and is in every crypto library. The
counter is the number of sixteenths of a second since 1970, or one more than the last one where
packets follow faster: a sender that starts anew goes on above what it sent before. All of its 8
bytes are signed, two are sent: the receiver knows the others from its clock or the last packet.
"""

import hmac
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
        return hmac.compare_digest(tag, self.tag(counter, packet))


def overhead_bytes(tag_bytes: int = 4) -> int:
    """Bytes by which a packet grows."""
    return SENT_COUNTER_BYTES + tag_bytes


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


class PacketVerifier:
    """Keeps of any bytes the packets that were signed with the key, each once.

    Args:
        as for the sender.

    Raises:
        as there.

    Attributes:
        counters: ``accepted``; ``refused_short``; ``refused_tag`` (forged, damaged, another key, or
            clocks half an hour apart); ``refused_replay`` (came before); ``refused_old``.
    """

    def __init__(
        self,
        key: bytes,
        tag_bytes: int = 4,
        clock: Callable[[], float] = time.time,
        direction: str = "forward",
    ) -> None:
        self._tags = _Tags(key, tag_bytes, direction)
        self._tail_bytes = overhead_bytes(tag_bytes)
        self._clock = clock
        self._oldest = int((clock() - CLOCK_TOLERANCE_S) * COUNTS_PER_SECOND)
        # The newest counter that was accepted; bit n of the window: so was the one n before it.
        self._newest, self._window = self._oldest - 1, 0
        self.counters = dict.fromkeys(
            ("accepted", "refused_short", "refused_tag", "refused_replay", "refused_old"), 0
        )

    def verify(self, data: bytes) -> bytes | None:
        """The packet without counter and tag; None where it is refused, which is counted."""
        if len(data) <= self._tail_bytes:
            self.counters["refused_short"] += 1
            return None
        packet, tail = data[: -self._tail_bytes], data[-self._tail_bytes :]
        sent, tag = tail[:SENT_COUNTER_BYTES], tail[SENT_COUNTER_BYTES:]
        for counter in self._candidates(int.from_bytes(sent, "big")):
            if self._tags.fits(tag, counter, packet):
                return packet if self._is_new(counter) else None
        self.counters["refused_tag"] += 1
        return None

    def _candidates(self, sent: int) -> list[int]:
        """Whole counters that end with what was sent, nearest to the clock and to the newest."""
        near = int(self._clock() * COUNTS_PER_SECOND), self._newest
        half = COUNTER_SPAN // 2
        found = {n - half + (sent - n + half) % COUNTER_SPAN for n in near}
        return [counter for counter in found if 0 <= counter < 1 << (8 * COUNTER_BYTES)]

    def _is_new(self, counter: int) -> bool:
        """Whether a counter of a right tag came neither before nor too late; notes it."""
        if counter < self._oldest:
            self.counters["refused_old"] += 1
            return False
        ahead = counter - self._newest
        if ahead <= 0 and self._window >> -ahead & 1:
            self.counters["refused_replay"] += 1
            return False
        if ahead > 0:
            self._newest = counter
            self._oldest = max(self._oldest, counter - REPLAY_WINDOW + 1)
            self._window = 1 | self._window << ahead if ahead < REPLAY_WINDOW else 1
            self._window &= (1 << REPLAY_WINDOW) - 1
        else:
            self._window |= 1 << -ahead
        self.counters["accepted"] += 1
        return True

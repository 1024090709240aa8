# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: packets to the items of their bursts, behind which the in-tree modulator stands."""

import time
from collections import deque
from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import gr

from ...radio.morse import StationIdent
from ..block_base import STATUS_FRAMES, TokenBlock, count_once
from ..messages import end_of_stream, read_packet

LENGTH_TAG = "packet_len"
POLL_S = 0.02


class burst_source(TokenBlock, gr.sync_block):  # noqa: N801
    """Queue of packets in front of a modulator.

    Input: message port `packets` (PDUs of bytes). Output: stream of items, each burst with the tag
    `packet_len`; message ports `credit` (dicts for packets that are not sent), `status`. Behind the
    packet that is the end of the stream come the items of ``last``, then the block ends.

    Args:
        item: type of an item.
        make: packet to its items, at least one.
        first: items before the first packet.
        last: items behind the last one.
        most_bytes: longer packets are refused.
        least_bytes: shorter ones are.
        queue_packets: packets that wait at most; of more, the oldest are dropped.
        idle_items: zeros that are put out at a time while no packet waits; 0 for none.
        ident: tells when the call sign is due, in items; None: nothing is.
        on_stop: called when a run is over.
    """

    def __init__(
        self,
        *,
        item: type,
        make: Callable[[bytes], np.ndarray],
        first: np.ndarray,
        last: np.ndarray,
        most_bytes: int,
        least_bytes: int = 1,
        queue_packets: int,
        idle_items: int,
        ident: StationIdent | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        gr.sync_block.__init__(self, "burst_source", None, [item])
        self.open_ports({"packets": self._on_packet}, ["credit"], "packets")
        self.counters |= {"packets": 0, "dropped": 0}
        self._ident, self._calling = ident, False
        if ident is not None:
            self.counters["idents"] = 0
        self._make, self._on_stop = make, on_stop
        self._least_bytes, self._most_bytes = least_bytes, most_bytes
        self._queue_packets = queue_packets
        self._first, self._last = first, last
        self._idle = np.zeros(idle_items, dtype=item)
        self.begin()

    def begin(self) -> None:
        self._packets: deque[tuple[bytes, object]] = deque()
        self._items = self._idle[:0]
        self._input_over = self._flushed = False
        self._calling = False
        if self._ident is not None:
            self._ident.begin()

    def halt(self) -> None:
        self._on_stop()

    def _on_packet(self, message: object) -> None:
        over, packet = self.read(message)
        if self._input_over:
            # Behind the end nothing is sent.
            self.give_credit(message)
            return
        self._input_over = over
        if packet is not None and self._least_bytes <= len(packet) <= self._most_bytes:
            self._packets.append((packet, message))
            if len(self._packets) > self._queue_packets:
                _, oldest = self._packets.popleft()
                text = "packets come faster than they go on the air: the oldest are dropped"
                count_once(self, "dropped", "dropped", text)
                self.give_credit(oldest)
            return
        # The end of a stream may come without a packet.
        if over:
            return
        what = "no bytes" if packet is None else f"{len(packet)} bytes"
        taken = f"{self._least_bytes} to {self._most_bytes}"
        self.refuse(f"a packet of {what}: {taken} bytes go on the air")
        self.give_credit(message)

    def read(self, message: object) -> tuple[bool, bytes | None]:
        """Whether a message ends the stream, and its packet; None where it has none."""
        return read_packet(message)

    def work(self, input_items: list, output_items: list) -> int:
        out = output_items[0]
        if len(self._items) == 0 and not self._next_items():
            self._ended = True
            self.publish_status()
            return -1
        count = min(len(out), len(self._items))
        out[:count] = self._items[:count]
        self._items = self._items[count:]
        return count

    def _next_items(self) -> bool:
        """Fetches what comes next; False when nothing ever will."""
        self._calling = self._ident_is_due()
        if self._calling:
            items = self._identify()
        elif self._packets:
            items = self._make(self._packets.popleft()[0])
            if not self.counters["packets"]:
                items = np.concatenate([self._first, items])
            self.counters["packets"] += 1
            if self.counters["packets"] % STATUS_FRAMES == 0:
                self.publish_status()
            self._tag(len(items))
            if self._ident is not None:
                self._ident.packet_sent(len(items))
        elif not self._input_over:
            items = self._idle
            if self._ident is not None:
                self._ident.silence_sent(len(items))
        elif self._flushed or not len(self._last):
            return False
        else:
            items, self._flushed = self._last, True
            self._tag(len(items))
        self._items = items
        return True

    def _ident_is_due(self) -> bool:
        if self._ident is None:
            return False
        last = self._input_over and not self._packets
        return self._ident.is_due() or (last and self._ident.owed)

    def _identify(self) -> np.ndarray:
        """Counts and tags the call sign, and returns its items."""
        self._ident.called()
        self.counters["idents"] += 1
        self._tag(len(self._ident.symbols))
        return self._ident.symbols

    def owes_ident(self) -> bool:
        """Whether packets went out behind which no call sign was sent."""
        return self._ident is not None and self._ident.owed

    def is_identifying(self) -> bool:
        """Whether the call sign goes out now."""
        return self._calling

    def sign_off(self, timeout_s: float) -> None:
        """Sends the call sign where it is owed, and ends the stream with it.

        Returns when its last item is in the buffers behind this block, or after ``timeout_s``.
        """
        end = time.monotonic() + timeout_s
        if self.owes_ident():
            self.to_basic_block()._post(pmt.intern("packets"), end_of_stream(-1))
            while not self.ended() and time.monotonic() < end:
                time.sleep(POLL_S)

    def _tag(self, length: int) -> None:
        key = pmt.intern(LENGTH_TAG)
        self.add_item_tag(0, self.nitems_written(0), key, pmt.from_long(length))

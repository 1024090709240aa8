# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks: packets signed with a shared key, and what is not refused."""

import time
from collections.abc import Callable

import pmt
from gnuradio import gr

from ..packets.key_file import read_key
from ..packets.signature import PacketSigner, PacketVerifier, overhead_bytes
from .block_base import STATUS_FRAMES, TokenBlock, count_once, log_once
from .messages import read_packet

# As in the depacketizer: after so long, and so many packets, most of them are judged.
WATCH_S, LEAST_PACKETS = 2.0, 8
# What the clocks may differ by before they are named as the reason.
CLOCK_DIFFERENCE_S = 60.0
REASONS = {
    "refused_tag": "they were signed with another key or not at all, or are damaged on the way",
    "refused_short": "they are too short to be signed: the sender has no key",
    "refused_replay": "they came before: two senders have one key, or somebody plays a recording",
    "refused_old": "they are older than what came before, or than the start of this receiver: a "
    "recording, or a sender that began anew with an earlier clock",
}


class PacketFilter(TokenBlock, gr.basic_block):
    """Packets in, changed packets out; metadata is kept."""

    def open_packets(self, change: Callable[[bytes], bytes | None]) -> None:
        """Opens the ports; ``change`` tells what becomes of a packet, None where it ends here."""
        self._change = change
        self.open_ports({"packets": self._on_packet}, ["packets", "credit"], "packets")
        # Refused packets are counted by reason.
        self.counters = {"packets": 0, "refused_messages": 0}

    def refuse(self, what: str) -> None:
        count_once(self, "refused_messages", "refused_messages", f"refused a message: {what}")

    def _on_packet(self, message: object) -> None:
        if self._ended:
            return
        over, packet = read_packet(message)
        if packet is None and not over:
            self.refuse("expected a PDU of bytes (u8)")
            self.give_credit(message)
            return
        if packet:
            self.counters["packets"] += 1
            packet = self._change(packet)
            if self.counters["packets"] % STATUS_FRAMES == 0:
                self.publish_status()
            if packet is None:
                self.give_credit(message)
        # The end of a stream goes on, whatever becomes of its packet.
        if packet or over:
            data = packet or b""
            self.publish(
                "packets", pmt.cons(self._head(message), pmt.init_u8vector(len(data), list(data)))
            )
        if over:
            self.finish()

    @staticmethod
    def _head(message: object) -> object:
        head = pmt.car(message)
        return head if pmt.is_dict(head) else pmt.make_dict()


class packet_signer(PacketFilter):  # noqa: N801
    """Puts counter and tag behind each packet, so that the receiver knows who made it.

    Nothing is hidden: the packet stays readable to all. See docs/packet-format.md.

    Input and output: message port `packets` (PDUs of bytes, 6 longer behind the block with 4 bytes
    of tag). Output: `credit` (dicts for the frames of what is refused), `status`. An end of stream
    without a packet is passed on as it is.

    Args:
        key_file: file of 32 bytes or 64 hex digits that only its owner can read.
        tag_bytes: 4 to 32, the same at both ends.
        direction: ``forward``, or ``back`` for the receiver's reports: with one key, neither passes
            for the other.

    Raises:
        ValueError: the key cannot be used, ``tag_bytes`` is out of range, or ``direction`` unknown.
    """

    def __init__(self, *, key_file: str, tag_bytes: int = 4, direction: str = "forward") -> None:
        gr.basic_block.__init__(self, "packet_signer", None, None)
        self._core = PacketSigner(read_key(key_file), tag_bytes, direction=direction)
        self.overhead_bytes = overhead_bytes(tag_bytes)
        self.open_packets(self._core.sign)


class packet_verifier(PacketFilter):  # noqa: N801
    """Lets those packets through that were signed with the same key, each once.

    Forged, damaged, repeated, truncated and old packets are refused and counted.

    Input: message port `packets` (PDUs of any bytes). Output: message ports `packets` (as they were
    before they were signed), `credit` (dicts for the frames of what is refused), `status`.

    The clocks of sender and receiver should agree to within two minutes.

    Args:
        key_file: the sender's, a file of 32 bytes or 64 hex digits that only its owner can read.
        tag_bytes: 4 to 32, the same at both ends.
        direction: ``forward``, or ``back`` for the receiver's reports, as at the sender.

    Raises:
        ValueError: the key cannot be used, ``tag_bytes`` is out of range, or ``direction`` unknown.
    """

    def __init__(self, *, key_file: str, tag_bytes: int = 4, direction: str = "forward") -> None:
        gr.basic_block.__init__(self, "packet_verifier", None, None)
        self._core = PacketVerifier(read_key(key_file), tag_bytes, direction=direction)
        self.open_packets(self._verify)
        self._watch()

    def begin(self) -> None:
        # What was accepted is remembered: a new run must not take it again.
        self._core.counters = dict.fromkeys(self._core.counters, 0)
        self._watch()

    def _watch(self, reason: str = "") -> None:
        self._reason, self._since_s, self._before = reason, time.monotonic(), {}

    def _verify(self, data: bytes) -> bytes | None:
        packet = self._core.verify(data)
        if not self._before:
            self._watch(self._reason)
            self._before = dict(self._core.counters)
        elif time.monotonic() - self._since_s >= WATCH_S:
            self._judge()
        return packet

    def _judge(self) -> None:
        """Says once why most packets are refused."""
        new = {k: n - self._before[k] for k, n in self._core.counters.items()}
        if sum(new.values()) < LEAST_PACKETS:
            return
        accepted = new.pop("accepted")
        refused = sum(new.values())
        if refused <= accepted:
            self._watch()
            return
        most = max(new, key=new.get)
        reason = REASONS[most]
        ahead_s = self._core.sender_ahead_s
        if most == "refused_old" and abs(ahead_s) > CLOCK_DIFFERENCE_S:
            way = "ahead of" if ahead_s > 0 else "behind"
            reason = f"the sender's clock is {abs(ahead_s) / 60:.0f} min {way} this one: set both"
        text = f"{refused} of the last {refused + accepted} packets were refused: {reason}"
        log_once(self, most, text)
        self._watch(reason)

    def statistics(self) -> dict[str, int | float | str]:
        """Counters: packets, accepted, refused_messages and, by reason, refused packets.

        Also sender_ahead_s, by which the sender's clock is ahead of the one here, and
        refusal_reason, empty while most packets are accepted.
        """
        return {
            **self.counters,
            **self._core.counters,
            "sender_ahead_s": round(self._core.sender_ahead_s, 1),
            "refusal_reason": self._reason,
        }

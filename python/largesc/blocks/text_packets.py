# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks: call sign and text that go along with the packets of speech."""

import pmt
from gnuradio import gr

from .._core import keys
from ..packets.text import checked_text, decode, encode
from ..speech.format import FRAME_S
from .block_base import TokenBlock, setter
from .messages import is_count, make_packet, packet_bytes, read_packet

# An over begins behind so many frames of which nothing was sent.
GAP_FRAMES = 12


class text_tx(TokenBlock, gr.basic_block):  # noqa: N801
    """Puts a packet of call sign and text in front of each over, and again every so many seconds.

    Input: message port `packets`, of a packetizer. Output: message ports `packets` (the same, and
    the text, whose PDU has no metadata), `status`. Time is that of the speech, by the frames.

    Args:
        call_sign: of the station; empty for none.
        text: printable; together at most 99 bytes in UTF-8. With neither, packets pass alone.
        interval_s: seconds of speech from one text to the next within an over; 1 or more.
        crc: as the speech packets of the link.

    Raises:
        ValueError: an argument is out of range, or it is no call sign.
    """

    def __init__(
        self, *, call_sign: str = "", text: str = "", interval_s: float = 30.0, crc: bool = True
    ) -> None:
        if not interval_s >= 1:
            raise ValueError(f"interval_s {interval_s} is out of range: use 1 or more")
        self._call_sign, self._crc = call_sign, crc
        self._interval = interval_s / FRAME_S
        self._data = self._checked(text)
        gr.basic_block.__init__(self, "text_tx", None, None)
        self.open_ports({"packets": self._on_packet}, ["packets"], "packets")
        self.counters |= {"packets": 0, "texts": 0}
        self.begin()

    def begin(self) -> None:
        # Frame behind the last packet, and frame of the last text.
        self._next, self._told = 0, None

    def _checked(self, text: str) -> bytes:
        return checked_text(self._call_sign, text) if self._call_sign or text else b""

    @setter
    def set_text(self, text: str) -> None:
        """Changes the text while running; it goes out with the next packet."""
        self._data = self._checked(text)
        self._told = None

    def _on_packet(self, message: object) -> None:
        over, data = read_packet(message)
        if data is None and not over:
            self.refuse("expected a PDU of bytes (u8)")
            return
        if not over:
            self._tell_before(message)
            self.counters["packets"] += 1
        self.publish("packets", message)
        if over:
            self.finish()

    def _tell_before(self, message: object) -> None:
        meta = pmt.to_python(pmt.car(message)) or {}
        frame = meta.get(keys.frame_index) if isinstance(meta, dict) else None
        frame = frame if is_count(frame) else self._next
        begins = self._told is None or frame >= self._next + GAP_FRAMES or frame < self._told
        if self._data and (begins or frame >= self._told + self._interval):
            self._told = frame
            self.publish(
                "packets", make_packet(encode(self._data, self.counters["texts"], self._crc))
            )
            self.counters["texts"] += 1
        frames = meta.get(keys.frames, 1) if isinstance(meta, dict) else 1
        self._next = frame + (frames if is_count(frames) else 1)

    def statistics(self) -> dict[str, int]:
        """Counters: packets that passed, texts, refused, refused_settings."""
        return dict(self.counters)


class text_rx(TokenBlock, gr.basic_block):  # noqa: N801
    """Call sign and text out of the packets of a link.

    Input: message port `packets`; others than texts are passed over and counted. Output: message
    ports `text` (for each text the pair of `text` and ``CALL: text``, for a Message Pair to Var),
    `status`.

    Args:
        crc: as the speech packets of the link.
    """

    def __init__(self, *, crc: bool = True) -> None:
        gr.basic_block.__init__(self, "text_rx", None, None)
        self._crc = crc
        self.open_ports({"packets": self._on_packet}, ["text"], "packets")
        self.counters |= {"texts": 0, "other_packets": 0}
        self.begin()

    def begin(self) -> None:
        self.call_sign = self.text = ""

    def _on_packet(self, message: object) -> None:
        over, _ = read_packet(message)
        data = packet_bytes(message)
        found = decode(data, self._crc) if data is not None else None
        if found is not None:
            self.call_sign, self.text = found
            self.counters["texts"] += 1
            self.publish("text", pmt.cons(pmt.intern("text"), pmt.intern(self.line())))
            self.publish_status()
        elif data is not None:
            self.counters["other_packets"] += 1
        elif not over:
            self.refuse("expected a PDU of bytes (u8)")
        if over:
            self.finish()

    def line(self) -> str:
        """The last call sign and text; empty where none came."""
        return ": ".join(part for part in (self.call_sign, self.text) if part)

    def statistics(self) -> dict[str, int | str]:
        """Counters texts, other_packets, refused; ``call_sign``, ``text`` and both as ``line``."""
        words = {"call_sign": self.call_sign, "text": self.text, "line": self.line()}
        return self.counters | words

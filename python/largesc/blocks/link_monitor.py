# SPDX-License-Identifier: GPL-3.0-or-later
"""What a link did in the last seconds, as curves for a QT GUI Time Sink."""

from collections import deque

import numpy as np
import pmt
from gnuradio import gr

from ..speech.format import FRAME_MS
from .block_base import STATUS_FRAMES, TokenBlock
from .messages import packet_span, read_packet

# A packet this many frames behind the newest one that was sent is taken for lost; one that is sent
# further behind is of a sender that began anew.
WAIT_FRAMES = 8


class link_monitor(TokenBlock, gr.basic_block):  # noqa: N801
    """Compares the packets that were sent with those that arrived.

    Input: message ports `sent` and `received`, `packets` PDUs before and behind the channel.
    Output: message ports `rate` (bit/s) and `loss` (percent): after each packet sent, a PDU with a
    f32vector of one value a frame for the last ``seconds``, the newest last, each the mean of the
    second before it. Rates count the whole packet, header and CRC included. Also `status`: counters
    packets (sent), received and refused.

    The two ports are read as they come: a packet may be received before it is known to be sent.

    Args:
        seconds: length of the curves, 2 to 120.

    Raises:
        ValueError: ``seconds`` is out of range.
    """

    def __init__(self, *, seconds: float = 20.0) -> None:
        if not 2 <= seconds <= 120:
            raise ValueError(f"seconds {seconds} is out of range: use 2 to 120")
        gr.basic_block.__init__(self, name="link_monitor", in_sig=None, out_sig=None)
        self.frames = round(seconds * 1000 / FRAME_MS)
        self._mean = round(1000 / FRAME_MS)
        self._received: deque[int] = deque()
        self._clear(0)
        inputs = {"sent": self._on_sent, "received": self._on_received}
        self.open_ports(inputs, ["rate", "loss"], None)
        self.counters |= {"packets": 0, "received": 0}

    def _clear(self, newest: int) -> None:
        length = self.frames + self._mean + WAIT_FRAMES
        self._newest = newest
        self._bits = np.zeros(length, dtype=np.float32)
        self._sent = np.zeros(length, dtype=bool)
        # The newest may be of the frames to come: the ports are handled one after the other.
        kept = list(self._received)[-WAIT_FRAMES:]
        self._received = deque(kept, maxlen=2 * length)

    def begin(self) -> None:
        self._received.clear()
        self._clear(0)

    def _read(self, message: object) -> tuple[int, int, int] | None:
        packet = packet_span(message)
        if packet is None and not read_packet(message)[0]:
            self.refuse("expected a PDU of bytes with frame_index, as a packetizer makes it")
        return packet

    def _on_sent(self, message: object) -> None:
        if (packet := self._read(message)) is None:
            return
        index, frames, size = packet
        last = index + frames - 1
        ahead = last - self._newest
        if not -WAIT_FRAMES <= ahead < len(self._bits):
            # A sender that began anew.
            self._clear(last)
        elif ahead > 0:
            for history in (self._bits, self._sent):
                history[:-ahead] = history[ahead:]
                history[-ahead:] = 0
            self._newest = last
        for frame in range(index, last + 1):
            place = len(self._sent) - 1 - (self._newest - frame)
            if place >= 0:
                self._bits[place] = 8.0 * size / frames
                self._sent[place] = True
        self.counters["packets"] += 1
        self._publish()
        if self.counters["packets"] % STATUS_FRAMES == 0:
            self.publish_status()

    def _on_received(self, message: object) -> None:
        if (packet := self._read(message)) is None:
            return
        self.counters["received"] += 1
        index, frames, _ = packet
        self._received.extend(range(index, index + frames))

    def _publish(self) -> None:
        second = np.ones(self._mean, dtype=np.float32)

        def over_a_second(values: np.ndarray) -> np.ndarray:
            return np.convolve(values, second, "valid")[-self.frames - WAIT_FRAMES :]

        rate = over_a_second(self._bits) / (self._mean * FRAME_MS / 1000)
        frames = self._newest - np.arange(len(self._sent))[::-1]
        arrived = np.isin(frames, list(self._received))
        lost = over_a_second((self._sent & ~arrived).astype(np.float32))
        sent = over_a_second(self._sent.astype(np.float32))
        loss = 100.0 * lost / np.maximum(sent, 1.0)
        self._post("rate", rate[-self.frames :])
        # What is still on its way is not lost yet.
        self._post("loss", loss[: self.frames])

    def _post(self, port: str, values: np.ndarray) -> None:
        vector = pmt.init_f32vector(len(values), values.astype(np.float32).tolist())
        self.message_port_pub(pmt.intern(port), pmt.cons(pmt.make_dict(), vector))

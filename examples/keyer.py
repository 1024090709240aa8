# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of push_to_talk.py: what opens the way to the transmitter, and what counts behind it."""

import threading
import time
from collections import deque

import numpy as np
import pmt
from gnuradio import gr
from gnuradio.largesc import keys
from gnuradio.largesc.speech.conditioning import InputConditioner
from gnuradio.largesc.speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from gnuradio.largesc.speech.silence import SilenceGate

# 20 ms: what the voice detector looks at.
PART = 480
# Speech that is sent from before the voice detector heard it.
BEFORE_PARTS = 8
HANG_S = 0.8
# As repeaters have it.
LONGEST_OVER_S = 180.0
# Behind speech: five silent frames and the one that says that silence follows, in whole packets.
TAIL_FRAMES = 8
# From a packet to the end of its burst, which waits for silence that lies in buffers.
AIR_S = 0.8


class keyer(gr.sync_block):  # noqa: N801
    """Speech while the key is down or a voice is heard, silence otherwise.

    Input and output: float stream, 24 kHz; the output is 160 ms late, so that no voice is cut.

    Args:
        voice: whether a voice keys as well as the button.
        longest_over_s: seconds after which the way shuts by itself, until the key is up and no
            voice is heard: a button that sticks, or noise taken for a voice, holds no channel.
            Infinity: never.

    Attributes:
        overs_cut: overs that were longer.
    """

    def __init__(self, voice: bool, longest_over_s: float = LONGEST_OVER_S) -> None:
        gr.sync_block.__init__(self, "keyer", [np.float32], [np.float32])
        self.set_output_multiple(PART)
        self.set_max_output_buffer(2048)
        self.voice, self.down = voice, False
        self.level_dbfs = -100.0
        self._conditioner, self._gate = InputConditioner(), SilenceGate()
        self._late = deque([np.zeros(PART, dtype=np.float32)] * BEFORE_PARTS)
        self._open = self._hang = self._samples = 0
        self._longest_parts = longest_over_s * SAMPLE_RATE_HZ / PART
        self._keyed_parts = self.overs_cut = 0
        # First and last frame of each over, tail included.
        self._overs: deque[list[int]] = deque(maxlen=64)

    def work(self, input_items: list, output_items: list) -> int:
        x, out = input_items[0], output_items[0]
        for start in range(0, len(out), PART):
            out[start : start + PART] = self._part(x[start : start + PART].copy())
        return len(out)

    def _part(self, part: np.ndarray) -> np.ndarray:
        part = self._conditioner.push(np.nan_to_num(part, posinf=0.0, neginf=0.0))
        power = float(np.mean(part**2))
        self.level_dbfs = 10 * np.log10(max(power, 1e-10))
        heard = not self._gate.silent(self.level_dbfs)
        self._hang = round(HANG_S * SAMPLE_RATE_HZ / PART) if heard else max(0, self._hang - 1)
        keyed = bool(self.down or (self.voice and self._hang))
        self._keyed_parts = self._keyed_parts + 1 if keyed else 0
        self.overs_cut += self._longest_parts < self._keyed_parts <= self._longest_parts + 1
        if keyed and self._keyed_parts <= self._longest_parts:
            # What lies in the delay is sent as well.
            self._open = BEFORE_PARTS + 1
        self._late.append(part)
        delayed = self._late.popleft()
        self._open = max(0, self._open - 1)
        frame = self._samples // FRAME_SAMPLES
        self._samples += PART
        if not self._open:
            return np.zeros(PART, dtype=np.float32)
        if not self._overs or frame > self._overs[-1][1]:
            self._overs.append([frame, frame])
        self._overs[-1][1] = frame + TAIL_FRAMES
        return delayed

    def opened(self) -> bool:
        """Whether speech goes out now."""
        return self._open > 0

    def is_sent(self, first: int, frames: int) -> bool:
        """Whether one of ``frames`` frames from ``first`` on lies in an over or its tail."""
        return any(begin < first + frames and first <= end for begin, end in list(self._overs))


class packet_gate(gr.basic_block):  # noqa: N801
    """Lets packets to the transmitter while the key is down, and counts them.

    Input and output: message port `packets`. Input also `heard`, packets of the receiver, and
    `report`, what it says of the channel.

    Args:
        key: tells which frames are sent.
    """

    def __init__(self, key: keyer) -> None:
        gr.basic_block.__init__(self, "packet_gate", None, None)
        self._key, self._lock = key, threading.Lock()
        self._latest_at = -AIR_S
        self.sent = self.heard = 0
        self.loss_probability = 0.0
        self._sent_at: dict[bytes, float] = {}
        self._latest: deque[tuple[float, int]] = deque(maxlen=64)
        self._delays: deque[float] = deque(maxlen=16)
        handlers = {
            "packets": self._on_packet,
            "heard": self._on_heard,
            "report": self._on_report,
            "system": self._on_system,
        }
        for name, handler in handlers.items():
            if name != "system":
                self.message_port_register_in(pmt.intern(name))
            self.set_msg_handler(pmt.intern(name), handler)
        self.message_port_register_out(pmt.intern("packets"))

    def _on_system(self, message: object) -> None:
        # The station ends as a whole.
        pass

    def _on_packet(self, message: object) -> None:
        meta, packet = pmt.to_python(pmt.car(message)), pmt.u8vector_elements(pmt.cdr(message))
        packet = bytes(packet)
        over = meta.get(keys.end_of_stream)
        if over or not self._key.is_sent(meta[keys.frame_index], meta[keys.frames]):
            return
        now = self._latest_at = time.monotonic()
        with self._lock:
            self.sent += 1
            self._latest.append((now, len(packet)))
            self._sent_at[packet] = now
            while len(self._sent_at) > 64:
                del self._sent_at[next(iter(self._sent_at))]
        self.message_port_pub(pmt.intern("packets"), message)

    def _on_heard(self, message: object) -> None:
        packet = bytes(pmt.u8vector_elements(pmt.cdr(message)))
        with self._lock:
            self.heard += 1
            # Only in simulation is what is heard what was sent here.
            if (begin := self._sent_at.pop(packet, None)) is not None:
                self._delays.append(time.monotonic() - begin)

    def _on_report(self, message: object) -> None:
        found = pmt.to_python(message)
        self.loss_probability = float(found["loss_probability"])

    def hold(self) -> None:
        """Something else than a packet goes out now."""
        self._latest_at = time.monotonic()

    def sending(self) -> bool:
        """Whether a packet may be on the air."""
        return self._key.opened() or time.monotonic() - self._latest_at < AIR_S

    def bit_rate(self) -> float:
        """Of the packets of the last 2 s, bit/s."""
        now = time.monotonic()
        with self._lock:
            return sum(8.0 * size for at, size in self._latest if now - at < 2.0) / 2.0

    def air_ms(self) -> float:
        """Mean time from packet to packet heard, of the last 16; NaN where nothing came back."""
        with self._lock:
            return 1000.0 * float(np.mean(self._delays)) if self._delays else float("nan")

# SPDX-License-Identifier: GPL-3.0-or-later
"""Codec 2 of the in-tree gr-vocoder with frame repetition."""

import subprocess
import sys

import numpy as np

from ...channel.loss_timeline import LossChannel
from ...speech.files import from_pcm16, to_pcm16
from ...speech.format import FRAME_MS
from .system import Decoded, Latency, Packets, bare_packets, framed, heard_at, speech_of

RATE_HZ = 8000
PACKET_MS = FRAME_MS
# Bits a frame, its length in ms, and the delay of coder and decoder in samples at 8 kHz: where STOI
# of training speech is highest.
MODES = {
    "700C": (28, 40, 247),
    "1200": (48, 40, 160),
    "1300": (52, 40, 160),
    "2400": (48, 20, 160),
}
# Frames are repeated for so long before there is silence.
REPEAT_MS = 240


class Codec2:
    """Codec 2, frames of 80 ms together in a packet as in ours.

    Args:
        mode: ``700C``, ``1200``, ``1300`` or ``2400``.
        packet_ms: speech in a packet, whole frames.

    Raises:
        ValueError: ``packet_ms`` cuts a frame.
    """

    def __init__(self, mode: str, packet_ms: int = PACKET_MS) -> None:
        self.mode, self.packet_ms = mode, packet_ms
        self.bits, self.frame_ms, self.delay = MODES[mode]
        if packet_ms < self.frame_ms or packet_ms % self.frame_ms:
            raise ValueError(f"packet_ms {packet_ms}: use a multiple of {self.frame_ms}")
        self.name = f"Codec 2 {mode}"
        self.latency = Latency(packet_ms + 1000 * self.delay / RATE_HZ)

    def missing(self) -> str:
        try:
            from gnuradio import vocoder
        except ImportError:
            return "gnuradio (gr-vocoder)"
        return "" if hasattr(vocoder, "codec2") else "gr-vocoder with Codec 2"

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        from gnuradio import blocks, vocoder

        size = RATE_HZ * self.packet_ms // 1000
        more = 2 * RATE_HZ * PACKET_MS // 1000
        heard = framed(heard_at(speech, RATE_HZ), size, more).ravel()
        pcm = to_pcm16(heard).tolist()
        coder = vocoder.codec2_encode_sp(getattr(vocoder.codec2, f"MODE_{self.mode}"))
        found = run(blocks.vector_source_s(pcm), coder, blocks.vector_sink_b(self.bits))
        frames = found.reshape(-1, self.bits).astype(np.uint8)
        together = self.packet_ms // self.frame_ms
        count = len(frames) // together
        groups = frames[: count * together].reshape(count, together, self.bits)
        packets = bare_packets([np.packbits(g).tobytes() for g in groups], self.packet_ms)
        exact = float(count * together * self.bits)
        return Packets(packets.leave_ms, packets.radio_bytes, exact, list(groups))

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        played, mute, run = [], [], 0
        together = self.packet_ms // self.frame_ms
        for frame, gone in zip(
            np.concatenate(packets.data), np.repeat(lost, together), strict=True
        ):
            run = run + 1 if gone else 0
            played.append(played[-1] if gone and played else frame)
            mute.append(run * self.frame_ms > REPEAT_MS or (gone and len(played) == run))
        # The decoder draws phases from a generator that nothing but a new process resets.
        command = [sys.executable, "-m", __name__, self.mode]
        bits = np.concatenate(played).tobytes()
        found = subprocess.run(command, input=bits, capture_output=True, check=True).stdout
        pcm = from_pcm16(np.frombuffer(found, dtype=np.int16))
        gains = np.repeat(1.0 - np.array(mute, dtype=np.float32), RATE_HZ * self.frame_ms // 1000)
        pcm[: len(gains)] *= gains[: len(pcm)]
        return Decoded(speech_of(pcm, RATE_HZ, self.delay, samples))


def run(source: object, block: object, sink: object) -> np.ndarray:
    """What arrives in ``sink`` of ``source`` through ``block``."""
    from gnuradio import gr

    tb = gr.top_block()
    tb.connect(source, block, sink)
    tb.run()
    return np.array(sink.data())


def main() -> None:
    """Decodes bits, one a byte, from stdin to 16-bit samples on stdout."""
    from gnuradio import blocks, vocoder

    mode = sys.argv[1]
    bits = np.frombuffer(sys.stdin.buffer.read(), dtype=np.uint8).tolist()
    source = blocks.vector_source_b(bits, False, MODES[mode][0])
    decoder = vocoder.codec2_decode_ps(getattr(vocoder.codec2, f"MODE_{mode}"))
    pcm = run(source, decoder, blocks.vector_sink_s()).astype(np.int16)
    sys.stdout.buffer.write(pcm.tobytes())


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Codec 2 by the distribution's library, which gr-vocoder wraps as well, with frame repetition."""

import ctypes
import subprocess
import sys
from ctypes.util import find_library
from functools import cache

import numpy as np

from ...channel.loss_timeline import LossChannel
from ...speech.files import from_pcm16, to_pcm16
from ...speech.format import FRAME_MS
from .system import Decoded, Latency, Packets, bare_packets, framed, heard_at, speech_of

RATE_HZ = 8000
PACKET_MS = FRAME_MS
# The library's number of a mode, bits a frame, its length in ms, and the delay of coder and decoder
# in samples at 8 kHz: where STOI of training speech is highest.
MODES = {
    "700C": (8, 28, 40, 247),
    "1200": (5, 48, 40, 160),
    "1300": (4, 52, 40, 160),
    "2400": (1, 48, 20, 160),
}
# Frames are repeated for so long before there is silence.
REPEAT_MS = 240


@cache
def library() -> ctypes.CDLL | None:
    """libcodec2, None where it is not installed."""
    name = find_library("codec2")
    if name is None:
        return None
    found = ctypes.CDLL(name)
    found.codec2_create.restype = ctypes.c_void_p
    found.codec2_create.argtypes = [ctypes.c_int]
    found.codec2_destroy.argtypes = [ctypes.c_void_p]
    for function in (found.codec2_encode, found.codec2_decode):
        function.argtypes = [ctypes.c_void_p] * 3
    return found


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
        _, self.bits, self.frame_ms, self.delay = MODES[mode]
        if packet_ms < self.frame_ms or packet_ms % self.frame_ms:
            raise ValueError(f"packet_ms {packet_ms}: use a multiple of {self.frame_ms}")
        self.name = f"Codec 2 {mode}"
        self.latency = Latency(packet_ms + 1000 * self.delay / RATE_HZ)

    def missing(self) -> str:
        return "" if library() else "libcodec2 (apt-get install libcodec2-1.0)"

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        size = RATE_HZ * self.packet_ms // 1000
        more = 2 * RATE_HZ * PACKET_MS // 1000
        heard = framed(heard_at(speech, RATE_HZ), size, more).ravel()
        frames = encoded(to_pcm16(heard), self.mode)
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


def encoded(pcm: np.ndarray, mode: str) -> np.ndarray:
    """Bits of each whole frame of 16-bit ``pcm`` at 8 kHz, uint8 ``[frames, bits]``."""
    number, bits, frame_ms, _ = MODES[mode]
    frame = RATE_HZ * frame_ms // 1000
    lib, packed = library(), ctypes.create_string_buffer(-(-bits // 8))
    coder, found = lib.codec2_create(number), []
    for first in range(0, len(pcm) - frame + 1, frame):
        samples = np.ascontiguousarray(pcm[first : first + frame], dtype=np.int16)
        lib.codec2_encode(coder, packed, samples.ctypes.data)
        found.append(np.unpackbits(np.frombuffer(packed.raw, dtype=np.uint8))[:bits])
    lib.codec2_destroy(coder)
    return np.array(found, dtype=np.uint8).reshape(-1, bits)


def decoded(frames: np.ndarray, mode: str) -> np.ndarray:
    """16-bit samples at 8 kHz of frames of bits, uint8 ``[frames, bits]``."""
    number, _, frame_ms, _ = MODES[mode]
    lib, samples = library(), np.zeros(RATE_HZ * frame_ms // 1000, dtype=np.int16)
    decoder, found = lib.codec2_create(number), []
    for packed in np.packbits(frames, axis=1):
        lib.codec2_decode(decoder, samples.ctypes.data, packed.tobytes())
        found.append(samples.copy())
    lib.codec2_destroy(decoder)
    return np.concatenate(found)


def main() -> None:
    """Decodes bits, one a byte, from stdin to 16-bit samples on stdout."""
    mode = sys.argv[1]
    bits = np.frombuffer(sys.stdin.buffer.read(), dtype=np.uint8)
    sys.stdout.buffer.write(decoded(bits.reshape(-1, MODES[mode][1]), mode).tobytes())


if __name__ == "__main__":
    main()

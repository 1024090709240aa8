# SPDX-License-Identifier: GPL-3.0-or-later
"""Opus with in-band FEC and its own concealment, by the distribution's libopus."""

import ctypes
from ctypes.util import find_library
from functools import cache

import numpy as np

from ...channel.loss_timeline import LossChannel
from ...speech.format import SAMPLE_RATE_HZ
from .system import Decoded, Latency, Packets, bare_packets, framed, speech_of

VOIP = 2048
SET_BITRATE, SET_COMPLEXITY, SET_FEC, SET_LOSS, GET_LOOKAHEAD = 4002, 4010, 4012, 4014, 4027
LARGEST_PACKET = 1276


@cache
def library() -> ctypes.CDLL | None:
    """libopus, None where it is not installed."""
    name = find_library("opus")
    if name is None:
        return None
    found = ctypes.CDLL(name)
    found.opus_encoder_create.restype = ctypes.c_void_p
    found.opus_decoder_create.restype = ctypes.c_void_p
    found.opus_get_version_string.restype = ctypes.c_char_p
    return found


class Opus:
    """Opus in VoIP mode with LBRR where its encoder sends any.

    Args:
        bitrate_bps: asked for; the table has what is sent.
        frame_ms: 20, 40 or 60, one frame a packet.
    """

    def __init__(self, bitrate_bps: int, frame_ms: int) -> None:
        self.bitrate_bps, self.frame_ms = bitrate_bps, frame_ms
        self.frame = SAMPLE_RATE_HZ * frame_ms // 1000
        self.name = f"Opus {bitrate_bps // 1000} kbit/s, {frame_ms} ms"
        # Look-ahead of 6.5 ms in VoIP mode; FEC waits for the next packet.
        self.latency = Latency(frame_ms + 6.5, frame_ms)

    def missing(self) -> str:
        return "" if library() else "libopus0 (apt-get install libopus0)"

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        lib, error = library(), ctypes.c_int()
        state = ctypes.c_void_p(
            lib.opus_encoder_create(SAMPLE_RATE_HZ, 1, VOIP, ctypes.byref(error))
        )

        def control(request: int, value: int) -> None:
            lib.opus_encoder_ctl(state, request, ctypes.c_int(value))

        control(SET_BITRATE, self.bitrate_bps)
        control(SET_COMPLEXITY, 10)
        control(SET_FEC, 1)
        control(SET_LOSS, round(100 * channel.loss))
        delay = ctypes.c_int()
        lib.opus_encoder_ctl(state, GET_LOOKAHEAD, ctypes.byref(delay))
        packets, buffer = [], ctypes.create_string_buffer(LARGEST_PACKET)
        for frame in framed(speech, self.frame, delay.value):
            pcm = np.ascontiguousarray(frame, dtype=np.float32)
            pointer = pcm.ctypes.data_as(ctypes.c_void_p)
            size = lib.opus_encode_float(state, pointer, self.frame, buffer, LARGEST_PACKET)
            packets.append(buffer.raw[: max(size, 0)])
        lib.opus_encoder_destroy(state)
        return bare_packets(packets, self.frame_ms, {"delay": delay.value})

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        lib, error = library(), ctypes.c_int()
        state = ctypes.c_void_p(lib.opus_decoder_create(SAMPLE_RATE_HZ, 1, ctypes.byref(error)))
        pcm = np.zeros(self.frame, dtype=np.float32)
        pointer = pcm.ctypes.data_as(ctypes.c_void_p)
        out = []
        for n, data in enumerate(packets.data):
            pcm[:] = 0.0
            if not lost[n]:
                lib.opus_decode_float(state, data, len(data), pointer, self.frame, 0)
            elif n + 1 < len(lost) and not lost[n + 1]:
                following = packets.data[n + 1]
                # The redundancy of the next packet, or concealment where it has none.
                lib.opus_decode_float(state, following, len(following), pointer, self.frame, 1)
            else:
                lib.opus_decode_float(state, None, 0, pointer, self.frame, 0)
            out.append(pcm.copy())
        lib.opus_decoder_destroy(state)
        return Decoded(
            speech_of(np.concatenate(out), SAMPLE_RATE_HZ, packets.facts["delay"], samples)
        )

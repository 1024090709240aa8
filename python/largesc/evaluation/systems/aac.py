# SPDX-License-Identifier: GPL-3.0-or-later
"""AAC-LC by FFmpeg (PyAV), lost frames interpolated between their neighbours."""

from importlib.util import find_spec

import numpy as np

from ...channel.loss_timeline import LossChannel
from ...speech.format import SAMPLE_RATE_HZ
from .system import Decoded, Latency, Packets, bare_packets, framed, speech_of

FRAME = 1024


class Aac:
    """AAC-LC, mono, one frame of 1024 samples (42.7 ms) a packet.

    Args:
        bitrate_bps: asked for; the table has what is sent.
    """

    def __init__(self, bitrate_bps: int = 20_000) -> None:
        self.bitrate_bps = bitrate_bps
        self.name = f"AAC {bitrate_bps // 1000} kbit/s"
        # The transform overlaps by a frame; interpolation waits for the one behind the gap.
        self.latency = Latency(2 * 1000 * FRAME / SAMPLE_RATE_HZ, 1000 * FRAME / SAMPLE_RATE_HZ)

    def missing(self) -> str:
        return "" if find_spec("av") else "av (requirements-evaluation.txt)"

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        import av

        coder = av.CodecContext.create("aac", "w")
        coder.sample_rate, coder.layout, coder.format = SAMPLE_RATE_HZ, "mono", "fltp"
        coder.bit_rate = self.bitrate_bps
        found = []
        for number, pcm in enumerate(framed(speech, FRAME, 2 * FRAME)):
            frame = av.AudioFrame.from_ndarray(pcm[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, number * FRAME
            found += [bytes(packet) for packet in coder.encode(frame)]
        found += [bytes(packet) for packet in coder.encode(None)]
        facts = {"extradata": bytes(coder.extradata or b"")}
        return bare_packets([data for data in found if data], 1000 * FRAME / SAMPLE_RATE_HZ, facts)

    def _decoded(self, packets: list[bytes], extradata: bytes) -> np.ndarray:
        """Decodes packets to samples ``[frames, 1024]``, zeros where one gives none."""
        import av

        coder = av.CodecContext.create("aac", "r")
        coder.extradata = extradata
        coder.open()
        out = []
        for data in packets:
            frames = coder.decode(av.Packet(data))
            pcm = frames[0].to_ndarray().reshape(-1)[:FRAME] if frames else np.zeros(FRAME)
            out.append(np.pad(pcm, (0, FRAME - len(pcm))))
        return np.array(out, dtype=np.float32)

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        known = np.flatnonzero(~lost)
        if not len(known):
            return Decoded(np.zeros(samples, dtype=np.float32))
        count = len(packets.data)
        place = np.searchsorted(known, np.arange(count), side="right") - 1
        before, after = known[np.maximum(place, 0)], known[np.minimum(place + 1, len(known) - 1)]
        after[~lost] = before[~lost] = np.flatnonzero(~lost)
        extradata = packets.facts["extradata"]
        held, next_one = (
            self._decoded([packets.data[n] for n in chosen], extradata)
            for chosen in (before, after)
        )
        # From what was before the gap to what is behind it, linearly over the gap.
        inside = np.arange(count) - before
        share = np.where(after > before, inside / np.maximum(after - before, 1), 0.0)[:, None]
        # The first frame out of the decoder holds what came before the speech.
        pcm = ((1.0 - share) * held + share * next_one).astype(np.float32).ravel()
        return Decoded(speech_of(pcm, SAMPLE_RATE_HZ, FRAME, samples))

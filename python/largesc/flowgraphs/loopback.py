# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole chain in one flowgraph, from speech to speech."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from gnuradio import blocks, gr

from ..options import ChannelOptions, LinkOptions, ReceiverOptions, SenderOptions
from ..packets.signature import overhead_bytes
from ..speech.format import FRAME_S
from .parts import make_channel, make_rx, make_tx, signed, verified
from .speech_reader import speech_reader

# Frames under way: enough to keep every block busy, and above what the receiver holds back.
LEAST_IN_FLIGHT = 64
# Packets beyond those that the receiver holds back: a pair at the sender, and what reordering and
# the concealer keep.
MORE_PACKETS = 6


class Loopback(gr.top_block):
    """speech_tx, loss_channel and speech_rx, offline, with credit and reports.

    Args:
        speech: float32 at 24 kHz, whole or in pieces.
        make_sink: makes the block for the decoded speech from the codec's delay in samples; by
            default it is kept for :meth:`output`.
        link, sender, channel, receiver: options; that the receiver is offline and ends with its
            input, the frames in flight, and the channel's packet time follow from the rest.
    """

    def __init__(
        self,
        speech: np.ndarray | Iterable[np.ndarray],
        *,
        make_sink: Callable[[int], object] | None = None,
        link: LinkOptions = LinkOptions(),  # noqa: B008
        sender: SenderOptions = SenderOptions(),  # noqa: B008
        channel: ChannelOptions = ChannelOptions(),  # noqa: B008
        receiver: ReceiverOptions = ReceiverOptions(),  # noqa: B008
    ) -> None:
        gr.top_block.__init__(self, "largesc loopback", catch_exceptions=False)
        pieces = [speech] if isinstance(speech, np.ndarray) else speech
        self.source = speech_reader(pieces=pieces)
        hold = max(receiver.hold_packets, link.wait_packets + 1)
        held = (hold + MORE_PACKETS) * link.frames_per_packet
        sender = replace(sender, max_in_flight=max(LEAST_IN_FLIGHT, held))
        self.tx = make_tx(link, sender)
        self.channel = make_channel(replace(channel, packet_ms=link.packet_ms))
        self.rx = make_rx(link, replace(receiver, mode="offline", end_with_sender=False))
        delay_samples = self.rx.delay_samples
        self.sink = blocks.vector_sink_f() if make_sink is None else make_sink(delay_samples)
        self.connect(self.source, self.tx)
        self.connect(self.rx, self.sink)
        self.signer = signed(self, self.tx, link.key)
        self.msg_connect(self.signer, "packets", self.channel, "packets")
        self.verifier, port = verified(self, self.channel, "packets", link.key)
        self.msg_connect(self.verifier, port, self.rx, "packets")
        self.signature_bytes = overhead_bytes() if link.key else 0
        self.msg_connect(self.rx, "report", self.tx, "report")
        for block in (self.channel, self.rx, *([self.verifier] if link.key else [])):
            self.msg_connect(block, "credit", self.tx, "credit")

    def output(self, length: int) -> np.ndarray:
        """Decoded speech, aligned with the input and as long."""
        found = np.array(self.sink.data(), dtype=np.float32)[self.rx.delay_samples :]
        out = np.zeros(length, dtype=np.float32)
        out[: min(length, len(found))] = found[:length]
        return out

    def frame_ms(self, kind: str = "compute_ms") -> np.ndarray:
        """Time of encoder, concealer and decoder together, ms ``[frames]``.

        Args:
            kind: ``compute_ms`` (processor time) or ``elapsed_ms`` (by the clock).
        """
        parts = [self.tx.encoder, self.rx.concealer, self.rx.decoder]
        times = [np.array(getattr(part.times, kind)) for part in parts]
        count = min(len(t) for t in times)
        return sum(t[:count] for t in times)

    def statistics(self) -> dict:
        """Counters of all blocks, and the rates that follow from them."""
        tx, rx = self.tx.statistics(), self.rx.statistics()
        sent, frames = tx["packetizer"], max(1, tx["encoder"]["frames"])
        seconds = frames * FRAME_S
        payload = 11 * (tx["controller"]["tokens_sent"] + tx["controller"]["tokens_repeated"])
        channel = self.channel.statistics()
        total = sent["bytes"] + self.signature_bytes * sent["packets"]
        verifier = {"verifier": self.verifier.statistics()} if self.signature_bytes else {}
        return {
            "seconds": round(seconds, 2),
            "payload_bps": round(payload / seconds, 1),
            "total_bps_radio": round(8 * total / seconds, 1),
            "total_bps_udp": round(8 * (total + 28 * sent["packets"]) / seconds, 1),
            "loss": round(channel["dropped"] / max(1, channel["sent"]), 4),
            "frames_made_up": rx["concealer"]["frames_made_up"],
            "frames_cut": rx["concealer"]["frames_cut"],
            "frames": frames,
            **tx,
            "channel": channel,
            **verifier,
            **rx,
        }

# SPDX-License-Identifier: GPL-3.0-or-later
"""A sender, a channel and a receiver, each in a process of its own.

Packets go over UDP or ZMQ, in real time, or through stdin and stdout as fast as can be.
"""

from dataclasses import replace

import numpy as np
from gnuradio import blocks, gr

from .._blocks import real_time
from ..options import (
    ChannelOptions,
    LinkOptions,
    ReceiverOptions,
    ReportOptions,
    SenderOptions,
)
from ..packets.signature import overhead_bytes
from ..speech.format import FRAME_SAMPLES
from .end_repeater import end_repeater
from .parts import (
    make_channel,
    make_report_rx,
    make_report_tx,
    make_rx,
    make_tx,
    signed,
    verified,
)
from .speech_writer import speech_writer
from .transport import check_free, packet_sink, packet_source, udp_packets, way_back

# About the time between two reports, which a channel's jitter is measured by.
BACK_MS = 600.0


class Sender(gr.top_block):
    """Speech to packets, with reports that come back over a network.

    Args:
        samples: float32 at 24 kHz.
        link, sender, reports: options; a sender has no limit of frames in flight.
        to: address to send to in real time; None for stdout.
        report_from: address to listen at for reports; over UDP they come back by themselves.

    Attributes:
        reports: the block that reads reports; None where there is no way back.
    """

    def __init__(
        self,
        samples: np.ndarray,
        *,
        link: LinkOptions,
        sender: SenderOptions,
        reports: ReportOptions,
        to: str | None = None,
        report_from: str | None = None,
    ) -> None:
        gr.top_block.__init__(self, "largesc tx", catch_exceptions=False)
        self._live, self._signed = bool(to), bool(link.key)
        self._frames = -(-len(samples) // FRAME_SAMPLES)
        sink, port = packet_sink(to)
        check_free(report_from)
        self.source = blocks.vector_source_f(samples.tolist())
        self.tx = self._last = make_tx(link, replace(sender, max_in_flight=0))
        if to:
            self.connect(self.source, real_time(), self.tx)
            self._last = end_repeater(interval_s=link.packet_ms / 1000)
            self.msg_connect(self.tx, "packets", self._last, "packets")
        else:
            self.connect(self.source, self.tx)
        self.signer = signed(self, self._last, link.key)
        self.sink = sink
        self.msg_connect(self.signer, "packets", sink, port)
        self.reports = None
        back = way_back(sink, report_from, packet_source)
        if back is not None:
            self._back, _ = back
            self.reports = make_report_rx(link, sender, reports)
            self.verifier, port = verified(self, *back, link.key, "back")
            self.msg_connect(self.verifier, port, self.reports, "packets")
            self.msg_connect(self.reports, "report", self.tx, "report")

    def ended(self) -> bool:
        """Whether all speech was handed to the sink, which has no end of its own."""
        if self._live:
            return self._last.ended()
        # The sender's last packet is behind the end of its encoder.
        return self.tx.packetizer.statistics()["frames"] >= self._frames

    def statistics(self) -> dict:
        """Counters of the packets, of the end packets sent again, and of the reports."""
        facts = self.tx.statistics()["packetizer"]
        if self._live:
            facts |= {name: facts[name] + more for name, more in self._last.statistics().items()}
        if self._signed:
            facts |= {"signature_bytes": overhead_bytes()}
        if self.reports is not None:
            facts |= {"loss_probability": round(self.tx.controller.loss_probability, 3)}
            refused = self.verifier.statistics() if self._signed else {}
            facts |= {"reports": refused | self.reports.statistics()}
        return facts


class Relay(gr.top_block):
    """Packets to packets, some lost; over UDP both ways.

    Args:
        channel: options.
        listen: address to receive at; None for stdin.
        to: address to send to; None for stdout.
    """

    def __init__(
        self, *, channel: ChannelOptions, listen: str | None = None, to: str | None = None
    ) -> None:
        gr.top_block.__init__(self, "largesc channel", catch_exceptions=False)
        self._piped = not listen
        self.source, source_port = packet_source(listen)
        self.sink, sink_port = packet_sink(to)
        self.channel, self.back = make_channel(channel), None
        self.msg_connect(self.source, source_port, self.channel, "packets")
        self.msg_connect(self.channel, "packets", self.sink, sink_port)
        if isinstance(self.source, udp_packets) and isinstance(self.sink, udp_packets):
            another = replace(channel, packet_ms=BACK_MS, seed=channel.seed + 1)
            self.back = make_channel(another)
            self.msg_connect(self.sink, sink_port, self.back, "packets")
            self.msg_connect(self.back, "packets", self.source, source_port)
            # It does not know what is good.
            self.msg_connect(self.source, source_port, self.source, "accepted")

    def ended(self) -> bool:
        """Whether stdin has ended; a network never does."""
        return self._piped and self.source.ended.is_set()

    def statistics(self) -> dict:
        """Counters of the channel, and of that for the way back."""
        back = {} if self.back is None else {"back": self.back.statistics()}
        return self.channel.statistics() | back


class Receiver(gr.top_block):
    """Packets to speech; live over a network, offline from stdin.

    Args:
        output: WAV file, ``-`` for stdout.
        link, receiver, reports: options; the mode and the end follow from ``listen``.
        listen: address to receive at; None for stdin.
        report_to: address to send reports to; over UDP they go back by themselves.
        raw: samples without a header.

    Attributes:
        source: where packets come from.
        sink: what writes the speech; its ``error`` ends the stream.
    """

    def __init__(
        self,
        output: str,
        *,
        link: LinkOptions,
        receiver: ReceiverOptions,
        reports: ReportOptions,
        listen: str | None = None,
        report_to: str | None = None,
        raw: bool = False,
    ) -> None:
        gr.top_block.__init__(self, "largesc rx", catch_exceptions=False)
        check_free(listen)
        mode = "live" if listen else "offline"
        self._signed = bool(link.key)
        self.rx = make_rx(link, replace(receiver, mode=mode, end_with_sender=True))
        self.source, port = packet_source(listen, link.has_crc)
        self.sink = speech_writer(path=output, raw=raw, skip_samples=self.rx.delay_samples)
        if listen:
            self.connect(self.rx, real_time(), self.sink)
        else:
            self.connect(self.rx, self.sink)
        self.verifier, verified_port = verified(self, self.source, port, link.key)
        self.msg_connect(self.verifier, verified_port, self.rx, "packets")
        if isinstance(self.source, udp_packets):
            # Stray packets do not tell where reports go.
            self.msg_connect(self.verifier, verified_port, self.source, "accepted")
        back = way_back(self.source, report_to, packet_sink)
        if back is not None and reports.interval_ms > 0:
            self.reports = make_report_tx(link, reports)
            self.msg_connect(self.rx, "report", self.reports, "report")
            self.report_signer = signed(self, self.reports, link.key, "back")
            self.msg_connect(self.report_signer, "packets", *back)
            self._back, _ = back

    def ended(self) -> bool:
        """Whether the sender has ended, or nothing can be written any more."""
        return self.rx.decoder.ended() or bool(self.sink.error)

    def heard(self) -> int:
        """Rises while the sender is there: with packets, and in silence that it has announced."""
        counters = self.rx.depacketizer.statistics()
        names = ("packets_received", "duplicates", "late", "silence_frames")
        return sum(counters[name] for name in names)

    def statistics(self) -> dict:
        """Counters of the packets and of the concealment."""
        facts = self.rx.statistics()
        security = self.verifier.statistics() if self._signed else {}
        return security | facts["depacketizer"] | facts["concealer"]

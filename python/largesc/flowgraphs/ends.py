# SPDX-License-Identifier: GPL-3.0-or-later
"""A sender, a channel and a receiver, each in a process of its own.

Packets go over UDP or ZMQ, in real time, or through pipes as fast as can be.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from gnuradio import gr

from .._blocks import real_time
from ..options import (
    ChannelOptions,
    LinkOptions,
    ReceiverOptions,
    ReportOptions,
    SenderOptions,
)
from ..packets.call_number import HEAD_BYTES
from ..packets.signature import overhead_bytes
from ..speech.format import FRAME_S, SAMPLE_RATE_HZ
from .call_numbers import call_numberer, call_picker
from .end_repeater import end_repeater
from .packet_pipe import packet_reader, packet_writer, waiting
from .parts import (
    make_channel,
    make_report_rx,
    make_report_tx,
    make_rx,
    make_tx,
    signed,
    verified,
)
from .speech_reader import speech_reader
from .speech_writer import speech_writer
from .transport import check_free, packet_sink, packet_source, udp_packets, way_back

# About the time between two reports, which a channel's jitter is measured by.
BACK_MS = 600.0
# A network sink has no end of its own: so long it has for what is handed to it.
SEND_S = 0.3
# Through a pipe whose reader is slow, packets that wait at most, and frames of a sender.
MOST_WAITING = 256
IN_FLIGHT_PACKETS = 64


class End(gr.top_block, ABC):
    """What a command needs of each flowgraph.

    The subclass has the blocks ``source`` and ``sink``.
    """

    @abstractmethod
    def ended(self) -> bool:
        """Whether all has come through, or nothing can go on any more."""

    def error(self) -> str:
        """What went wrong at either end; empty where nothing did."""
        blocks = (self.source, self.sink, getattr(self.sink, "output", None))
        errors = (getattr(block, "error", "") for block in blocks)
        return next((error for error in errors if error), "")

    def end(self) -> None:
        """Stops it, and waits for it, though nobody may read what it writes."""
        output = getattr(self.sink, "output", None) or self.sink
        if not hasattr(output, "abandon"):
            time.sleep(SEND_S)
        elif not self.ended():
            output.abandon()
        self.stop()
        self.wait()


def is_written(sink: object, handed_over: bool) -> bool:
    """Whether a packet sink is done, once all has been ``handed_over`` to it."""
    return sink.ended() if isinstance(sink, packet_writer) else handed_over


class Sender(End):
    """Speech to packets, with reports that come back over a network.

    Args:
        speech: float32 pieces at 24 kHz.
        link, sender, reports: options; only a pipe has a limit of frames in flight, its own.
        to: address to send to in real time; or a descriptor.
        report_from: address to listen at for reports; over UDP they come back by themselves.
        call: number at a gateway, 1 to 65535, where others send from the same address; 0: none.

    Attributes:
        reports: the block that reads reports; None where there is no way back.
    """

    def __init__(
        self,
        speech: Iterable[np.ndarray],
        *,
        link: LinkOptions,
        sender: SenderOptions,
        reports: ReportOptions,
        to: str | int,
        report_from: str | None = None,
        call: int = 0,
    ) -> None:
        gr.top_block.__init__(self, "largesc tx", catch_exceptions=False)
        self._live, self._signed = isinstance(to, str), bool(link.key)
        sink, port = packet_sink(to)
        check_free(report_from)
        self.source = speech_reader(pieces=speech)
        most = 0 if self._live else IN_FLIGHT_PACKETS * link.frames_per_packet
        self.tx = self._last = make_tx(link, replace(sender, max_in_flight=most))
        if self._live:
            self.connect(self.source, real_time(), self.tx)
            self._last = end_repeater(interval_s=link.packet_ms / 1000)
            self.msg_connect(self.tx, "packets", self._last, "packets")
        else:
            self.connect(self.source, self.tx)
            self.msg_connect(sink, "credit", self.tx, "credit")
        self._number = {"number": call, "crc": link.has_crc} if call else None
        numbered = self._numbered(self._last)
        self.signer = signed(self, numbered, link.key)
        if self._signed:
            self.msg_connect(self.signer, "credit", self.tx, "credit")
        self.sink = sink
        self.msg_connect(self.signer, "packets", sink, port)
        self.reports = None
        back = way_back(sink, report_from, packet_source)
        if back is not None:
            self._back, _ = back
            self.reports = make_report_rx(link, sender, reports)
            self.verifier, port = verified(self, *back, link.key, "back")
            picked, port = self._picked(self.verifier, port)
            self.msg_connect(picked, port, self.reports, "packets")
            self.msg_connect(self.reports, "report", self.tx, "report")

    def _numbered(self, block: object) -> object:
        """The block whose packets have the call's number, where there is one."""
        if self._number is None:
            return block
        self.numberer = call_numberer(**self._number)
        self.msg_connect(block, "packets", self.numberer, "packets")
        return self.numberer

    def _picked(self, block: object, port: str) -> tuple[object, str]:
        """Block and port of the packets that come back for this call."""
        if self._number is None:
            return block, port
        self.picker = call_picker(**self._number)
        self.msg_connect(block, port, self.picker, "packets")
        return self.picker, "packets"

    def ended(self) -> bool:
        """Whether the last packet is on its way, or nobody takes it."""
        return is_written(self.sink, self._live and self._last.ended())

    def statistics(self) -> dict:
        """Summary, and counters by block."""
        by_block = self.tx.statistics()
        if self._live:
            by_block["end_repeater"] = self._last.statistics()
        more = by_block.get("end_repeater", {})
        sent = {
            name: by_block["packetizer"][name] + more.get(name, 0) for name in ("packets", "bytes")
        }
        if self._number is not None:
            sent["bytes"] += HEAD_BYTES * sent["packets"]
        if self._signed:
            by_block["signer"] = self.signer.statistics()
            sent["bytes"] += overhead_bytes() * sent["packets"]
        facts = {"seconds": round(by_block["encoder"]["frames"] * FRAME_S, 2), **sent}
        if self.reports is not None:
            by_block["reports"] = self.reports.statistics()
            if self._signed:
                by_block["verifier"] = self.verifier.statistics()
            facts["reports"] = by_block["reports"]["reports"]
            facts["loss_probability"] = self.tx.controller.loss_probability
        return facts | by_block


class Relay(End):
    """Packets to packets, some lost; over UDP both ways.

    Args:
        channel: options.
        listen: address to receive at; or a descriptor.
        to: address to send to; or a descriptor.
    """

    def __init__(self, *, channel: ChannelOptions, listen: str | int, to: str | int) -> None:
        gr.top_block.__init__(self, "largesc channel", catch_exceptions=False)
        self.source, source_port = packet_source(listen)
        self.sink, sink_port = packet_sink(to)
        self.channel, self.back = make_channel(channel), None
        self.msg_connect(self.source, source_port, self.channel, "packets")
        self.msg_connect(self.channel, "packets", self.sink, sink_port)
        if isinstance(self.source, packet_reader):
            self.source.is_full = self._is_full
        if isinstance(self.source, udp_packets) and isinstance(self.sink, udp_packets):
            another = replace(channel, packet_ms=BACK_MS, seed=channel.seed + 1)
            self.back = make_channel(another)
            self.msg_connect(self.sink, sink_port, self.back, "packets")
            self.msg_connect(self.back, "packets", self.source, source_port)
            # It does not know what is good.
            self.msg_connect(self.source, source_port, self.source, "accepted")

    def _is_full(self) -> bool:
        written = isinstance(self.sink, packet_writer)
        return waiting(self.channel) + (waiting(self.sink) if written else 0) > MOST_WAITING

    def ended(self) -> bool:
        """Whether the pipe that packets come from has ended; a network never does."""
        return is_written(
            self.sink, isinstance(self.source, packet_reader) and self.source.ended.is_set()
        )

    def statistics(self) -> dict:
        """Summary, and counters by block."""
        there = self.channel.statistics()
        back = {} if self.back is None else {"back": self.back.statistics()}
        facts = {name: there[name] for name in ("sent", "dropped")}
        return facts | {"loss": there["dropped"] / max(1, there["sent"]), "channel": there} | back


class Receiver(End):
    """Packets to speech; live over a network, offline from a pipe.

    Args:
        output: path of a file, or a descriptor.
        link, receiver, reports: options; the mode and the end follow from ``listen``.
        listen: address to receive at; or a descriptor.
        report_to: address to send reports to; over UDP they go back by themselves.
        raw: samples without a header.

    Attributes:
        source: where packets come from.
        sink: what writes the speech; its ``error`` ends the stream.
    """

    def __init__(
        self,
        output: str | int,
        *,
        link: LinkOptions,
        receiver: ReceiverOptions,
        reports: ReportOptions,
        listen: str | int,
        report_to: str | None = None,
        raw: bool = False,
    ) -> None:
        gr.top_block.__init__(self, "largesc rx", catch_exceptions=False)
        check_free(listen)
        self._live = isinstance(listen, str)
        mode = "live" if self._live else "offline"
        self._signed = bool(link.key)
        self.rx = make_rx(link, replace(receiver, mode=mode, end_with_sender=True))
        self.source, port = packet_source(listen, crc=link.has_crc)
        delay_samples = self.rx.delay_samples
        self.sink = speech_writer(target=output, raw=raw, skip_samples=delay_samples)
        self.reports = None
        if self._live:
            self.connect(self.rx, real_time(), self.sink)
        else:
            self.connect(self.rx, self.sink)
        self.verifier, verified_port = verified(self, self.source, port, link.key)
        self.msg_connect(self.verifier, verified_port, self.rx, "packets")
        if isinstance(self.source, packet_reader):
            self.source.is_full = self._is_full
        if isinstance(self.source, udp_packets):
            # Stray packets do not tell where reports go.
            self.msg_connect(self.verifier, verified_port, self.source, "accepted")
        back = way_back(self.source, report_to, packet_sink)
        if back is not None and reports.checked().interval_ms > 0:
            self.reports = make_report_tx(link, reports)
            self.msg_connect(self.rx, "report", self.reports, "report")
            self.report_signer = signed(self, self.reports, link.key, "back")
            self.msg_connect(self.report_signer, "packets", *back)
            self._back, _ = back

    def ended(self) -> bool:
        """Whether the last of the speech is written, or nothing can be any more."""
        return self.sink.ended()

    def _is_full(self) -> bool:
        """Whether a pipe is read faster than its speech is; live, what is too old is left out."""
        queued = waiting(self.rx.depacketizer) + (waiting(self.verifier) if self._signed else 0)
        released = self.rx.depacketizer.statistics()["frames_released"]
        return queued + released - self.rx.decoder.counters["frames"] > MOST_WAITING

    def heard(self) -> int:
        """Rises while the sender is there: with packets, and in silence that it has announced."""
        counters = self.rx.depacketizer.statistics()
        names = ("packets_received", "duplicates", "late", "silence_frames")
        return sum(counters[name] for name in names)

    def refused(self) -> dict[str, int]:
        """Packets that were not understood, by reason."""
        counters = self.rx.depacketizer.statistics()
        if self._signed:
            counters |= self.verifier.statistics()
        return {name: n for name, n in counters.items() if name.startswith("refused") and n}

    def statistics(self) -> dict:
        """Summary, and counters by block."""
        by_block = self.rx.statistics()
        if self._signed:
            by_block["verifier"] = self.verifier.statistics()
        if self.reports is not None:
            by_block["reports"] = self.reports.statistics()
        packets, concealer = by_block["depacketizer"], by_block["concealer"]
        names = ("packets_received", "packets_lost", "frames_released", "frames_lost")
        facts = {"seconds": round(self.sink.samples / SAMPLE_RATE_HZ, 2)}
        facts |= {name: packets[name] for name in names}
        facts["packets_refused"] = sum(self.refused().values())
        facts |= {name: concealer[name] for name in ("frames_made_up", "frames_cut")}
        return facts | by_block

# SPDX-License-Identifier: GPL-3.0-or-later
"""The flowgraphs of the commands loopback, tx, channel and rx."""

import argparse
import json
import sys
import time

import numpy as np
from gnuradio import blocks, gr

from .._blocks import real_time
from ..blocks.report_tx import report_tx
from ..models.loader import SAMPLE_RATE_HZ
from ..security.signature import overhead_bytes
from . import options
from .audio import AudioError, read_speech, say, write_speech
from .end_repeater import end_repeater
from .signing import signed, verified
from .speech_writer import speech_writer
from .transport import check_free, packet_sink, packet_source, udp_packets, way_back

MAX_IN_FLIGHT = 64
FRAME_SAMPLES = 1920
# Seconds without a packet or a report until the user hears of it: within 2, and behind one report
# that was lost, which leaves 1.6.
MISSING_S = 1.9
# About the time between two reports, which a channel's jitter is measured by.
BACK_MS = 600.0


class Loopback(gr.top_block):
    """speech_tx, loss_channel and speech_rx, offline, with credit and reports.

    Args:
        samples: float32 at 24 kHz.
        args: namespace with the options of sender, channel and receiver.
    """

    def __init__(self, samples: np.ndarray, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "largesc loopback", catch_exceptions=False)
        self.source = blocks.vector_source_f(samples.tolist())
        self.sink = blocks.vector_sink_f()
        self.tx = options.make_tx(args, MAX_IN_FLIGHT)
        self.channel = options.make_channel(args)
        self.rx = options.make_rx(args, "offline", options.deadline_ms(args), False)
        self.connect(self.source, self.tx)
        self.connect(self.rx, self.sink)
        self.signer = signed(self, self.tx, args.key)
        self.msg_connect(self.signer, "packets", self.channel, "packets")
        self.verifier, port = verified(self, self.channel, "packets", args.key)
        self.msg_connect(self.verifier, port, self.rx, "packets")
        self.signature_bytes = overhead_bytes() if args.key else 0
        self.msg_connect(self.rx, "report", self.tx, "report")
        for block in (self.channel, self.rx):
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
        seconds = frames * 0.08
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
            "concealed_frames": rx["concealer"]["concealed_frames"],
            "frames": frames,
            **tx,
            "channel": channel,
            **verifier,
            **rx,
        }


def report(args: argparse.Namespace, facts: dict) -> None:
    """Statistics to stderr: JSON, or one line."""
    if args.json:
        print(json.dumps(facts), file=sys.stderr)
        return
    say(", ".join(f"{k} {v}" for k, v in facts.items() if not isinstance(v, dict)))


def loopback(args: argparse.Namespace) -> int:
    """File to file through the whole chain."""
    samples = read_speech(args.input, args.raw)
    # The codec's delay is cut off, so that the end must be fed with silence.
    padded = np.concatenate([samples, np.zeros(FRAME_SAMPLES, dtype=np.float32)])
    tb = Loopback(padded, args)
    begin = time.monotonic()
    tb.start()
    tb.wait()
    elapsed = time.monotonic() - begin
    write_speech(args.output, tb.output(len(samples)), bool(args.raw))
    facts = tb.statistics()
    report(args, facts | {"times_real_time": round(len(samples) / SAMPLE_RATE_HZ / elapsed, 2)})
    return 0


def tx(args: argparse.Namespace) -> int:
    """Speech to packets; in real time over a network, as fast as can be on stdout."""
    samples = read_speech(args.input, args.raw)
    tb = gr.top_block("largesc tx", catch_exceptions=False)
    sink, port = packet_sink(args.to)
    check_free(args.report_from)
    source, sender = blocks.vector_source_f(samples.tolist()), options.make_tx(args, 0)
    last = sender
    if args.to:
        tb.connect(source, real_time(), sender)
        last = end_repeater(0.08 * args.frames_per_packet)
        tb.msg_connect(sender, "packets", last, "packets")
    else:
        tb.connect(source, sender)
    signer = signed(tb, last, args.key)
    tb.msg_connect(signer, "packets", sink, port)
    watches, reports = [], None
    back = way_back(sink, args.report_from, packet_source)
    if back is not None:
        reports = options.make_report_rx(args)
        report_verifier, verified_port = verified(tb, *back, args.key, "back")
        tb.msg_connect(report_verifier, verified_port, reports, "packets")
        tb.msg_connect(reports, "report", sender, "report")
        watches = [
            Watch(
                lambda: reports.statistics()["reports"],
                "no report of the receiver for 2 s: is it running, and reached? "
                f"After 3 s p rises to {args.cautious_loss:g}",
                "reports of the receiver come again",
            )
        ]
    tb.start()
    if args.to:
        say(f"sending to {args.to}")
    # The sink has no end of its own: the sender's last packet is behind the end of its encoder.
    frames = -(-len(samples) // FRAME_SAMPLES)
    sent_all = lambda: sender.packetizer.statistics()["frames"] >= frames  # noqa: E731
    wait_for(last.ended if args.to else sent_all, 0, watches)
    # Time for the end packet to be written out.
    time.sleep(0.3)
    tb.stop()
    tb.wait()
    facts = sender.statistics()["packetizer"]
    if args.to:
        facts |= {name: facts[name] + more for name, more in last.statistics().items()}
    if args.key:
        facts |= {"signature_bytes": overhead_bytes()}
    if reports is not None:
        facts |= {"loss_probability": round(sender.controller.loss_probability, 3)}
        refused = report_verifier.statistics() if args.key else {}
        facts |= {"reports": refused | reports.statistics()}
    report(args, facts)
    return 0


def channel(args: argparse.Namespace) -> int:
    """Packets to packets, some lost; over UDP both ways."""
    tb = gr.top_block("largesc channel", catch_exceptions=False)
    source, source_port = packet_source(args.listen)
    sink, sink_port = packet_sink(args.to)
    lossy = options.make_channel(args)
    tb.msg_connect(source, source_port, lossy, "packets")
    tb.msg_connect(lossy, "packets", sink, sink_port)
    facts = lossy.statistics
    if isinstance(source, udp_packets) and isinstance(sink, udp_packets):
        back = options.make_channel(args, BACK_MS, 1)
        tb.msg_connect(sink, sink_port, back, "packets")
        tb.msg_connect(back, "packets", source, source_port)
        # It does not know what is good.
        tb.msg_connect(source, source_port, source, "accepted")
        facts = lambda: lossy.statistics() | {"back": back.statistics()}  # noqa: E731
    tb.start()
    if args.listen:
        say(f"listening at {args.listen}")
    wait_for(lambda: not args.listen and source.ended.is_set(), args.seconds)
    time.sleep(0.3)
    tb.stop()
    tb.wait()
    report(args, facts())
    return 0


class Watch:
    """Tells the user within 2 s when nothing comes any more, and when it comes again.

    Args:
        count: of what should come.
        gone, back: what to say.
    """

    def __init__(self, count: object, gone: str, back: str) -> None:
        self._count, self._gone, self._back = count, gone, back
        self._seen, self._since, self._missing = 0, time.monotonic(), False

    def look(self) -> None:
        """Call it several times a second."""
        seen, now = self._count(), time.monotonic()
        if seen != self._seen:
            if self._missing:
                say(self._back)
            self._seen, self._since, self._missing = seen, now, False
        elif not self._missing and now - self._since > MISSING_S:
            self._missing = True
            say(self._gone)


class PeerWatch:
    """Tells the user who sends, and when that changes; at most once a second."""

    def __init__(self, block: udp_packets) -> None:
        self._block, self._peer, self._said = block, None, 0.0

    def look(self) -> None:
        """Call it several times a second."""
        peer, now = self._block.peer, time.monotonic()
        if peer != self._peer and now - self._said > 1.0:
            self._peer, self._said = peer, now
            say(f"packets come from {peer[0]}:{peer[1]}")


def wait_for(ended: object, seconds: float, watches: tuple = ()) -> None:
    """Until ``ended()``, or for ``seconds`` when they are above 0, or Ctrl-C."""
    begin = time.monotonic()
    try:
        while not ended() and not (seconds > 0 and time.monotonic() - begin > seconds):
            for watch in watches:
                watch.look()
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass


def rx(args: argparse.Namespace) -> int:
    """Packets to speech; live over a network, offline from stdin."""
    tb = gr.top_block("largesc rx", catch_exceptions=False)
    check_free(args.listen)
    mode = "live" if args.listen else "offline"
    least, most = options.listening_deadlines_ms(args)
    receiver = options.make_rx(args, mode, least, end_with_sender=True, most=most)
    source, port = packet_source(args.listen, options.has_crc(args))
    sink = speech_writer(args.output, bool(args.raw), receiver.delay_samples)
    if args.listen:
        tb.connect(receiver, real_time(), sink)
    else:
        tb.connect(receiver, sink)
    verifier, verified_port = verified(tb, source, port, args.key)
    tb.msg_connect(verifier, verified_port, receiver, "packets")
    if isinstance(source, udp_packets):
        # Stray packets do not tell where reports go.
        tb.msg_connect(verifier, verified_port, source, "accepted")
    back = way_back(source, args.report_to, packet_sink)
    if back is not None and args.report_interval_ms > 0:
        reports = report_tx(args.report_interval_ms, options.has_crc(args))
        tb.msg_connect(receiver, "report", reports, "report")
        report_signer = signed(tb, reports, args.key, "back")
        tb.msg_connect(report_signer, "packets", *back)
    watches = [PeerWatch(source)] if isinstance(source, udp_packets) else []
    if args.listen:
        watches += [
            Watch(
                lambda: heard(receiver.depacketizer.statistics()),
                f"no packet for 2 s at {args.listen}: is the sender running, and sending here?",
                "packets come again",
            )
        ]
    tb.start()
    if args.listen:
        say(f"listening at {args.listen}")
    decoder = receiver.decoder
    wait_for(lambda: decoder.ended() or sink.error, args.seconds, watches)
    time.sleep(0.1)
    tb.stop()
    tb.wait()
    if sink.error:
        raise AudioError(sink.error)
    facts = receiver.statistics()
    security = verifier.statistics() if args.key else {}
    report(args, security | facts["depacketizer"] | facts["concealer"])
    return 0


def heard(counters: dict[str, int]) -> int:
    """Rises while the sender is there: with its packets, and in silence that it has announced."""
    names = ("packets_received", "duplicates", "late", "silence_frames")
    return sum(counters[name] for name in names)

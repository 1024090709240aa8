# SPDX-License-Identifier: GPL-3.0-or-later
"""The flowgraphs of the commands loopback, tx, channel and rx."""

import argparse
import json
import sys
import time

import numpy as np
from gnuradio import blocks, gr, network

from ..blocks.speech_audio import real_time
from ..models.loader import SAMPLE_RATE_HZ
from ..security.signature import overhead_bytes
from . import options
from .audio import read_speech, say, write_speech
from .packet_pipe import packet_reader, packet_writer
from .signing import signed, verified

MAX_IN_FLIGHT = 64
FRAME_SAMPLES = 1920


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


def address(text: str) -> tuple[str, str]:
    """``host:port`` to both parts."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"address {text!r} is not of the form host:port")
    return host, port


def packet_sink(to: str | None) -> tuple[object, str]:
    """Where packets go: UDP, or stdout."""
    if to:
        return network.socket_pdu("UDP_CLIENT", *address(to), 1500, False), "pdus"
    return packet_writer(sys.stdout.buffer), "packets"


def packet_source(at: str | None) -> tuple[object, str]:
    """Where packets come from: UDP, or stdin."""
    if at:
        return network.socket_pdu("UDP_SERVER", *address(at), 1500, False), "pdus"
    return packet_reader(sys.stdin.fileno()), "packets"


def tx(args: argparse.Namespace) -> int:
    """Speech to packets; in real time over UDP, as fast as can be on stdout."""
    samples = read_speech(args.input, args.raw)
    tb = gr.top_block("largesc tx", catch_exceptions=False)
    source, sender = blocks.vector_source_f(samples.tolist()), options.make_tx(args, 0)
    sink, port = packet_sink(args.to)
    if args.to:
        tb.connect(source, real_time(), sender)
    else:
        tb.connect(source, sender)
    signer = signed(tb, sender, args.key)
    tb.msg_connect(signer, "packets", sink, port)
    tb.start()
    # The sink has no end of its own: the sender's last packet is behind the end of its encoder.
    frames = -(-len(samples) // FRAME_SAMPLES)
    while sender.packetizer.statistics()["frames"] < frames:
        time.sleep(0.05)
    # Time for the end packet to be written out.
    time.sleep(0.3)
    tb.stop()
    tb.wait()
    security = {"signature_bytes": overhead_bytes()} if args.key else {}
    report(args, sender.statistics()["packetizer"] | security)
    return 0


def channel(args: argparse.Namespace) -> int:
    """Packets to packets, some lost."""
    tb = gr.top_block("largesc channel", catch_exceptions=False)
    source, source_port = packet_source(args.listen)
    sink, sink_port = packet_sink(args.to)
    lossy = options.make_channel(args)
    tb.msg_connect(source, source_port, lossy, "packets")
    tb.msg_connect(lossy, "packets", sink, sink_port)
    tb.start()
    wait_for(lambda: not args.listen and source.ended.is_set(), args.seconds)
    time.sleep(0.3)
    tb.stop()
    tb.wait()
    report(args, lossy.statistics())
    return 0


def wait_for(ended: object, seconds: float) -> None:
    """Until ``ended()``, or for ``seconds`` when they are above 0, or Ctrl-C."""
    begin = time.monotonic()
    try:
        while not ended() and not (seconds > 0 and time.monotonic() - begin > seconds):
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass


def rx(args: argparse.Namespace) -> int:
    """Packets to speech; live over UDP, offline from stdin."""
    tb = gr.top_block("largesc rx", catch_exceptions=False)
    source, port = packet_source(args.listen)
    mode = "live" if args.listen else "offline"
    most = options.max_deadline_ms(args)
    receiver = options.make_rx(args, mode, args.deadline_ms, end_with_sender=True, most=most)
    sink = blocks.vector_sink_f()
    if args.listen:
        tb.connect(receiver, real_time(), sink)
    else:
        tb.connect(receiver, sink)
    verifier, port = verified(tb, source, port, args.key)
    tb.msg_connect(verifier, port, receiver, "packets")
    tb.start()
    decoder = receiver.decoder
    wait_for(decoder.ended, args.seconds)
    time.sleep(0.1)
    tb.stop()
    tb.wait()
    found = np.array(sink.data(), dtype=np.float32)[receiver.delay_samples :]
    write_speech(args.output, found, bool(args.raw))
    facts = receiver.statistics()
    security = verifier.statistics() if args.key else {}
    report(args, security | facts["depacketizer"] | facts["concealer"])
    return 0

# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands loopback, tx, channel and rx."""

import argparse
import json
import sys
import time

import numpy as np

from ..flowgraphs.ends import Receiver, Relay, Sender
from ..flowgraphs.loopback import Loopback
from ..flowgraphs.transport import udp_packets
from ..speech.files import AudioError
from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from .arguments import channel_of, link_of, receiver_of, reports_of, sender_of
from .audio import read_speech, say, write_speech
from .watches import PeerWatch, Watch, wait_for


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
    tb = loopback_of(padded, args)
    begin = time.monotonic()
    tb.start()
    tb.wait()
    elapsed = time.monotonic() - begin
    write_speech(args.output, tb.output(len(samples)), bool(args.raw))
    facts = tb.statistics()
    report(args, facts | {"times_real_time": round(len(samples) / SAMPLE_RATE_HZ / elapsed, 2)})
    return 0


def loopback_of(samples: np.ndarray, args: argparse.Namespace) -> Loopback:
    """The flowgraph that the arguments of ``loopback`` ask for."""
    return Loopback(
        samples,
        link=link_of(args),
        sender=sender_of(args),
        channel=channel_of(args),
        receiver=receiver_of(args),
    )


def tx(args: argparse.Namespace) -> int:
    """Speech to packets; in real time over a network, as fast as can be on stdout."""
    samples = read_speech(args.input, args.raw)
    tb = Sender(
        samples,
        link=link_of(args),
        sender=sender_of(args),
        reports=reports_of(args),
        to=args.to,
        report_from=args.report_from,
    )
    watches = []
    if tb.reports is not None:
        watches = [
            Watch(
                lambda: tb.reports.statistics()["reports"],
                "no report of the receiver for 2 s: is it running, and reached? "
                f"After 3 s p rises to {args.cautious_loss:g}",
                "reports of the receiver come again",
            )
        ]
    tb.start()
    if args.to:
        say(f"sending to {args.to}")
    wait_for(tb.ended, 0, watches)
    # Time for the end packet to be written out.
    time.sleep(0.3)
    tb.stop()
    tb.wait()
    report(args, tb.statistics())
    return 0


def channel(args: argparse.Namespace) -> int:
    """Packets to packets, some lost; over UDP both ways."""
    tb = Relay(channel=channel_of(args), listen=args.listen, to=args.to)
    tb.start()
    if args.listen:
        say(f"listening at {args.listen}")
    wait_for(tb.ended, args.seconds)
    time.sleep(0.3)
    tb.stop()
    tb.wait()
    report(args, tb.statistics())
    return 0


def rx(args: argparse.Namespace) -> int:
    """Packets to speech; live over a network, offline from stdin."""
    link = link_of(args)
    receiver = receiver_of(args).listening(link.packet_ms, args.deadline_ms, args.max_deadline_ms)
    tb = Receiver(
        args.output,
        link=link,
        receiver=receiver,
        reports=reports_of(args),
        listen=args.listen,
        report_to=args.report_to,
        raw=bool(args.raw),
    )
    watches = [PeerWatch(tb.source)] if isinstance(tb.source, udp_packets) else []
    if args.listen:
        watches += [
            Watch(
                tb.heard,
                f"no packet for 2 s at {args.listen}: is the sender running, and sending here?",
                "packets come again",
            )
        ]
    tb.start()
    if args.listen:
        say(f"listening at {args.listen}")
    wait_for(tb.ended, args.seconds, watches)
    time.sleep(0.1)
    tb.stop()
    tb.wait()
    if tb.sink.error:
        raise AudioError(tb.sink.error)
    report(args, tb.statistics())
    return 0

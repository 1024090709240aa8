# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands loopback, tx, channel and rx."""

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np

from ..flowgraphs.ends import End, Receiver, Relay, Sender
from ..flowgraphs.loopback import Loopback
from ..flowgraphs.speech_writer import speech_writer
from ..flowgraphs.transport import udp_packets
from ..options import check_range
from ..packets.call_number import MOST_NUMBER
from ..speech.files import AudioError
from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from .arguments import channel_of, link_of, receiver_of, reports_of, sender_of
from .audio import check_two_files, opened
from .facts import check_json, report
from .process import ending, stdin_for_data, stdout_for_data
from .refusals import because
from .say import say
from .watches import PeerWatch, RefusalWatch, StallWatch, Watch, wait_for, waiting

# Exit status of a receiver that has understood nothing.
NOTHING = 1
MOST_SECONDS = 1e9


@contextlib.contextmanager
def output_of(path: str) -> Iterator[str | int]:
    """A path as it is, or for ``-`` a descriptor of stdout; there, no log goes in between."""
    if path != "-" and sys.stdout is None:
        yield path
        return
    with stdout_for_data() as descriptor:
        yield descriptor if path == "-" else path


def address_of(address: str | None) -> str:
    """An address, or ``-`` where packets go through a pipe."""
    return address or "-"


def loopback(args: argparse.Namespace) -> int:
    """File to file through the whole chain."""
    check_json(args.json, "speech goes" if args.output == "-" else "")
    with output_of(args.output) as target:
        check_two_files(args.input, args.output)
        speech = opened(args.input, args.raw)
        if args.raw not in (None, SAMPLE_RATE_HZ):
            say(f"{args.output}: raw speech comes out at {SAMPLE_RATE_HZ} Hz")

        def make_sink(delay_samples: int) -> speech_writer:
            # The codec's delay is cut off, and what fed its end.
            return speech_writer(
                target=target,
                raw=args.raw is not None,
                skip_samples=delay_samples,
                most_samples=lambda: speech.samples,
            )

        silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        tb = loopback_of(itertools.chain(speech, [silence]), args, make_sink)
        begin = time.monotonic()
        with ending.awaited():
            tb.start()
            waiter = waiting(tb)
            wait_for(lambda: not waiter.is_alive() or tb.sink.over())
            done = not waiter.is_alive()
            if not done:
                tb.sink.abandon()
                tb.stop()
            waiter.join()
        facts = tb.statistics()
        if done and not tb.sink.over():
            seconds = speech.samples / SAMPLE_RATE_HZ
            facts = {"times_real_time": seconds / (time.monotonic() - begin)} | facts
    interrupted = not done and bool(ending.signal)
    report(args, facts, interrupted)
    check_error(tb.source.error or tb.sink.error)
    return ending.status() if interrupted else 0


def check_error(error: str) -> None:
    """Raises AudioError where a flowgraph has met an error."""
    if error:
        raise AudioError(error)


def loopback_of(
    speech: np.ndarray | Iterable[np.ndarray], args: argparse.Namespace, make_sink: object = None
) -> Loopback:
    """The flowgraph that the arguments of ``loopback`` ask for."""
    return Loopback(
        speech,
        make_sink=make_sink,
        link=link_of(args),
        sender=sender_of(args),
        channel=channel_of(args),
        receiver=receiver_of(args),
    )


def run(tb: End, watches: list, seconds: float = 0.0) -> bool:
    """Runs a flowgraph to its end, for ``seconds`` when they are above 0, or to a signal.

    Returns whether it was a signal.
    """
    with ending.awaited():
        tb.start()
        wait_for(tb.ended, seconds, watches)
        interrupted = bool(ending.signal) and not tb.ended()
        tb.end()
    return interrupted


def tx(args: argparse.Namespace) -> int:
    """Speech to packets; in real time over a network, as fast as can be on stdout."""
    check_json(args.json, "" if args.to else "packets go")
    check_range("--call", args.call, 0, MOST_NUMBER)
    with output_of(address_of(args.to)) as target:
        tb = Sender(
            opened(args.input, args.raw),
            link=link_of(args),
            sender=sender_of(args),
            reports=reports_of(args),
            to=target,
            report_from=args.report_from,
            call=args.call,
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
        if args.to:
            say(f"sending to {args.to}")
        interrupted = run(tb, watches)
    return finished(tb, args, interrupted, live=bool(args.to))


def finished(tb: End, args: argparse.Namespace, interrupted: bool, live: bool) -> int:
    """Says what has happened; returns the exit status.

    Args:
        interrupted: by a signal.
        live: over a network, where that is the usual end.
    """
    report(args, tb.statistics(), interrupted)
    check_error(tb.error())
    return ending.status() if interrupted and not live else 0


def channel(args: argparse.Namespace) -> int:
    """Packets to packets, some lost; over UDP both ways."""
    check_json(args.json, "" if args.to else "packets go")
    check_range("--seconds", args.seconds, 0, MOST_SECONDS)
    source = args.listen or stdin_for_data()
    with output_of(address_of(args.to)) as target:
        tb = Relay(channel=channel_of(args), listen=source, to=target)
        if args.listen:
            say(f"listening at {args.listen}")
        interrupted = run(tb, [], args.seconds)
    return finished(tb, args, interrupted, live=bool(args.listen))


def rx(args: argparse.Namespace) -> int:
    """Packets to speech; live over a network, offline from stdin."""
    check_json(args.json, "speech goes" if args.output == "-" else "")
    if args.raw not in (None, SAMPLE_RATE_HZ):
        raise ValueError(f"--raw {args.raw}: speech comes out at {SAMPLE_RATE_HZ} Hz")
    check_range("--seconds", args.seconds, 0, MOST_SECONDS)
    link = link_of(args)
    receiver = receiver_of(args).listening(link.wait_ms, args.deadline_ms, args.max_deadline_ms)
    source = args.listen or stdin_for_data()
    with output_of(args.output) as target:
        tb = Receiver(
            target,
            link=link,
            receiver=receiver,
            reports=reports_of(args),
            listen=source,
            report_to=args.report_to,
            raw=args.raw is not None,
        )
        watches = [RefusalWatch(tb.heard, tb.refused)]
        if isinstance(tb.source, udp_packets):
            watches += [PeerWatch(tb.source)]
        if args.listen:
            watches += [
                Watch(
                    lambda: tb.heard() + sum(tb.refused().values()),
                    f"no packet for 2 s at {args.listen}: is the sender running, and sending here?",
                    "packets come again",
                )
            ]
            if tb.sink.output is not None:
                watches += [StallWatch(tb.sink.output)]
            say(f"listening at {args.listen}")
        interrupted = run(tb, watches, args.seconds)
    status = finished(tb, args, interrupted, live=bool(args.listen))
    return status or understood(tb, args.listen or "stdin")


def understood(tb: Receiver, where: str) -> int:
    """Says why nothing was understood; returns the exit status."""
    gone = tb.sink.output is not None and tb.sink.output.broken
    if gone or tb.heard():
        return 0
    refused = tb.refused()
    say(f"none of {sum(refused.values())} packets was understood: {because(refused)}"
        if refused else f"no packet came from {where}: there is no speech")  # fmt: skip
    return NOTHING

# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the command line: each names the block parameter that it sets."""

import argparse

from ..concealment.concealer import METHODS
from ..control.policies import POLICIES
from .signing import add_key

MAX_DEADLINE_MS = 400


def add_link(parser: argparse.ArgumentParser) -> None:
    """What both ends must agree on."""
    group = parser.add_argument_group("link (the same at both ends)")
    group.add_argument("--codec", default="embedded", help="model source [%(default)s]")
    group.add_argument("--frames-per-packet", type=int, default=1, metavar="N", help="1 to 4 [1]")
    group.add_argument("--layout", choices=["sequential", "pair"], default="sequential")
    group.add_argument("--no-crc", dest="crc", action="store_false", help="no CRC-16 in packets")
    group.add_argument("--threads", type=int, default=1, help="threads of torch [1]")
    group.add_argument("--json", action="store_true", help="statistics as JSON on stderr")


def add_loopback(parser: argparse.ArgumentParser) -> None:
    """All of ``largesc loopback``."""
    parser.add_argument("input", help="audio file, - for stdin")
    parser.add_argument("output", help="WAV file, - for stdout")
    for add in (add_raw, add_link, add_key, add_sender, add_channel, add_receiver):
        add(parser)


def add_raw(parser: argparse.ArgumentParser) -> None:
    """The form of speech without a header."""
    parser.add_argument("--raw", type=int, metavar="HZ", help="raw 16-bit mono PCM at this rate")


def add_sender(parser: argparse.ArgumentParser) -> None:
    """Parameters of speech_tx."""
    group = parser.add_argument_group("sender")
    group.add_argument("--policy", choices=POLICIES, default="exact", help="[%(default)s]")
    group.add_argument(
        "--budget", dest="budget_bps", type=float, default=1100.0, metavar="BPS",
        help="payload, 137.5 to 2200 [1100]",
    )  # fmt: skip
    group.add_argument(
        "--distance", type=int, default=1, metavar="PACKETS",
        help="packets between a frame and its copies; the receiver waits as long [1]",
    )  # fmt: skip
    group.add_argument(
        "--expected-loss", type=float, default=0.0, metavar="P", help="before the first report [0]"
    )
    group.add_argument(
        "--expected-burst", type=float, default=1.0, metavar="PACKETS",
        help="the same, for the policy exact [1]",
    )  # fmt: skip
    group.add_argument("--dtx", action="store_true", help="send nothing in silence")
    group.add_argument("--tokens-sent", type=int, default=8, help="for the policy fixed [8]")
    group.add_argument("--tokens-repeated", type=int, default=0, help="for the policy fixed [0]")
    group.add_argument("--controller", default="embedded", help="source of the learned policy")


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Parameters of loss_channel."""
    group = parser.add_argument_group("channel")
    group.add_argument(
        "--loss", type=float, default=0.0, metavar="P", help="lost packets, 0 to 1 [0]"
    )
    group.add_argument(
        "--burst",
        type=float,
        default=0.0,
        metavar="PACKETS",
        help="mean run of losses; 0: independent [0]",
    )
    group.add_argument("--trace", default="", metavar="FILE", help="flags 0 and 1, one every 20 ms")
    group.add_argument("--jitter-ms", type=float, default=0.0, help="[0]")
    group.add_argument("--reorder", type=float, default=0.0, metavar="P", help="[0]")
    group.add_argument("--duplicate", type=float, default=0.0, metavar="P", help="[0]")
    group.add_argument("--bit-errors", type=float, default=0.0, metavar="RATE", help="[0]")
    group.add_argument("--seed", type=int, default=1, help="of losses and concealment [1]")


def add_receiver(parser: argparse.ArgumentParser) -> None:
    """Parameters of speech_rx."""
    group = parser.add_argument_group("receiver")
    group.add_argument("--concealer", choices=METHODS, default="interpolate", help="[%(default)s]")
    group.add_argument("--model", default="embedded", help="source of the language model")
    group.add_argument(
        "--samples", type=int, default=8,
        help="of a lost frame, whose mean is played; 1: a single one, sharper and further off [8]",
    )  # fmt: skip
    group.add_argument("--temperature", type=float, default=0.7, help="[0.7]")
    group.add_argument("--top-k", type=int, default=50, help="[50]")
    group.add_argument(
        "--delay-mode", choices=["speculative", "wait"], default="speculative",
        help="for a model with acoustic delay: guess ahead, or play 80 ms later [speculative]",
    )  # fmt: skip
    group.add_argument(
        "--other-streams", choices=["zero", "silence"], default="zero",
        help="what a model of 16 streams hears of the other speaker [zero]",
    )  # fmt: skip


def has_crc(args: argparse.Namespace) -> bool:
    """Whether packets and reports have a CRC: the tag of signed ones does what it does."""
    return args.crc and not args.key


def link_of(args: argparse.Namespace) -> dict:
    """Arguments that sender and receiver share."""
    return {
        "codec": args.codec,
        "frames_per_packet": args.frames_per_packet,
        "layout": args.layout,
        "crc": has_crc(args),
        "threads": args.threads,
    }


def deadline_ms(args: argparse.Namespace) -> int:
    """Deadline at which copies of the wanted distance still arrive."""
    if not 1 <= args.distance <= 8:
        raise ValueError(f"--distance {args.distance} is out of range: use 1 to 8")
    return 80 * args.frames_per_packet * args.distance


def make_tx(args: argparse.Namespace, max_in_flight: int) -> object:
    """A speech_tx."""
    from ..blocks.speech_tx import speech_tx

    return speech_tx(
        **link_of(args),
        policy=args.policy,
        budget_bps=args.budget_bps,
        loss_probability=args.expected_loss,
        mean_burst_packets=args.expected_burst,
        deadline_ms=deadline_ms(args),
        dtx=args.dtx,
        max_in_flight=max_in_flight,
        tokens_sent=args.tokens_sent,
        tokens_repeated=args.tokens_repeated,
        controller=args.controller,
    )


def make_report_rx(args: argparse.Namespace) -> object:
    """A report_rx."""
    from ..blocks.report_rx import report_rx

    return report_rx(
        cautious_loss=args.cautious_loss,
        crc=has_crc(args),
        loss_probability=args.expected_loss,
        mean_burst_packets=args.expected_burst,
    )


def make_channel(args: argparse.Namespace, packet_ms: float = 0.0, another: int = 0) -> object:
    """A loss_channel; for other packets with their time and ``another`` drawing of losses."""
    from .._blocks import loss_channel

    kind = "trace" if args.trace else "gilbert_elliott" if args.burst else "bernoulli"
    return loss_channel(
        kind,
        args.loss,
        args.burst or 1.0,
        args.trace,
        packet_ms or 80.0 * args.frames_per_packet,
        args.jitter_ms,
        args.reorder,
        args.duplicate,
        args.bit_errors,
        args.seed + another,
    )


def listening_deadlines_ms(args: argparse.Namespace) -> tuple[int, int]:
    """Shortest and longest wait of a receiver on a network, where packets do not come evenly."""
    least = args.deadline_ms
    if least is None:
        # Copies come a packet later.
        least = 80 * args.frames_per_packet
    most = args.max_deadline_ms
    return least, max(MAX_DEADLINE_MS, least) if most is None else most


def make_rx(
    args: argparse.Namespace, mode: str, deadline: int, end_with_sender: bool, most: int = 0
) -> object:
    """A speech_rx whose deadline is between ``deadline`` and ``most`` ms; 0: fixed."""
    from ..blocks.speech_rx import speech_rx

    return speech_rx(
        **link_of(args),
        method=args.concealer,
        model=args.model,
        mode=mode,
        deadline_ms=deadline,
        end_with_sender=end_with_sender,
        samples=args.samples,
        temperature=args.temperature,
        top_k=args.top_k,
        seed=args.seed,
        delay_mode=args.delay_mode,
        other_streams=args.other_streams,
        max_deadline_ms=most,
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of the command line, and the options that they give; defaults are those of options."""

import argparse

from ..options import (
    LAYOUTS,
    METHODS,
    POLICIES,
    ChannelOptions,
    LinkOptions,
    ReceiverOptions,
    ReportOptions,
    SenderOptions,
)
from ..speech.format import FRAME_MS


def add_link(parser: argparse.ArgumentParser) -> None:
    """Adds the options that both ends must agree on."""
    group = parser.add_argument_group("link (the same at both ends)")
    group.add_argument("--codec", default=LinkOptions.codec, help="model source [%(default)s]")
    group.add_argument(
        "--frames-per-packet", type=int, default=LinkOptions.frames_per_packet, metavar="N",
        help="1 to 4 [%(default)s]",
    )  # fmt: skip
    group.add_argument("--layout", choices=LAYOUTS, default=LinkOptions.layout)
    group.add_argument("--no-crc", dest="crc", action="store_false", help="no CRC-16 in packets")
    group.add_argument(
        "--threads", type=int, default=LinkOptions.threads, help="threads of torch [%(default)s]"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option for statistics that a program reads."""
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE.json",
        help="statistics as JSON to a file, or to stdout where nothing else goes there",
    )  # fmt: skip


def add_loopback(parser: argparse.ArgumentParser) -> None:
    """Adds all options of ``largesc loopback``."""
    parser.add_argument("input", help="audio file, - for stdin")
    parser.add_argument("output", help="WAV file, - for stdout")
    for add in (add_json, add_raw, add_link, add_key, add_sender, add_channel, add_receiver):
        add(parser)


def add_key(parser: argparse.ArgumentParser) -> None:
    """The option that signs, or asks for signatures."""
    parser.add_argument(
        "--key",
        default=LinkOptions.key,
        metavar="FILE",
        help="sign packets and reports, and refuse others; 32 bytes or 64 hex digits, the same at "
        "both ends; takes the place of the CRC",
    )


def add_raw(parser: argparse.ArgumentParser) -> None:
    """The form of speech without a header."""
    parser.add_argument(
        "--raw", type=int, metavar="HZ", help="raw 16-bit mono PCM at this rate, little-endian"
    )


def add_sender(parser: argparse.ArgumentParser) -> None:
    """Adds the options that set the parameters of speech_tx."""
    default = SenderOptions()
    group = parser.add_argument_group("sender")
    group.add_argument("--policy", choices=POLICIES, default=default.policy, help="[%(default)s]")
    group.add_argument(
        "--budget", dest="budget_bps", type=float, default=default.budget_bps, metavar="BPS",
        help="payload, 137.5 to 2200 [%(default)g]",
    )  # fmt: skip
    group.add_argument(
        "--distance", type=int, default=1, metavar="PACKETS",
        help="packets between a frame and its copies; the receiver waits as long [1]",
    )  # fmt: skip
    group.add_argument(
        "--expected-loss", type=float, default=default.loss_probability, metavar="P",
        help="before the first report [%(default)g]",
    )  # fmt: skip
    group.add_argument(
        "--expected-burst", type=float, default=default.mean_burst_packets, metavar="PACKETS",
        help="the same, for the policy exact [%(default)g]",
    )  # fmt: skip
    group.add_argument("--dtx", action="store_true", help="send nothing in silence")
    for name in ("tokens_sent", "tokens_repeated"):
        group.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=getattr(default, name),
            help="for the policy fixed [%(default)s]",
        )  # fmt: skip
    group.add_argument(
        "--controller", default=default.controller, help="source of the learned policy"
    )


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Adds the options that set the parameters of loss_channel."""
    default = ChannelOptions()
    group = parser.add_argument_group("channel")
    group.add_argument(
        "--loss", type=float, default=default.loss_probability, metavar="P",
        help="lost packets, 0 to 1 [%(default)g]",
    )  # fmt: skip
    group.add_argument(
        "--burst", type=float, default=0.0, metavar="PACKETS",
        help="mean run of losses; 0: independent [0]",
    )  # fmt: skip
    group.add_argument(
        "--trace", default=default.trace, metavar="FILE", help="flags 0 and 1, one every 20 ms"
    )
    for option, unit, value in (
        ("--jitter-ms", None, default.jitter_ms),
        ("--reorder", "P", default.reorder_probability),
        ("--duplicate", "P", default.duplicate_probability),
        ("--bit-errors", "RATE", default.bit_error_rate),
    ):
        group.add_argument(option, type=float, default=value, metavar=unit, help="[%(default)g]")
    group.add_argument(
        "--seed", type=int, default=default.seed, help="of losses and concealment [%(default)s]"
    )


def add_receiver(parser: argparse.ArgumentParser) -> None:
    """Adds the options that set the parameters of speech_rx."""
    default = ReceiverOptions()
    group = parser.add_argument_group("receiver")
    group.add_argument("--concealer", choices=METHODS, default=default.method, help="[%(default)s]")
    group.add_argument("--model", default=default.model, help="source of the language model")
    group.add_argument(
        "--samples", type=int, default=default.samples,
        help="of a lost frame, whose mean is played; 1: a single one, sharper and further off "
        "[%(default)s]",
    )  # fmt: skip
    group.add_argument(
        "--temperature", type=float, default=default.temperature, help="[%(default)s]"
    )
    group.add_argument("--top-k", type=int, default=default.top_k, help="[%(default)s]")
    group.add_argument(
        "--delay-mode", choices=["speculative", "wait"], default=default.delay_mode,
        help="for a model with acoustic delay: guess ahead, or play 80 ms later [%(default)s]",
    )  # fmt: skip
    group.add_argument(
        "--other-streams", choices=["zero", "silence"], default=default.other_streams,
        help="what a model of 16 streams hears of the other speaker [%(default)s]",
    )  # fmt: skip


def link_of(args: argparse.Namespace) -> LinkOptions:
    """Returns what both ends must agree on, as the arguments set it."""
    return LinkOptions(
        codec=args.codec,
        frames_per_packet=args.frames_per_packet,
        layout=args.layout,
        crc=args.crc,
        threads=args.threads,
        key=args.key,
    )


def deadline_ms(args: argparse.Namespace) -> int:
    """Deadline at which copies of the wanted distance still arrive, or parity does."""
    link = link_of(args)
    if args.layout == "parity":
        if args.distance != 1:
            raise ValueError(
                f"--distance {args.distance} is for copies: with --layout parity leave it out"
            )
        return link.wait_ms
    if not 1 <= args.distance <= 8:
        raise ValueError(f"--distance {args.distance} is out of range: use 1 to 8")
    return link.packet_ms * args.distance


def sender_of(args: argparse.Namespace) -> SenderOptions:
    """Returns the sender's options, as the arguments set them."""
    return SenderOptions(
        policy=args.policy,
        budget_bps=args.budget_bps,
        loss_probability=args.expected_loss,
        mean_burst_packets=args.expected_burst,
        deadline_ms=deadline_ms(args),
        dtx=args.dtx,
        tokens_sent=args.tokens_sent,
        tokens_repeated=args.tokens_repeated,
        controller=args.controller,
    )


def channel_of(args: argparse.Namespace) -> ChannelOptions:
    """Returns the channel's options; a trace or a burst chooses its model."""
    return ChannelOptions(
        model="trace" if args.trace else "gilbert_elliott" if args.burst else "bernoulli",
        loss_probability=args.loss,
        mean_burst=args.burst or ChannelOptions.mean_burst,
        trace=args.trace,
        packet_ms=float(FRAME_MS * args.frames_per_packet),
        jitter_ms=args.jitter_ms,
        reorder_probability=args.reorder,
        duplicate_probability=args.duplicate,
        bit_error_rate=args.bit_errors,
        seed=args.seed,
    )


def receiver_of(args: argparse.Namespace) -> ReceiverOptions:
    """Options of the receiver; of the loopback, its deadline is the sender's."""
    return ReceiverOptions(
        method=args.concealer,
        model=args.model,
        deadline_ms=deadline_ms(args) if "distance" in args else ReceiverOptions.deadline_ms,
        samples=args.samples,
        temperature=args.temperature,
        top_k=args.top_k,
        seed=args.seed,
        delay_mode=args.delay_mode,
        other_streams=args.other_streams,
    )


def reports_of(args: argparse.Namespace) -> ReportOptions:
    """Options of the reports: those that an end has."""
    return ReportOptions(
        interval_ms=getattr(args, "report_interval_ms", ReportOptions.interval_ms),
        cautious_loss=getattr(args, "cautious_loss", ReportOptions.cautious_loss),
    )

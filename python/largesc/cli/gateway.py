# SPDX-License-Identifier: GPL-3.0-or-later
"""The command gateway: many calls in one process."""

import argparse
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..files import writable_folder
from ..gateway.rtp import PAYLOADS
from ..options import (
    METHODS,
    GatewayOptions,
    LinkOptions,
    ReceiverOptions,
    ReportOptions,
    SenderOptions,
    check_range,
)
from ..packets.address import address, resolved
from .arguments import add_json, add_link
from .facts import check_json, report
from .process import ending
from .say import say

JOIN_S = 2.0
MOST_WORKERS = 256


def parser() -> argparse.ArgumentParser:
    """The command line of ``largesc gateway``."""
    default, receiver = GatewayOptions(), ReceiverOptions()
    top = argparse.ArgumentParser(
        prog="largesc gateway",
        description="Takes many `largesc tx` at one UDP port, and puts out the speech of each.",
    )

    def add(name: str, text: str, **kind: object) -> None:
        top.add_argument(name, help=text, **kind)

    add("--listen", "receive there, *:PORT for all addresses", metavar="HOST:PORT", required=True)
    add("--calls", "at once at most [%(default)s]", type=int, default=default.calls, metavar="N")
    add(
        "--calls-per-key", "of them under one sender's key [%(default)s]", type=int,
        default=default.calls_per_key, metavar="N",
    )  # fmt: skip
    add(
        "--memory-mib", "no more calls above this; 0: any [0]", type=int,
        default=default.memory_mib, metavar="MIB",
    )  # fmt: skip
    add(
        "--idle-s", "a call that is silent so long ends [%(default)g]", type=float,
        default=default.idle_s, metavar="S",
    )  # fmt: skip
    add("--keys", "folder of a NAME.key for each sender: no others are heard", type=Path)
    add("--wav", "folder for a WAV file of each call", type=Path, metavar="FOLDER")
    add(
        "--rtp", "call n, the lowest number that is free, as RTP to port PORT + 2 n",
        metavar="HOST:PORT",
    )  # fmt: skip
    add("--sdp", "folder for the SDP file of each call", type=Path, metavar="FOLDER")
    add("--payload", "of RTP, both ways [%(default)s]", choices=PAYLOADS, default="opus")
    add("--conference", "each listener hears all calls but the own one", action="store_true")
    add(
        "--phone", "RTP that comes in at PORT here goes as tokens to HOST:PORT; may be repeated",
        metavar="PORT=HOST:PORT", action="append", default=[],
    )  # fmt: skip
    add("--phones-at", "address where RTP comes in [%(default)s]", default="127.0.0.1")
    add("--metrics", "status page and /metrics for Prometheus there", metavar="HOST:PORT")
    add(
        "--ray", "compute in N processes of Ray, also on other machines; 0: in this one [0]",
        type=int, default=0, metavar="N",
    )  # fmt: skip
    add("--seconds", "end after so long; 0: never [0]", type=float, default=0.0, metavar="S")
    add("--concealer", "[%(default)s]", choices=METHODS, default=receiver.method)
    add(
        "--report-interval-ms", "at most one report a call in so many ms; 0: none [%(default)g]",
        type=float, default=ReportOptions.interval_ms, metavar="MS",
    )  # fmt: skip
    add_json(top)
    add_link(top)
    top.set_defaults(command="gateway")
    return top


def gateway(arguments: list[str]) -> int:
    """Runs ``largesc gateway``; returns the exit status."""
    args = parser().parse_args(arguments)
    options = GatewayOptions(
        args.calls, args.memory_mib, args.idle_s, args.conference, args.calls_per_key
    ).checked()
    check(args, options)
    keys_changed = KeysChanged()
    with keys_changed.listening():
        return run(args, options, keys_changed)


class KeysChanged:
    """SIGHUP as a wish that the keys are read again."""

    def __init__(self) -> None:
        self._wanted = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signal, which else ends the process."""
        before = signal.signal(signal.SIGHUP, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def _on_signal(self, *_: object) -> None:
        self._wanted = True

    def __call__(self) -> bool:
        """Whether it came since the last call."""
        wanted, self._wanted = self._wanted, False
        return wanted


def run(args: argparse.Namespace, options: GatewayOptions, keys_changed: KeysChanged) -> int:
    """Until a signal comes, or the time is over; returns the exit status."""
    from ..gateway.key_ring import KeyRing

    # Here, so that a key that cannot be read is said at once.
    keys = KeyRing(args.keys) if args.keys else None
    if args.rtp or args.phone:
        # Else its threads would be the first to miss it.
        import av  # noqa: F401
    # It loads torch, and what is wrong with the options is said before.
    import torch

    from ..gateway.call_outputs import CallOutputs
    from ..gateway.clock import GatewayClock
    from ..gateway.cluster import GatewayCluster
    from ..gateway.gateway import Gateway
    from ..gateway.inbox import Inbox
    from ..gateway.phones import Phones, Route
    from ..gateway.worker import WorkerPlan

    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="largesc: %(message)s")
    link = LinkOptions(
        args.codec, args.frames_per_packet, args.layout, args.crc, args.threads,
        str(args.keys or ""),
    )  # fmt: skip
    reports = ReportOptions(interval_ms=args.report_interval_ms)
    receiver = ReceiverOptions(method=args.concealer).listening(link.wait_ms, None, None)
    routes = [Route(port, where) for port, where in map(route_of, args.phone)]
    wanted = {
        "wav": args.wav,
        "rtp": address(args.rtp) if args.rtp else None,
        "payload": args.payload,
        "sdp": args.sdp,
    }
    inbox = Inbox(args.listen)
    for route, text in zip(routes, args.phone, strict=True):
        inbox.check_reach(route.to, f"--phone {text}")
    sender = SenderOptions(dtx=link.layout != "parity", deadline_ms=link.wait_ms)
    # Before workers are started, since a port may be taken.
    phones = Phones(
        routes, args.payload, link=link, sender=sender, reports=reports, host=args.phones_at,
    )  # fmt: skip
    outputs = CallOutputs(**wanted)
    if args.ray:
        each = replace(options, calls=-(-options.calls // args.ray))
        plan = WorkerPlan(each, link, receiver, reports, str(args.keys or ""), wanted)
        calls = GatewayCluster(plan, args.ray)
    else:
        calls = Gateway(options, link, receiver, reports, outputs.of, keys)
    clock = GatewayClock(calls, phones, inbox, keys_changed)
    counted = calls.output_counters if args.ray else lambda: outputs.counters
    metrics = metrics_of(args, calls, clock, inbox, counted)
    say(f"listening at {args.listen} for {options.calls} calls")
    with ending.awaited():
        clock.run(over_after(args.seconds))
    inbox.close()
    outputs.join(JOIN_S)
    report(args, metrics.facts(), bool(ending.signal))
    # A signal is how it is meant to end.
    return 0


def check(args: argparse.Namespace, options: GatewayOptions) -> None:
    """Raises ValueError for what can be seen before anything is loaded."""
    address(args.listen)
    check_json(args.json, "")
    if args.rtp:
        _, port = address(args.rtp)
        resolved(args.rtp, False)
        if port + 2 * options.calls > 65535:
            raise ValueError(
                f"--rtp {args.rtp}: {options.calls} calls need ports up to "
                f"{port + 2 * options.calls}: use a lower port or fewer calls"
            )
    if args.sdp and not args.rtp:
        raise ValueError("--sdp describes RTP: give --rtp as well")
    if args.rtp and args.rtp.startswith("*"):
        raise ValueError(f"--rtp {args.rtp}: name the host that speech goes to")
    if not (args.wav or args.rtp or args.phone):
        raise ValueError("nobody would hear the calls: give --wav FOLDER, --rtp HOST:PORT or both")
    check_range("ray", args.ray, 0, MOST_WORKERS)
    if args.ray > options.calls:
        raise ValueError(
            f"--ray {args.ray} for --calls {options.calls}: use no more than one a call"
        )
    if args.ray and args.conference:
        raise ValueError("--conference mixes the calls of one process: leave --ray out")
    if args.conference and not args.rtp:
        raise ValueError("a conference needs listeners: give --rtp HOST:PORT")
    if args.calls_per_key != GatewayOptions.calls_per_key and not args.keys:
        raise ValueError(
            f"--calls-per-key {args.calls_per_key} counts by keys: give --keys FOLDER as well"
        )
    if args.phone and args.keys:
        raise ValueError("--phone sends unsigned packets: run it in a gateway without --keys")
    for folder in filter(None, (args.wav, args.sdp)):
        writable_folder(folder)
    if args.metrics:
        address(args.metrics)
    for route in args.phone:
        route_of(route)


def route_of(text: str) -> tuple[int, tuple]:
    """``PORT=HOST:PORT`` to the port and the socket address.

    Raises:
        ValueError: it has another form.
    """
    port, sign, where = text.partition("=")
    # RTCP comes in at the next port.
    if not sign or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65535:
        raise ValueError(f"--phone {text!r} is not of the form PORT=HOST:PORT")
    return int(port), resolved(where, False)[1]


def metrics_of(args: argparse.Namespace, *parts: object) -> object:
    """The figures, served where that was asked for."""
    from ..gateway.metrics import GatewayMetrics, serve

    metrics = GatewayMetrics(*parts)
    if args.metrics:
        serve(args.metrics, metrics)
        say(f"status at http://{args.metrics}/")
    return metrics


def over_after(seconds: float) -> Callable[[], bool]:
    """Whether a signal came, or the time is over."""
    begin = time.monotonic()
    return lambda: bool(ending.signal) or 0 < seconds < time.monotonic() - begin

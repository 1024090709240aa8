# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands task say, task listen and task demo: spoken commands over few symbols."""

import argparse
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable

from ..channel.symbols import KINDS, SymbolChannel
from ..options import MOST_SEED, TaskOptions, check_range
from ..speech.format import SAMPLE_RATE_HZ
from ..tasks.commands import Command, CommandDecider, CommandEncoder, Decision, checked_symbols
from ..tasks.model import load_task
from .audio import opened
from .process import ending
from .say import say
from .unused import fill, refuse_unused

NOTHING, SEED = 1, 1
POLL_S = 0.1
MOST_BYTES = 2048
# Programs of `--exec` that run at a time; a decision that comes meanwhile is passed over.
MOST_PROGRAMS = 4
# What may still wait for a running program at the end.
PATIENCE_S = 5.0


def parser() -> argparse.ArgumentParser:
    """The command line of ``largesc task``."""
    default = TaskOptions()
    top = argparse.ArgumentParser(
        prog="largesc task", description="Spoken commands over a link that could not carry speech."
    )
    parts = top.add_subparsers(dest="part", required=True, metavar="say|listen|demo")
    speak = parts.add_parser("say", help="send the commands of a recording, and print what came")
    speak.add_argument("input", help="audio file, - for stdin")
    speak.add_argument(
        "--snr", dest="snr_db", type=float, metavar="DB",
        help=f"of a symbol [{default.snr_db:g}]",
    )  # fmt: skip
    speak.add_argument("--channel", choices=KINDS, help=f"[{KINDS[0]}]")
    speak.add_argument("--symbols", type=int, help=f"a command [{default.symbols}]")
    speak.add_argument("--seed", type=int, help=f"of the channel [{SEED}]")
    speak.add_argument("--raw", type=int, metavar="HZ", help="raw 16-bit mono PCM at this rate")
    speak.add_argument(
        "--to", metavar="HOST:PORT", help="send packets over UDP to `task listen`, without noise"
    )
    hear = parts.add_parser("listen", help="decide on packets that come over UDP")
    hear.add_argument("--listen", required=True, metavar="HOST:PORT")
    hear.add_argument("--seconds", type=float, default=0.0, help="stop after this; 0: never")
    hear.add_argument(
        "--exec", dest="program", metavar="PROGRAM",
        help="run it with each command that is understood: its only argument is the label",
    )  # fmt: skip
    show = parts.add_parser("demo", help="ten recorded commands at -5 dB, and a picture")
    show.add_argument("--output", default="task-output", help="folder [%(default)s]")
    show.add_argument("--seed", type=int, default=SEED, help="of the channel [%(default)s]")
    show.add_argument("--model", default=default.model, help="embedded, or a folder [%(default)s]")
    for part in (speak, hear):
        part.add_argument(
            "--model", default=default.model, help="embedded, or a folder [%(default)s]"
        )
        part.add_argument(
            "--confidence", type=float, metavar="P",
            help=f"least probability of a command that is understood [{default.confidence:g}]",
        )  # fmt: skip
    return top


def facts_of(decision: Decision) -> dict:
    """A decision as a line of JSON has it."""
    return {
        "label": decision.label,
        "probability": round(decision.probability, 4),
        "understood": decision.understood,
        "snr_db": decision.snr_db,
        "index": decision.index,
    }


def task(arguments: list[str]) -> int:
    """Runs ``largesc task`` with its arguments; returns the exit status."""
    args = parser().parse_args(arguments)
    if args.part == "demo":
        from .task_demo import demo

        return demo(args)
    return (spoken if args.part == "say" else listened)(args)


def spoken(args: argparse.Namespace) -> int:
    """Sends the commands of a recording through a channel, or over UDP."""
    if args.to:
        theirs = ["snr_db", "channel", "symbols", "seed"]
        refuse_unused(args, theirs, "with --to, which has no channel between")
        refuse_unused(args, ["confidence"], "with --to", "give {it} to `largesc task listen`")
    default = TaskOptions()
    fill(args, snr_db=default.snr_db, symbols=default.symbols, confidence=default.confidence)
    fill(args, channel=KINDS[0], seed=SEED)
    check_range("--snr", args.snr_db, -100, 100)
    check_range("--seed", args.seed, 0, MOST_SEED)
    reader = opened(args.input, args.raw)
    model = load_task(args.model)
    if not args.to:
        checked_symbols(model, args.symbols)
    encoder, decider = CommandEncoder(model), CommandDecider(model, args.confidence)
    channel = SymbolChannel(args.channel, args.snr_db, args.seed)
    send, count = sender_to(args.to) if args.to else None, 0

    def one(command: Command) -> None:
        start = {"start_s": round(command.start / SAMPLE_RATE_HZ, 2)}
        if send is not None:
            send(encoder.packet(command))
            print(json.dumps({"index": command.index, "sent": True} | start), flush=True)
            return
        print(json.dumps(facts_of(over_the_air(command)) | start), flush=True)

    def over_the_air(command: Command) -> Decision:
        import torch

        burst = torch.from_numpy(encoder.burst(command, args.snr_db, args.symbols))[None]
        received, h = channel(burst)
        return decider.decide(received[0].numpy(), args.snr_db, complex(h[0, 0]), command.index)

    for samples in reader:
        for command in encoder.push(samples):
            one(command)
            count += 1
    for command in encoder.flush():
        one(command)
        count += 1
    if not count:
        long = encoder.detector.counters["too_long"]
        why = f"{long} utterances were longer than 1.6 s" if long else "it is silent or too short"
        say(f"no command in {args.input}: {why}; leave a pause of 0.3 s between commands")
        return NOTHING
    return 0


def sender_to(text: str) -> Callable[[bytes], None]:
    """Returns a function that sends a packet over UDP to ``host:port`` in ``text``."""
    from ..packets.address import resolved

    family, peer = resolved(text, False)
    out = socket.socket(family, socket.SOCK_DGRAM)

    def send(packet: bytes) -> None:
        try:
            out.sendto(packet, peer)
        except OSError as error:
            say(f"a command could not be sent to {text}: {error.strerror}")

    return send


class Programs:
    """Runs a program of the user's for each command, without a shell and without waiting for it.

    Args:
        program: its name or path.

    Raises:
        ValueError: there is no such program.
    """

    def __init__(self, program: str) -> None:
        found = shutil.which(program)
        if found is None:
            raise ValueError(f"--exec {program!r} is no program that can be run: give its path")
        self._path, self._running = found, []
        self.counters = {"started": 0, "failed": 0, "passed_over": 0}

    def run(self, label: str) -> None:
        """Starts it; where too many run already, the command is passed over and counted."""
        self.look()
        if len(self._running) >= MOST_PROGRAMS:
            self.counters["passed_over"] += 1
            say(f"{label} is passed over: {MOST_PROGRAMS} programs of --exec still run")
            return
        try:
            self._running.append(
                subprocess.Popen([self._path, label], stdin=subprocess.DEVNULL, stdout=2)
            )
            self.counters["started"] += 1
        except OSError as error:
            self.counters["failed"] += 1
            say(f"{self._path} could not be started: {error.strerror}")

    def look(self) -> None:
        """Notes the programs that have ended."""
        ended = [p for p in self._running if p.poll() is not None]
        self._running = [p for p in self._running if p.returncode is None]
        for program in ended:
            if program.returncode:
                self.counters["failed"] += 1
                say(f"{self._path} {program.args[1]} ended with status {program.returncode}")

    def finish(self) -> None:
        """Waits a little for those that still run."""
        end = time.monotonic() + PATIENCE_S
        while self._running and time.monotonic() < end:
            time.sleep(POLL_S / 2)
            self.look()


def listened(args: argparse.Namespace) -> int:
    """Decides on what comes, until a signal or for ``args.seconds``."""
    from ..packets.address import bind, resolved

    programs = Programs(args.program) if args.program else None
    fill(args, confidence=TaskOptions.confidence)
    decider = CommandDecider(load_task(args.model), args.confidence)
    family, where = resolved(args.listen, True)
    heard = socket.socket(family, socket.SOCK_DGRAM)
    bind(heard, where, args.listen)
    heard.settimeout(POLL_S)
    say(f"listening at {args.listen} for {', '.join(decider.labels[:-2])}")
    began, refused = time.monotonic(), 0
    with ending.awaited():
        while not ending.signal:
            if args.seconds and time.monotonic() - began > args.seconds:
                break
            if programs is not None:
                programs.look()
            try:
                decision = decider.decide_packet(heard.recv(MOST_BYTES))
            except TimeoutError:
                continue
            except (OSError, ValueError) as error:
                refused += 1
                if refused == 1:
                    say(f"a packet is refused: {error}; more of them are counted")
                continue
            print(json.dumps(facts_of(decision)), flush=True)
            # The label is one of the model's list, whatever has come.
            if programs is not None and decision.understood:
                programs.run(decision.label)
    if programs is not None:
        programs.finish()
    if refused:
        say(f"{refused} packets were refused")
    # A signal is how it is meant to end.
    return 0

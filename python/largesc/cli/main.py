# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of ``largesc``: arguments, and errors as one line.

What needs more than the standard library is imported when it is used: `largesc doctor` runs where
all else is missing.
"""

import argparse
import contextlib
import os
import sys
from importlib import import_module

from .. import __version__
from ..packages import remedy
from .process import ending, fill_descriptors, usable_home
from .say import say

ADDRESS = "HOST:PORT"
NETWORKS = "UDP, ZMQ (zmq://...) or KISS (kiss://...)"
RECIPES = (
    "codec",
    "export",
    "tokens",
    "lm",
    "lora",
    "interpolation",
    "context",
    "controller",
    "analogue",
    "task-features",
    "task-words",
    "task-teacher",
    "task-logits",
    "task",
    "channel-code",
    "trained-code",
    "card",
)


def parser() -> argparse.ArgumentParser:
    """The command line with all its commands."""
    from ..options import NETWORK_DEADLINE_MS, ReceiverOptions, ReportOptions
    from .arguments import (
        add_channel,
        add_json,
        add_key,
        add_link,
        add_loopback,
        add_raw,
        add_receiver,
        add_sender,
    )

    top = argparse.ArgumentParser(
        prog="largesc", description="Speech as tokens over lossy packet links."
    )
    top.add_argument("--version", action="version", version=f"largesc {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    add_loopback(command("loopback", "send a file through sender, channel and receiver"))
    tx = command("tx", "speech to packets, over UDP or on stdout")
    tx.add_argument("input", nargs="?", default="-", help="audio file, - for stdin [-]")
    tx.add_argument("--to", metavar=ADDRESS, help=f"send in real time over {NETWORKS}")
    tx.add_argument(
        "--report-from", metavar=ADDRESS,
        help="listen there for the receiver's reports; over UDP they come back by themselves",
    )  # fmt: skip
    tx.add_argument(
        "--cautious-loss", type=float, default=ReportOptions.cautious_loss, metavar="P",
        help="p rises to this when no reports come back [%(default)s]",
    )  # fmt: skip
    tx.add_argument(
        "--call", type=int, default=0, metavar="N",
        help="number of the call, 1 to 65535, where several go to a gateway from one address",
    )  # fmt: skip
    channel = command("channel", "drop packets, between UDP or stdin and UDP or stdout")
    rx = command("rx", "packets to speech, from UDP or stdin")
    rx.add_argument("output", nargs="?", default="-", help="WAV file, - for stdout [-]")
    rx.add_argument(
        "--deadline-ms",
        type=int,
        metavar="MS",
        help="live: wait for copies or parity [80, with parity 960, for each frame of a packet]",
    )
    rx.add_argument(
        "--max-deadline-ms",
        type=int,
        metavar="MS",
        help="live: the wait may grow to this where packets come late; 0: fixed "
        f"[{NETWORK_DEADLINE_MS}]",
    )
    for part in (channel, rx):
        part.add_argument("--listen", metavar=ADDRESS, help=f"receive over {NETWORKS}")
        part.add_argument(
            "--seconds", type=float, default=0.0, help="stop after this; 0: at the end"
        )
    channel.add_argument("--to", metavar=ADDRESS, help=f"send over {NETWORKS}")
    rx.add_argument(
        "--report-to", metavar=ADDRESS,
        help="send reports there; default over UDP: where the last good packet came from",
    )  # fmt: skip
    rx.add_argument(
        "--report-interval-ms", type=float, default=ReportOptions.interval_ms, metavar="MS",
        help="at most one report in so many ms on average; 0: none [%(default)g]",
    )  # fmt: skip
    for part, adds in (
        (tx, (add_json, add_raw, add_link, add_key, add_sender)),
        (channel, (add_json, add_link, add_channel)),
        (rx, (add_json, add_raw, add_link, add_key, add_receiver)),
    ):
        for add in adds:
            add(part)
    rx.add_argument(
        "--seed", type=int, default=ReceiverOptions.seed, help="of the concealment [%(default)s]"
    )

    train = command("train", "train a model; each recipe has a --help of its own")
    train.add_argument("recipe", choices=RECIPES)
    command("doctor", "say what is installed and what is missing")
    command("task", "spoken commands over few symbols: say, listen, demo")
    command("study", "answer one question about the link; without a name, list them")
    demo = command("demo", "real speech at three loss settings, with pictures and a table")
    demo.add_argument("input", nargs="?", help="audio file; default: recordings of alsa-utils")
    demo.add_argument("--output", default="demo-output", help="folder [%(default)s]")
    command("analogue", "speech over simulated air without bits, below the SNR of packets")
    command("translate", "speech in another language to English, as features over the air")
    command("gateway", "many calls at one UDP port, each as RTP or a file")
    command("evaluate", "our link and others on the same speech and losses")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    fill_descriptors()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        # The doctor looks at the home as it is.
        home = contextlib.nullcontext() if given == ["doctor"] else usable_home()
        with ending.listening(), home:
            status = command_of(given)
    except KeyboardInterrupt:
        say("interrupted")
        status = ending.status()
    except BrokenPipeError:
        # Whoever read stdout has gone.
        status = 0
    except ImportError as error:
        say(remedy(error))
        status = 2
    except (ValueError, OSError) as error:
        say(words_of(error))
        status = 2
    return flushed(status)


def flushed(status: int) -> int:
    """Writes out what was printed; returns the exit status, another one where that fails."""
    if sys.stdout is None:
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try it again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            say(f"stdout cannot be written: {error.strerror}")
            return status or 2
    return status


def words_of(error: Exception) -> str:
    """Returns what an error says in one line, with the file's name where it has one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def command_of(given: list[str]) -> int:
    """Runs the command that ``given`` asks for."""
    if given == ["doctor"]:
        from .doctor import doctor

        return doctor()
    if given[:1] == ["train"] and given[1:2] and given[1] in RECIPES:
        # Recipes, studies and the evaluation have options of their own.
        module = given[1].replace("-", "_")
        import_module(f"..training.recipes.{module}", __package__).main(given[2:])
        return 0
    if given[:1] == ["task"]:
        from .task import task

        return task(given[1:])
    if given[:1] == ["analogue"]:
        from .analogue import analogue

        return analogue(given[1:])
    if given[:1] == ["study"]:
        return study(given[1:])
    if given[:1] == ["translate"]:
        from .translate import translate

        return translate(given[1:])
    if given[:1] == ["gateway"]:
        # numpy is loaded with it. The products of a frame are small: a second thread only costs.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from .gateway import gateway

        return gateway(given[1:])
    if given[:1] == ["evaluate"]:
        from .evaluate import evaluate

        return evaluate(given[1:])
    return run(parser().parse_args(given))


def study(arguments: list[str]) -> int:
    """Runs a study, which has options of its own; without a name, lists all."""
    from ..studies.study import run, summaries

    if not arguments or arguments[0] in ("-h", "--help"):
        for name, question in summaries().items():
            print(f"{name:18}{question}")
        print("\nlargesc study NAME --help has the options of one")
        return 0
    try:
        return run(arguments[0], arguments[1:])
    except RuntimeError as error:
        say(words_of(error))
        return 2


def run(args: argparse.Namespace) -> int:
    """Runs a command whose options are in :func:`parser`."""
    if args.command == "demo":
        from .demo import demo

        return demo(args)
    from . import link

    return getattr(link, args.command)(args)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Transceivers of radio.py and push_to_talk.py: dial and push to talk by hamlib's rigctld."""

import argparse
import signal
import sys
from collections.abc import Callable

from gnuradio.largesc.radio.rig import UPRIGHT_MODES, HamlibError, PushToTalk, Rig

# What a sound card holds when the flowgraph has ended, and a little more.
SAMPLES_S = 0.3


def add_rig(part: argparse.ArgumentParser) -> None:
    """The option of the rig."""
    part.add_argument(
        "--rig", metavar="HOST:PORT",
        help="rigctld, which keys the transmitter and turns the dial: 127.0.0.1:4532",
    )  # fmt: skip


def say(line: str) -> None:
    """A line about the rig on the console."""
    print(f"rig: {line}", file=sys.stderr)


def tuned_rig(args: argparse.Namespace) -> Rig | None:
    """The rig of ``--rig``, on the frequency of ``--frequency``; None without one.

    Raises:
        OSError: it does not answer, or refuses.
        ValueError: the address has another form.
    """
    if not args.rig:
        return None
    rig = Rig(args.rig)
    try:
        # Soapy and UHD have a dial of their own.
        if args.audio is not None and args.frequency:
            rig.set_frequency(args.frequency)
    except HamlibError:
        rig.close()
        raise
    if args.audio is not None:
        _check_mode(rig)
    return rig


def keyed_rig(args: argparse.Namespace) -> PushToTalk | None:
    """What keys the rig of ``--rig``, tuned; None without one.

    Raises:
        OSError: it does not answer, or refuses.
        ValueError: the address has another form.
    """
    rig = tuned_rig(args)
    if rig is None:
        return None
    try:
        return PushToTalk(rig, say)
    except HamlibError as error:
        rig.close()
        raise HamlibError(f"{error}: rigctld must key the rig, as with -P RIG") from error


def _check_mode(rig: Rig) -> None:
    """Says so where another mode than upper sideband is set; not every rig can tell."""
    try:
        mode = rig.mode()
    except HamlibError as error:
        say(f"{error}; see to it that it is on upper sideband")
        return
    if mode not in UPRIGHT_MODES:
        say(f"the mode is {mode}: set it to upper sideband (USB, or the data mode of it)")


def on_signals(stop: Callable[[], object]) -> None:
    """Ctrl-C, SIGTERM and a closed terminal call ``stop``.

    A shell lets what a script starts with `&` ignore SIGINT: it ends the program all the same. What
    `nohup` has started outlives its terminal, as it is meant to.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda *_: stop())


def stopped_by_signals() -> None:
    """Each of these signals raises KeyboardInterrupt, so that the key is released."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    on_signals(interrupt)

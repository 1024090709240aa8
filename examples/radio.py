#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech over the air: sender and receiver with a radio, or with a file or ZMQ in its place.

python examples/radio.py tx in.wav --simulate --to over.sigmf-data
python examples/radio.py rx out.wav --from over.sigmf-data
python examples/radio.py tx in.wav --analogue --simulate -3 --to over.sigmf-data
python examples/radio.py rx out.wav --device driver=rtlsdr --frequency 433.5e6 --sample-rate 250e3
python examples/radio.py tx in.wav --audio plughw:1,0 --rig 127.0.0.1:4532 --frequency 14.236e6
"""

import argparse
import contextlib
import json
import math
import sys
import threading
import time

from analogue_radio import AnalogueReceiver, AnalogueSender
from radio_console import SHOWN, short
from radio_flowgraphs import Receiver, Sender
from radio_options import check_analogue, parser
from transceiver import SAMPLES_S, keyed_rig, stopped_by_signals, tuned_rig


def flowgraph(args: argparse.Namespace) -> Sender | Receiver:
    """The sender or receiver that is meant.

    Raises:
        ValueError: an option is missing, or contradicts another.
    """
    check_analogue(args)
    if args.analogue:
        return AnalogueSender(args) if args.command == "tx" else AnalogueReceiver(args)
    return Sender(args) if args.command == "tx" else Receiver(args)


def run(tb: Sender | Receiver, args: argparse.Namespace) -> None:
    """Runs a flowgraph to its end, the seconds that were given, or a signal."""
    end = math.inf if args.seconds is None else time.monotonic() + args.seconds
    tb.start()
    over = threading.Event()
    threading.Thread(target=lambda: (tb.wait(), over.set()), daemon=True).start()
    read = ""
    try:
        if args.command == "rx" and args.window:
            from receiver_window import run_window

            run_window(tb, end - time.monotonic(), over.is_set, args.picture)
            end = 0.0
        while not over.wait(min(2.0, max(0.0, end - time.monotonic()))):
            print(short(tb.statistics(), SHOWN), file=sys.stderr)
            if args.command == "rx":
                read = tell_text(tb.text_line(), read)
                if line := tb.spectrum_line():
                    print(line, file=sys.stderr)
            if time.monotonic() >= end:
                break
    except KeyboardInterrupt:
        pass
    try:
        tb.sign_off()
    finally:
        tb.stop()
        over.wait()
    if args.command == "rx":
        tell_text(tb.text_line(), read)


def tell_text(line: str, before: str) -> str:
    """Says what was read, where that is new; returns it."""
    if line != before:
        print(f"text: {line}", file=sys.stderr)
    return line


def main(arguments: list[str] | None = None) -> int:
    """Runs the sender or the receiver; returns the exit status."""
    args = parser().parse_args(arguments)
    stopped_by_signals()
    try:
        with contextlib.ExitStack() as stack:
            tb = flowgraph(args)
            if args.command == "tx" and (rig := keyed_rig(args)) is not None:
                # Whatever comes, and when the sound card is empty.
                stack.callback(rig.close)
                rig.key(True)
                rig.wait()
                stack.callback(time.sleep, SAMPLES_S)
            elif (rig := tuned_rig(args)) is not None:
                rig.close()
            run(tb, args)
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        print(f"radio {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(tb.statistics()))
    return tb.close()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns an antenna by spoken commands, over hamlib's rotctld.

    rotctld -m 1 -t 4533                          # hamlib's dummy rotator, or your own
    largesc task listen --listen 127.0.0.1:52010 | python examples/rotator.py
    largesc task say commands.wav --to 127.0.0.1:52010

left, right: 10 degrees of azimuth; up, down: 10 of elevation; stop: stops; go: back to north.
Beyond the end of its range a rotator is turned the other way round to the same azimuth.
With a label as an argument it does that alone, for `largesc task listen --exec`.
"""

import argparse
import json
import sys

from gnuradio.largesc.cli.process import ending
from gnuradio.largesc.radio.rig import HamlibDaemon, HamlibRefusedError

STEP = 10.0
MOVES = {"left": (-STEP, 0.0), "right": (STEP, 0.0), "up": (0.0, STEP), "down": (0.0, -STEP)}


class Rotator(HamlibDaemon):
    """A rotator behind rotctld.

    Args:
        where: ``HOST:PORT`` of rotctld.

    Raises:
        OSError: nothing answers there, or later, it refuses.
        ValueError: ``where`` has another form.
    """

    def __init__(self, where: str) -> None:
        super().__init__(where, name="rotctld")

    def position(self) -> tuple[float, float]:
        """Azimuth and elevation in degrees."""
        azimuth, elevation = self.ask("p", 2)
        return float(azimuth), float(elevation)

    def turn(self, azimuth: float, elevation: float) -> None:
        """Begins to turn to a position in degrees, at any azimuth that is the same modulo 360.

        Raises:
            HamlibRefusedError: the rotator takes none of them.
        """
        refusals = []
        # Ranges of rotators are -180 to 180, 0 to 360, 0 to 450 and others.
        for same in (azimuth, azimuth - 360.0, azimuth + 360.0):
            try:
                self.ask(f"P {same:.1f} {elevation:.1f}")
                return
            except HamlibRefusedError as error:
                refusals.append(error)
        raise refusals[0]

    def do(self, label: str) -> bool:
        """Does what a command says; returns whether it is one of a rotator's."""
        if label == "stop":
            self.ask("S")
        elif label == "go":
            self.turn(0.0, 0.0)
        elif label in MOVES:
            azimuth, elevation = self.position()
            more, higher = MOVES[label]
            self.turn(azimuth + more, max(0.0, min(90.0, elevation + higher)))
        else:
            return False
        return True


def labels_of(lines: object) -> object:
    """Labels that were understood, of the JSON lines of ``largesc task listen``."""
    for line in lines:
        try:
            decision = json.loads(line)
        except ValueError:
            continue
        if isinstance(decision, dict) and decision.get("understood") is True:
            yield str(decision.get("label"))


def main(arguments: list[str] | None = None) -> int:
    """Turns until there are no more commands, or a signal comes; returns the exit status."""
    try:
        with ending.listening():
            return turned(arguments)
    except KeyboardInterrupt:
        return ending.status()


def turned(arguments: list[str] | None) -> int:
    """Does what is told; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("label", nargs="?", help="do this, and end; without it, read stdin")
    parser.add_argument("--rotctld", default="127.0.0.1:4533", metavar="HOST:PORT")
    args = parser.parse_args(arguments)
    try:
        rotator = Rotator(args.rotctld)
    except (OSError, ValueError) as error:
        print(f"rotator: {error}", file=sys.stderr)
        return 2
    refused = False
    try:
        for label in [args.label] if args.label else labels_of(sys.stdin):
            try:
                said = label if rotator.do(label) else f"{label} is no command of a rotator"
                azimuth, elevation = rotator.position()
                print(f"{said}: azimuth {azimuth:.1f}, elevation {elevation:.1f}", flush=True)
            except HamlibRefusedError as error:
                refused = True
                print(f"rotator: {label}: {error}", file=sys.stderr, flush=True)
    except OSError as error:
        print(f"rotator: {error}", file=sys.stderr)
        return 1
    finally:
        rotator.close()
    return 1 if refused and args.label else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Statistics of a command: one line, or JSON as docs/command-line.md has it."""

import argparse
import json
import math
import stat
import sys
from pathlib import Path

from .. import __version__
from ..files import writable_file
from .say import say

STDOUT = "-"
SIGNIFICANT_DIGITS = 6


def check_json(target: str | None, stdout_has: str) -> None:
    """Raises ValueError where the statistics cannot go to ``target``, before the work.

    Args:
        target: of ``--json``: a file, ``-`` for stdout, None for no JSON.
        stdout_has: what else goes to stdout; empty for nothing.
    """
    if target is None:
        return
    if target == STDOUT:
        if stdout_has:
            raise ValueError(f"--json: {stdout_has} to stdout: name a file, --json FILE.json")
        if sys.stdout is None:
            raise ValueError("--json: stdout is closed: name a file, --json FILE.json")
        return
    path = Path(target)
    device = path.exists() and not stat.S_ISREG(path.stat().st_mode)
    if path.suffix != ".json" and not device:
        # `largesc tx --json in.wav` must not write over the speech.
        raise ValueError(
            f"--json {target}: a file of statistics ends in .json; where none is meant, put --json "
            "behind the other arguments"
        )
    writable_file(path, f"--json {target}")


def rounded(value: object) -> object:
    """Numbers with six digits; what is no number, and no JSON, becomes None."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    return value


def document(command: str, statistics: dict, interrupted: bool) -> dict:
    """The statistics as they are written: what is of one block apart from the summary."""
    blocks = {name: facts for name, facts in statistics.items() if isinstance(facts, dict)}
    summary = {name: value for name, value in statistics.items() if name not in blocks}
    return {
        "largesc": __version__,
        "command": command,
        "interrupted": interrupted,
        "summary": rounded(summary),
        "blocks": rounded(blocks),
    }


def report(args: argparse.Namespace, statistics: dict, interrupted: bool = False) -> None:
    """Statistics as the user asked for them.

    Args:
        args: with ``command`` and ``json``.
        statistics: values of the summary, and dicts of counters by block.
        interrupted: the command did not come to its end.

    Raises:
        OSError: the file cannot be written.
    """
    whole = document(args.command, statistics, interrupted)
    say(", ".join(f"{name} {value}" for name, value in whole["summary"].items()))
    if args.json is None:
        return
    text = json.dumps(whole, allow_nan=False) + "\n"
    if args.json == STDOUT:
        sys.stdout.write(text)
    else:
        Path(args.json).write_text(text)

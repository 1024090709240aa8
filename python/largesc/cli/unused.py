# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a command that would do nothing beside others: they are refused, not ignored.

Such options have no default in the parser, so that None says that one was not given.
"""

import argparse
from collections.abc import Sequence

# Where the option is not called as its value is.
OPTIONS = {"snr_db": "--snr", "doppler_hz": "--doppler"}


def refuse_unused(
    args: argparse.Namespace, names: Sequence[str], where: str, remedy: str = ""
) -> None:
    """Refuses options that were given and would do nothing.

    Args:
        args: of the command line.
        names: of values that may be there.
        where: they would do nothing.
        remedy: what makes them do something, where ``{it}`` stands for them; empty: nothing does.

    Raises:
        ValueError: one was given.
    """
    given = [name for name in names if getattr(args, name, None) is not None]
    if given:
        options = " and ".join(OPTIONS.get(n, f"--{n.replace('_', '-')}") for n in given)
        it = "it" if len(given) == 1 else "them"
        ways = f"{remedy.format(it=it)}, or leave" if remedy else "leave"
        raise ValueError(f"{options} would do nothing {where}: {ways} {it} out")


def fill(args: argparse.Namespace, **defaults: object) -> None:
    """Gives options that were not given their defaults."""
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)

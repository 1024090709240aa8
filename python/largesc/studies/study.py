# SPDX-License-Identifier: GPL-3.0-or-later
"""What all studies share: their options, the folder that they write to, CSVs and figures."""

import argparse
import ast
from importlib import import_module
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

from ..files import writable_folder  # noqa: E402
from ..tables import write_csv  # noqa: E402
from . import STUDIES  # noqa: E402

__all__ = ["add_common", "at_least_one", "plt", "run", "save_figure", "save_rows", "summaries"]


def summaries() -> dict[str, str]:
    """The question of each study, by its name; nothing is imported for it."""
    found = {}
    for name, module in STUDIES.items():
        path = Path(__file__).parent / (module.replace(".", "/") + ".py")
        found[name] = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    return found


def add_common(parser: argparse.ArgumentParser, speech: bool = True, seed: int = 1) -> None:
    """Adds the options that mean the same in every study.

    Args:
        speech: whether the study sends any.
        seed: that the published figures were made with.
    """
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    if speech:
        parser.add_argument(
            "--speech",
            type=Path,
            required=True,
            help="audio file, folder, or tsv: path, corpus, speaker",
        )
    parser.add_argument("--seed", type=int, default=seed, help="of all that is drawn [%(default)s]")


def at_least_one(text: str) -> int:
    """An option's value that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: use 1 or more")
    return int(text)


def run(name: str, arguments: list[str]) -> int:
    """Runs the study ``name`` with the options ``arguments``; returns its exit status.

    Raises:
        ValueError: there is no such study, an option does not fit, or the
            folder of ``--output`` cannot be written.
    """
    if name not in STUDIES:
        raise ValueError(f"study {name!r} is unknown: use one of {', '.join(STUDIES)}")
    module = import_module(f".{STUDIES[name]}", __package__)
    parser = argparse.ArgumentParser(
        prog=f"largesc study {name}", description=module.__doc__.split("\n\n")[0]
    )
    module.add_options(parser)
    args = parser.parse_args(arguments)
    # Before the work, which may take hours.
    writable_folder(args.output)
    return module.study(args) or 0


def save_rows(args: argparse.Namespace, name: str, rows: list[dict]) -> None:
    """Writes rows as ``name``.csv to the folder of ``--output``."""
    write_csv(rows, args.output / f"{name}.csv")


def save_figure(args: argparse.Namespace, name: str, figure: plt.Figure, dpi: int = 90) -> None:
    """Writes a figure as ``name``.png to the folder of ``--output``, and closes it."""
    figure.savefig(args.output / f"{name}.png", dpi=dpi)
    plt.close(figure)

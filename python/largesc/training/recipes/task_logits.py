# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores what the teacher says of all views of the commands: top-K probabilities and indices.

    largesc train task-logits --work WORK

Each view is judged by the head that has not heard its speaker: a head says its own training speech
with certainty, which teaches nothing. ``WORK/task_logits.bin`` receives the rows.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..command_views import Views
from ..config import recipe_parser, start
from ..teacher_logits import LogitsOf, store
from .task_teacher import load_heads, logits_of, right

DEFAULT_CONFIG = Path(__file__).parent / "task_logits.yaml"
CONFIG_KEYS = ("seed", "k", "temperature")
# Logit of a label that is certain.
CERTAIN = 10.0


def views_of(work: Path) -> Views:
    """The views in ``work``.

    Raises:
        ValueError: there are none.
    """
    if not (work / "views.json").exists():
        raise ValueError(f"{work} holds no views of commands: run `largesc train task-teacher`")
    return Views(work)


def expected(work: Path, views: Views, k: int, temperature: float) -> LogitsOf:
    """Of what the logits in ``work`` must be.

    Raises:
        ValueError: the teacher has other labels, or heard other views.
    """
    state, _ = load_heads(work)
    if tuple(state["labels"]) != views.labels or state["views"] != views.sum:
        raise ValueError(
            f"the teacher in {work} was fitted to other labels or views: run task-teacher again"
        )
    name = f"{state['recogniser']} {state['sum'][:12]}"
    return LogitsOf(name, views.labels, views.sum, k or len(views.labels), temperature)


def fill(logits: torch.Tensor, views: Views) -> None:
    """Gives a view that the teacher has not heard the mean of its recording's other views.

    Where it has heard none, which is no command, it is what the label says.
    """
    heard = views.heard(np.arange(len(views.rows)))
    count = int(views.clip.max()) + 1
    total, times = torch.zeros(count, logits.shape[1]), torch.zeros(count, 1)
    of = heard[views.clip[heard] >= 0]
    total.index_add_(0, torch.from_numpy(views.clip[of]), logits[of])
    times.index_add_(0, torch.from_numpy(views.clip[of]), torch.ones(len(of), 1))
    rest = np.setdiff1d(np.arange(len(views.rows)), heard)
    known = (views.clip[rest] >= 0) & (times[views.clip[rest], 0] > 0).numpy()
    logits[rest[known]] = (total / times)[views.clip[rest[known]]]
    sure = torch.from_numpy(views.label[rest[~known]])
    logits[rest[~known]] = CERTAIN * F.one_hot(sure, logits.shape[1]).float()


def train(config: dict, work: Path) -> dict:
    """Stores the logits; returns sizes and how often they are right."""
    views = views_of(work)
    of = expected(work, views, config["k"], config["temperature"])
    _, heads = load_heads(work)
    found = torch.zeros(len(views.rows), len(views.labels))
    for name, head in heads.items():
        rows = views.heard(np.flatnonzero(views.fold == (-1 if name == "all" else int(name))))
        if len(rows):
            found[rows] = logits_of(head, views.features, rows)
    fill(found, views)

    def pieces() -> Iterator[torch.Tensor]:
        yield from found.split(4096)

    size = store(work / "task_logits.bin", of, len(views.labels), pieces())
    learned = np.flatnonzero(views.fold >= 0)
    heard = views.heard(learned)
    facts = {
        "bytes": size,
        "bytes_of_all_as_float32": found.numel() * 4,
        "right": right(found[learned], views.label[learned]),
        "right_of_heard": right(found[heard], views.label[heard]),
    }
    print(json.dumps(facts), flush=True)
    return facts


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train task-logits`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("task-logits", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    parser.add_argument("--k", type=int, help="in place of the config's")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    if args.k is not None:
        config["k"] = args.k
    train(config, args.work)


if __name__ == "__main__":
    main()

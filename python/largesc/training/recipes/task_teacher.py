# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits heads for spoken commands to the encoder of a large speech model, the teacher.

    largesc train task-teacher --commands FOLDER --other SPEECH --work WORK

``WORK/task_teacher.pt`` receives four heads: three that have not heard one third of the speakers
each, and one that has heard all.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ...evaluation.recogniser import JUDGE, SECOND
from ...features.student import MOST_SAMPLES
from ...files import replacing
from ..command_teacher import TeacherHead, WhisperFeatures
from ..command_views import FOLDS, Views, prepare
from ..commands import checked_labels, clips_of
from ..config import recipe_parser, start
from ..run import descend

DEFAULT_CONFIG = Path(__file__).parent / "task_teacher.yaml"
CONFIG_KEYS = ("seed", "labels", "bands", "fft", "views", "training")


def labels_of(config: dict, commands: list[Path]) -> tuple[str, ...]:
    """The config's labels, or all that ``commands`` has recordings of."""
    if config["labels"] == []:
        said = sorted({clip.label for source in commands for clip in clips_of(source)})
        return checked_labels([name for name in said if not name.startswith("_")])
    return checked_labels(config["labels"])


def fit(
    features: np.ndarray, views: Views, chosen: np.ndarray, facts: dict, seed: int
) -> TeacherHead:
    """A head that has heard the rows ``chosen``."""
    torch.manual_seed(seed)
    head = TeacherHead(features.shape[2], len(views.labels))
    optimiser = torch.optim.AdamW(head.parameters(), lr=facts["rate"], weight_decay=1e-2)
    steps = max(1, facts["epochs"] * len(chosen) // facts["batch"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, facts["rate"], total_steps=steps)
    rng, label = np.random.default_rng(seed), torch.from_numpy(views.label)
    for _ in range(steps):
        rows = np.sort(rng.choice(chosen, min(facts["batch"], len(chosen)), replace=False))
        heard = torch.from_numpy(features[rows].astype(np.float32))
        descend(
            optimiser,
            F.cross_entropy(head(heard), label[rows], label_smoothing=facts["smoothing"]),
        )
        schedule.step()
    return head.eval()


@torch.no_grad()
def logits_of(head: TeacherHead, features: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    """Returns the head's logits ``[rows, labels]`` of stored features."""
    found = [
        head(torch.from_numpy(features[part].astype(np.float32)))
        for part in np.array_split(rows, max(1, len(rows) // 512))
    ]
    return torch.cat(found)


def right(logits: torch.Tensor, label: np.ndarray) -> float:
    """Share of rows whose greatest logit is their label's."""
    return float((logits.argmax(1).numpy() == label).mean()) if len(label) else float("nan")


def train(
    config: dict, work: Path, commands: list[Path], other: Path | None, recogniser: str
) -> dict:
    """Fits the heads and writes them; returns what was measured."""
    labels = labels_of(config, commands)
    whisper = WhisperFeatures(recogniser)
    views = prepare(work, labels, commands, other, config, whisper)
    if (features := views.features) is None:
        raise ValueError(f"{work} holds views without a teacher: take another work folder")
    facts, found, heads = config["training"], {}, {}
    for fold in [*range(FOLDS), "all"]:
        chosen = views.heard(np.flatnonzero((views.fold >= 0) & (views.fold != fold)))
        heads[str(fold)] = fit(features, views, chosen, facts, config["seed"])
        unseen = views.heard(np.flatnonzero(views.fold == (-1 if fold == "all" else fold)))
        plain = unseen[views.number[unseen] == 0]
        for name, rows in ((f"unseen_{fold}", unseen), (f"unseen_{fold}_as_it_is", plain)):
            found[name] = right(logits_of(heads[str(fold)], features, rows), views.label[rows])
        print(f"head {fold}: {found}", flush=True)
    one, times = np.zeros((1, MOST_SAMPLES), np.float32), []
    for _ in range(20):
        began = time.perf_counter()
        whisper(one)
        times.append(1e3 * (time.perf_counter() - began))
    found["encoder_ms"] = float(np.median(times))
    found["head_weights"] = sum(p.numel() for p in heads["all"].parameters())
    state = {name: head.state_dict() for name, head in heads.items()}
    with replacing(work / "task_teacher.pt") as partial:
        torch.save(
            {"heads": state, "labels": labels, "views": views.sum, "recogniser": recogniser,
             "sum": whisper.sum, "width": features.shape[2]},
            partial,
        )  # fmt: skip
    with replacing(work / "task_teacher.json") as partial:
        partial.write_text(json.dumps(found, indent=2) + "\n")
    return found


def load_heads(work: Path) -> tuple[dict, dict[str, TeacherHead]]:
    """Facts and heads that :func:`train` wrote.

    Raises:
        ValueError: there are none.
    """
    path = work / "task_teacher.pt"
    if not path.exists():
        raise ValueError(f"{path} is missing: run `largesc train task-teacher` first")
    state = torch.load(path, weights_only=True, map_location="cpu")
    heads = {}
    for name, weights in state.pop("heads").items():
        heads[name] = TeacherHead(state["width"], len(state["labels"])).eval()
        heads[name].load_state_dict(weights)
    return state, heads


def add_speech(parser: object, required: bool = True, other: bool = True) -> None:
    """Adds the options that name the recordings."""
    parser.add_argument(
        "--commands", type=Path, nargs="+", required=required,
        help="folders with a folder of recordings a label, or tables: path, label, speaker",
    )  # fmt: skip
    if other:
        parser.add_argument("--other", type=Path, help="speech that is no command, folder or table")


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train task-teacher`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("task-teacher", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    add_speech(parser)
    parser.add_argument(
        "--recogniser", default=SECOND, help="whose encoder teaches, never the judge [%(default)s]"
    )
    args = parser.parse_args(arguments)
    if args.recogniser == JUDGE:
        parser.error(f"--recogniser {JUDGE} judges and must not teach: use {SECOND}, or a folder")
    config = start(args, CONFIG_KEYS)
    train(config, args.work, args.commands, args.other, args.recogniser)


if __name__ == "__main__":
    main()

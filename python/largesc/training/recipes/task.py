# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the task link through noise and fading, taught by stored logits of a large model.

    largesc train task --work WORK --output MODEL

``--output`` receives ``task.json`` and ``task.safetensors``.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ...channel.symbols import KINDS, SymbolChannel
from ...channel_codec.snr_adaptive import AdaptiveConfig
from ...features.student import StudentConfig
from ...models.store import save_model, write_sha256
from ...tasks.model import TaskConfig, TaskModel, load_task
from ..command_batches import Batches
from ..command_views import Views, prepare
from ..config import read_config, recipe_parser, start
from ..run import CountedRun, average_into, descend
from ..teacher_logits import TeacherLogits
from .task_features import load_layers
from .task_logits import expected, views_of
from .task_teacher import CONFIG_KEYS as TEACHER_KEYS
from .task_teacher import DEFAULT_CONFIG as TEACHER_CONFIG
from .task_teacher import add_speech, labels_of

DEFAULT_CONFIG = Path(__file__).parent / "task.yaml"
CONFIG_KEYS = ("seed", "student", "codec", "teacher", "training")
# Of each step's weights in their running mean.
AVERAGE_SHARE = 0.005
PIECE = 512
DEV_SNR_DB = (-15.0, -5.0, 5.0, 20.0)


def hard_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Returns the cross-entropy with the label, smoothed by 0.05."""
    return F.cross_entropy(logits, label, label_smoothing=0.05)


def loss_of(
    logits: torch.Tensor, label: torch.Tensor, taught: torch.Tensor | None, facts: dict
) -> torch.Tensor:
    """Cross-entropy with the label and with what the teacher said at its temperature."""
    hard = hard_loss(logits, label)
    if taught is None:
        return hard
    heat = facts["temperature"]
    soft = -(taught * F.log_softmax(logits / heat, dim=1)).sum(dim=1).mean() * heat**2
    return (1.0 - facts["weight"]) * hard + facts["weight"] * soft


def through_channel(
    model: TaskModel,
    logits: torch.Tensor,
    label: torch.Tensor,
    facts: dict,
    draws: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Losses of one group: one SNR, channel and number of symbols.

    By the labels alone: what a teacher says is softer, which costs at low SNR.
    """
    snr_db = float(draws.uniform(*facts["snr_db"]))
    symbols = int(draws.choice(model.config.codec.symbols))
    channel = SymbolChannel(KINDS[draws.integers(2)], snr_db, int(draws.integers(2**31)))
    snr = torch.full((len(logits),), snr_db)
    x = model.codec(logits, snr, symbols)
    rate = model.codec.rate(x, snr, label)
    y, h = channel(x)
    absent = torch.from_numpy(draws.random(len(logits)) < facts["absent"])
    y = torch.where(absent[:, None], y - h * x, y)
    label = torch.where(absent, model.config.codec.classes - 1, label)
    received = model.codec.receive(y, h, snr, symbols)
    return {"link": hard_loss(received, label), "rate": rate}


def trusted(
    views: Views, rows: np.ndarray, logits: TeacherLogits | None, least: float
) -> np.ndarray:
    """The rows to whose label the teacher gives a probability of ``least`` or more."""
    if logits is None or least <= 0:
        return rows
    likely = logits.probabilities(rows)[np.arange(len(rows)), views.label[rows]].numpy()
    return rows[likely >= least]


@torch.no_grad()
def development(model: TaskModel, views: Views, rows: np.ndarray) -> dict[str, float]:
    """Share of ``rows`` that is right: before the channel, by corpus, and behind it by SNR."""
    model.eval()
    mel = torch.from_numpy(views.mel[rows].astype(np.float32))
    label, corpus = torch.from_numpy(views.label[rows]), views.corpus[rows]
    logits = torch.cat([model.student(part) for part in mel.split(PIECE)])
    right = (logits.argmax(1) == label).numpy()
    found = {"right": float(right.mean())}
    found |= {f"right_{name}": float(right[corpus == name].mean()) for name in np.unique(corpus)}
    symbols = sorted(model.config.codec.symbols)[len(model.config.codec.symbols) // 2]
    for snr_db in DEV_SNR_DB:
        snr = torch.full((len(mel),), snr_db)
        y, h = SymbolChannel("awgn", snr_db)(model.codec(logits, snr, symbols))
        received = model.codec.receive(y, h, snr, symbols)
        found[f"right_{snr_db:g}_db"] = float((received.argmax(1) == label).float().mean())
    return found


def freeze_encoder(model: TaskModel, source: str) -> None:
    """Takes the encoder of another model of the same labels, which is trained no further.

    Raises:
        ValueError: it has other labels or sizes.
    """
    other = load_task(source)
    if other.config.labels != model.config.labels or other.config.student != model.config.student:
        raise ValueError(f"--encoder {source!r} has other labels or sizes than the config")
    model.student.load_state_dict(other.student.state_dict())
    model.student.requires_grad_(False).eval()


def trained_groups(model: TaskModel, layers_share: float) -> list[dict]:
    """What is trained: the encoder's layers with that share of the learning rate, and the rest."""
    layers = {id(p) for p in model.student.layers.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    of_layers = [p for p in trained if id(p) in layers]
    rest = [p for p in trained if id(p) not in layers]
    return [{"params": rest}, {"params": of_layers, "share": layers_share}]


def train(
    config: dict,
    work: Path,
    checkpoint: str = "task",
    encoder: str | None = None,
    layers: str | None = None,
) -> TaskModel:
    """Trains for the config's steps in all; returns the running mean of the weights.

    Args:
        config: of the recipe.
        work: folder of views and logits.
        checkpoint: its name.
        encoder: source of a model whose encoder stays as it is; None: it is trained as well.
        layers: source of those to begin with, see :func:`.task_features.load_layers`; None:
            random ones.

    Raises:
        ValueError: views, logits or layers are missing, or of something else.
    """
    views, facts, teacher = views_of(work), config["training"], dict(config["teacher"])
    logits = None
    if teacher["weight"] > 0 or teacher["trust"] > 0:
        logits = TeacherLogits(work / "task_logits.bin")
        teacher["temperature"] = logits.of.temperature
        of = expected(work, views, logits.of.k, logits.of.temperature)
        logits = TeacherLogits(work / "task_logits.bin", of)
    classes = len(views.labels)
    codec = config["codec"] | {"symbols": tuple(config["codec"]["symbols"])}
    student = config["student"] | {"channels": tuple(config["student"]["channels"])}
    model = TaskModel(
        TaskConfig(
            views.labels,
            StudentConfig(classes, **student),
            AdaptiveConfig(classes, **codec),
        )
    )
    if (views.mel.shape[1], views.fft) != (model.config.student.bands, model.config.student.fft):
        raise ValueError(f"the views in {work} have other bands or fft than the config's student")
    if layers is not None:
        load_layers(layers, model.student)
    if encoder is not None:
        freeze_encoder(model, encoder)
    average = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(
        trained_groups(model, 1.0 if layers is None else facts["layers_rate"]),
        lr=facts["rate"], weight_decay=1e-2,
    )  # fmt: skip
    told = config | {"encoder_of": encoder, "layers": layers}
    run = CountedRun(work / f"{checkpoint}.pt", told, facts["steps"])
    run.keep(model=model, average=average, optimiser=optimiser)
    learned = trusted(views, np.flatnonzero(views.fold >= 0), logits, teacher["trust"])
    said = logits if teacher["weight"] > 0 else None
    batches = Batches(views, learned, said, teacher["k"], config["seed"] + run.step)
    draws = np.random.default_rng(config["seed"] + run.step)
    kept = np.flatnonzero(views.fold < 0)
    kept = kept if len(kept) else learned[:512]
    first = run.step
    for _ in run.steps(optimiser, facts["rate"], lambda: development(average, views, kept)):
        voices = run.step < facts["voices"] * facts["steps"]
        mel, label, taught = batches.draw(facts["batch"], voices)
        order = torch.from_numpy(draws.permutation(len(mel)))
        mel, label = mel[order], label[order]
        taught = None if taught is None else taught[order]
        found = model.student(mel)
        loss = torch.zeros(())
        if encoder is None:
            loss = facts["encoder"] * loss_of(found, label, taught, teacher)
        rates = 0.0
        for rows in torch.arange(len(mel)).chunk(facts["groups"]):
            one = through_channel(model, found[rows], label[rows], facts, draws)
            loss = loss + (one["link"] + facts["bottleneck"] * one["rate"]) / facts["groups"]
            rates += float(one["rate"].detach()) / facts["groups"]
        descend(optimiser, loss)
        share = max(AVERAGE_SHARE, 1.0 / (run.step + 2))
        average_into(average, model, share)
        run.now = {"loss": float(loss.detach()), "rate": rates}
    if run.step > first:
        run.report(**run.now, **development(average, views, kept))
        run.save()
    return average.eval()


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train task`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("task", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--steps", type=int, help="in place of the config's")
    parser.add_argument("--name", default="task", help="of the checkpoint in WORK [%(default)s]")
    add_speech(parser, required=False)
    parser.add_argument(
        "--views", type=Path, default=TEACHER_CONFIG,
        help="YAML of task-teacher, where WORK has no views yet: they are made without a teacher",
    )  # fmt: skip
    parser.add_argument(
        "--all-labels", action="store_true", help="each folder of --commands is a label"
    )
    parser.add_argument("--encoder", help="model whose encoder is taken as it is")
    parser.add_argument(
        "--layers", help="to begin with: a file of task-features, `embedded`, or a model's folder"
    )
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    if args.steps is not None:
        config["training"]["steps"] = args.steps
    if args.commands is not None:
        facts = read_config(args.views, TEACHER_KEYS)
        facts["labels"] = [] if args.all_labels else facts["labels"]
        labels = labels_of(facts, args.commands)
        prepare(args.work, labels, args.commands, args.other, facts)
        if not (args.work / "task_logits.bin").exists():
            print(f"{args.work} has no logits of a teacher: labels alone are learned", flush=True)
            config["teacher"] |= {"weight": 0.0, "trust": 0.0}
    model = train(config, args.work, args.name, args.encoder, args.layers)
    save_model(model, model.config.as_dict(), args.output, "task")
    write_sha256(args.output)


if __name__ == "__main__":
    main()

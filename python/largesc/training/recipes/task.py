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
from ...features.student import RANGE_DECADES, StudentConfig
from ...models.store import save_model, write_sha256
from ...tasks.model import TaskConfig, TaskModel, load_task
from ..command_views import Views, prepare
from ..config import read_config, recipe_parser, start
from ..run import Run, descend
from ..teacher_logits import TeacherLogits
from .task_logits import expected, views_of
from .task_teacher import CONFIG_KEYS as TEACHER_KEYS
from .task_teacher import DEFAULT_CONFIG as TEACHER_CONFIG
from .task_teacher import add_speech, labels_of

DEFAULT_CONFIG = Path(__file__).parent / "task.yaml"
CONFIG_KEYS = ("seed", "student", "codec", "teacher", "training")
# Of each step's weights in their running mean.
AVERAGE_SHARE = 0.005
# Of one unit of a log-mel spectrum.
DECADES = RANGE_DECADES / 2.0
DEV_SNR_DB = (-15.0, -5.0, 5.0, 20.0)


class CountedRun(Run):
    """A run of so many steps: what is compared must not depend on what else the machine does."""

    def __init__(self, path: Path, config: dict, steps: int) -> None:
        super().__init__(path, config, minutes=0.0)
        self.most = steps

    def over(self) -> bool:
        # What is left, as far as that can be known.
        self.minutes = self.seconds / max(self.step, 1) * self.most / 60
        return self.step >= self.most

    def rate_factor(self, warm_up_steps: int = 100) -> float:
        left = 1.0 - self.step / self.most
        return min(1.0, (self.step + 1) / warm_up_steps) * max(0.05, left)


class Batches:
    """Batches of views, of each label about as often.

    Args:
        views: of the recordings.
        rows: to draw from.
        logits: of the teacher; None: what the labels say.
        k: of the stored probabilities that are used.
        seed: of the choice.
    """

    def __init__(
        self, views: Views, rows: np.ndarray, logits: TeacherLogits | None, k: int, seed: int
    ) -> None:
        self.views, self.rows, self.logits, self.k = views, rows, logits, k
        self.rng = np.random.default_rng(seed)
        count = np.bincount(views.label[rows], minlength=len(views.labels))
        self.noise = rows[views.label[rows] == len(views.labels) - 1]
        share = 1.0 / np.sqrt(np.maximum(count, 1))[views.label[rows]]
        self.share = share / share.sum()

    def draw(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Spectra, labels, and the teacher's probabilities."""
        rows = np.sort(self.rng.choice(self.rows, size, p=self.share))
        mel = self._masked(self._noisy(self.views.mel[rows].astype(np.float32)))
        label = torch.from_numpy(self.views.label[rows])
        taught = None if self.logits is None else self.logits.probabilities(rows, self.k)
        return torch.from_numpy(mel), label, taught

    def _noisy(self, mel: np.ndarray) -> np.ndarray:
        """Every second one through another microphone, and in more noise."""
        chosen = np.flatnonzero(self.rng.random(len(mel)) < 0.5)
        if not len(chosen) or not len(self.noise):
            return mel
        count, bands = len(chosen), mel.shape[1]
        knots = self.rng.uniform(-0.4, 0.4, (count, 5))
        at = np.linspace(0, 4, bands)
        tilt = np.stack([np.interp(at, np.arange(5), row) for row in knots])[:, :, None]
        noise = self.views.mel[self.rng.choice(self.noise, count)].astype(np.float32)
        below = self.rng.uniform(0.3, 3.0, (count, 1, 1))
        # In decades below the loudest, as LogMel has it.
        power = 10.0 ** (DECADES * (mel[chosen] - 1.0) + tilt)
        power += 10.0 ** (DECADES * (noise - 1.0) - below)
        decades = np.log10(power)
        decades -= decades.max(axis=(1, 2), keepdims=True)
        mel[chosen] = np.maximum(1.0 + decades / DECADES, -1.0)
        return mel

    def _masked(self, mel: np.ndarray) -> np.ndarray:
        """Later or earlier by up to 80 ms, with a band and a stretch left out (SpecAugment)."""
        for one in mel:
            one[:] = np.roll(one, self.rng.integers(-8, 9), axis=1)
            band, width = self.rng.integers(0, mel.shape[1]), self.rng.integers(0, 7)
            one[band : band + width] = -1.0
            at, length = self.rng.integers(0, mel.shape[2]), self.rng.integers(0, 16)
            one[:, at : at + length] = -1.0
        return mel


def loss_of(
    logits: torch.Tensor, label: torch.Tensor, taught: torch.Tensor | None, facts: dict
) -> torch.Tensor:
    """Cross-entropy with the label and with what the teacher said at its temperature."""
    hard = F.cross_entropy(logits, label, label_smoothing=0.05)
    if taught is None:
        return hard
    heat = facts["temperature"]
    soft = -(taught * F.log_softmax(logits / heat, dim=1)).sum(dim=1).mean() * heat**2
    return (1.0 - facts["weight"]) * hard + facts["weight"] * soft


def through_channel(
    model: TaskModel,
    logits: torch.Tensor,
    label: torch.Tensor,
    taught: torch.Tensor | None,
    facts: dict,
    teacher: dict,
    draws: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Losses of one group: one SNR, channel and number of symbols."""
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
    if taught is not None:
        nothing = F.one_hot(label, model.config.codec.classes).float()
        taught = torch.where(absent[:, None], nothing, taught)
    received = model.codec.receive(y, h, snr, symbols)
    return {"link": loss_of(received, label, taught, teacher), "rate": rate}


@torch.no_grad()
def development(model: TaskModel, mel: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Share that is right: before the channel, and behind it by SNR."""
    model.eval()
    logits = model.student(mel)
    found = {"right": float((logits.argmax(1) == label).float().mean())}
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


def train(
    config: dict, work: Path, checkpoint: str = "task", encoder: str | None = None
) -> TaskModel:
    """Trains for the config's steps in all; returns the running mean of the weights.

    Args:
        config: of the recipe.
        work: folder of views and logits.
        checkpoint: its name.
        encoder: source of a model whose encoder stays as it is; None: it is trained as well.

    Raises:
        ValueError: views or logits are missing, or of something else.
    """
    views, facts, teacher = views_of(work), config["training"], dict(config["teacher"])
    logits = None
    if teacher["weight"] > 0:
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
    if encoder is not None:
        freeze_encoder(model, encoder)
    average = copy.deepcopy(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=facts["rate"], weight_decay=1e-2)
    run = CountedRun(work / f"{checkpoint}.pt", config, facts["steps"])
    run.keep(model=model, average=average, optimiser=optimiser)
    learned = np.flatnonzero(views.fold >= 0)
    batches = Batches(views, learned, logits, teacher["k"], config["seed"] + run.step)
    draws = np.random.default_rng(config["seed"] + run.step)
    kept = np.flatnonzero(views.fold < 0)
    kept = kept if len(kept) else learned[:512]
    dev = torch.from_numpy(views.mel[kept].astype(np.float32)), torch.from_numpy(views.label[kept])
    for _ in run.steps(optimiser, facts["rate"], lambda: development(average, *dev)):
        mel, label, taught = batches.draw(facts["batch"])
        order = torch.from_numpy(draws.permutation(len(mel)))
        mel, label = mel[order], label[order]
        taught = None if taught is None else taught[order]
        found = model.student(mel)
        loss = torch.zeros(())
        if encoder is None:
            loss = facts["encoder"] * loss_of(found, label, taught, teacher)
        rates = 0.0
        for rows in torch.arange(len(mel)).chunk(facts["groups"]):
            soft = None if taught is None else taught[rows]
            one = through_channel(model, found[rows], label[rows], soft, facts, teacher, draws)
            loss = loss + (one["link"] + facts["bottleneck"] * one["rate"]) / facts["groups"]
            rates += float(one["rate"].detach()) / facts["groups"]
        descend(optimiser, loss)
        share = max(AVERAGE_SHARE, 1.0 / (run.step + 2))
        with torch.no_grad():
            for mean, now in zip(
                average.state_dict().values(), model.state_dict().values(), strict=True
            ):
                mean.lerp_(now, share) if mean.is_floating_point() else mean.copy_(now)
        run.now = {"loss": float(loss.detach()), "rate": rates}
    run.report(**run.now, **development(average, *dev))
    return average.eval()


def main(arguments: list[str] | None = None) -> None:
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
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    if args.steps is not None:
        config["training"]["steps"] = args.steps
    if args.commands is not None:
        facts = read_config(args.views, TEACHER_KEYS)
        facts["labels"] = [] if args.all_labels else facts["labels"]
        labels = labels_of(facts, args.commands)
        prepare(args.work, labels, args.commands, args.other, facts)
    model = train(config, args.work, args.name, args.encoder)
    save_model(model, model.config.as_dict(), args.output, "task")
    write_sha256(args.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the context model of the latent on tokens that went through the link's losses.

    largesc train context --config context.yaml --work WORK --codec MODEL --output MODEL

Two stages: against the true latent, then through the decoder against what a recogniser reads.
The checkpoints in ``--work`` are resumed; ``--output`` receives ``context.json`` and
``context.safetensors``.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...codec.codebooks import codebooks_of
from ...codec.load import load_codec
from ...concealment.context_model import ContextConfig, ContextModel
from ...evaluation.recogniser import JUDGE, SECOND, weights_folder
from ...models.store import save_model, write_sha256
from ...speech.format import FRAME_SAMPLES
from ..config import recipe_parser, start
from ..link_patterns import LinkPatterns
from ..run import Run, descend
from ..speech import Utterance, cached, split
from ..token_sets import TokenSet, load
from ..words import Lessons, Teacher

DEFAULT_CONFIG = Path(__file__).parent / "context.yaml"
CONFIG_KEYS = ("seed", "model", "stages", "languages", "patterns")
# Frames count by loudness (the power's 0.3), on top of this much of the loudest.
LEAST_WEIGHT, LOUDEST_DBFS = 0.2, -18.0
# Of each step's weights in their running mean.
AVERAGE_SHARE = 0.02
DEV_CROPS, DEV_PREFIXES = 48, (1, 2, 3, 4, 6, 8)


class ReceivedCrops:
    """Random crops of what arrives, and of what was sent.

    Args:
        found: tokens, latents and levels.
        books: entries of the codebooks, ``[8, entries, dimension]``.
        frames: frames a crop.
        patterns: what arrives.
        seed: of the crops.

    Raises:
        ValueError: there are not so many frames, or the tokens have no levels.
    """

    def __init__(
        self, found: TokenSet, books: np.ndarray, frames: int, patterns: LinkPatterns, seed: int
    ) -> None:
        if len(found.tokens) <= frames + 1:
            raise ValueError(
                f"{len(found.tokens)} frames of tokens are too few for crops of {frames}: give "
                "more speech to `largesc train tokens`, or set fewer frames in the config"
            )
        if found.levels is None:
            raise ValueError("the tokens have no levels: run `largesc train tokens` again")
        self.found, self.books, self.frames = found, books, frames
        self.patterns, self.rng = patterns, np.random.default_rng(seed)

    def batch(self, size: int) -> dict[str, torch.Tensor]:
        """Inputs of the model by name, ``latent`` and ``weight`` ``[size, frames]``."""
        # Crops may run into the next utterance: a cut is what a real link sees as well.
        first = self.rng.integers(0, len(self.found.tokens) - self.frames, size)
        return self.received(first[:, None] + np.arange(self.frames + 1))

    def received(
        self, rows: np.ndarray, counts: tuple[np.ndarray, np.ndarray] | None = None
    ) -> dict[str, torch.Tensor]:
        """As :meth:`batch`, of frames ``rows`` ``[B, T + 1]``.

        Args:
            rows: numbers of frames; the last of each row is only looked at.
            counts: tokens that arrive of each frame and of the one behind; None: drawn.
        """
        latent = self.found.latents[rows].astype(np.float32)
        sums = prefix_sums(self.found.tokens[rows], self.books)
        loudness = loudness_of(self.found.levels[rows])
        if counts is None:
            weighted = distortions(latent, sums) * loudness[..., None]
            counts = self.patterns.draw(weighted[:, :-1])
        own, behind = counts
        crop, frame = np.ogrid[: rows.shape[0], : rows.shape[1] - 1]
        found = {
            "own": sums[crop, frame, own],
            "own_count": own.astype(np.int64),
            "following": sums[crop, frame + 1, behind],
            "following_count": behind.astype(np.int64),
            "latent": latent[:, :-1],
            "weight": weight_of(loudness[:, :-1]),
        }
        return {name: torch.from_numpy(value) for name, value in found.items()}


def loudness_of(levels_dbfs: np.ndarray) -> np.ndarray:
    """Power's 0.3 by that of a loud frame, float32 as the levels are shaped."""
    return 10.0 ** (0.03 * (levels_dbfs.astype(np.float32) - LOUDEST_DBFS))


def weight_of(loudness: np.ndarray) -> np.ndarray:
    """What the error of a frame counts, 0.2 to 1.5."""
    return (LEAST_WEIGHT + loudness).clip(max=1.5)


def prefix_sums(tokens: np.ndarray, books: np.ndarray) -> np.ndarray:
    """What the first 0 to 8 tokens of each frame add up to, ``[..., 9, dimension]``."""
    entries = books[np.arange(books.shape[0]), tokens]
    zero = np.zeros_like(entries[..., :1, :])
    return np.concatenate([zero, np.cumsum(entries, axis=-2)], axis=-2)


def distortions(latent: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Squared errors as ``EncodedFrame.distortion``, ``[B, T, 9]``."""
    found = np.square(latent[..., None, :] - sums).sum(axis=-1)
    before = np.concatenate([latent[:, :1], latent[:, :-1]], axis=1)
    found[..., 0] = np.square(latent - before).sum(axis=-1)
    return found


def predicted(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Latents ``[B, T, dimension]`` that the model gives for a batch."""
    return model(batch["own"], batch["own_count"], batch["following"], batch["following_count"])[0]


def energy_left(model: nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Squared error as a share of the latent's energy, louder frames counting more."""
    weight = batch["weight"][..., None]
    error = (weight * (predicted(model, batch) - batch["latent"]).square()).sum()
    return float(error / (weight * (batch["latent"] - model.mean).square()).sum())


class Development:
    """Energy that is left on development speech, by prefix and by channel."""

    def __init__(self, crops: ReceivedCrops) -> None:
        rows = len(crops.found.tokens) - crops.frames - 1
        first = np.linspace(0, rows, DEV_CROPS).astype(int)
        places = first[:, None] + np.arange(crops.frames + 1)
        shape = (DEV_CROPS, crops.frames)
        self.batches = {
            f"left_{k}": crops.received(places, (np.full(shape, k), np.full(shape, k)))
            for k in DEV_PREFIXES
        }
        for name, loss, burst in (("uniform", 0.3, 1.0), ("burst", 0.2, 3.0)):
            crops.patterns.rng = np.random.default_rng(7)
            crops.patterns.fixed = (loss, burst, 6.0)
            self.batches[f"left_{name}"] = crops.received(places)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Returns the share of energy that is left, by name of the case."""
        model.eval()
        found = {name: energy_left(model, batch) for name, batch in self.batches.items()}
        model.train()
        return found


def start_from_statistics(model: nn.Module, latents: np.ndarray) -> None:
    """Sets ``mean`` and ``deviation`` of a model to those of the training latents."""
    sample = latents[:: max(1, len(latents) // 200_000)].astype(np.float32)
    model.mean.copy_(torch.from_numpy(sample.mean(axis=0)))
    model.deviation.copy_(torch.from_numpy(sample.std(axis=0)).clamp(min=1e-3))


def latent_error(
    model: ContextModel, latent: torch.Tensor, batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Weighted squared error as a share of the latent's variance."""
    error = (latent - batch["latent"]).square().mean(dim=-1) / model.deviation.square().mean()
    return (error * batch["weight"]).sum() / batch["weight"].sum()


def optimiser_of(
    model: nn.Module, rate: float, betas: tuple[float, float] = (0.9, 0.98)
) -> torch.optim.Optimizer:
    """Makes the optimiser of one stage, with a weight decay of 0.01."""
    return torch.optim.AdamW(model.parameters(), lr=rate, betas=betas, weight_decay=1e-2)


def train_latent(
    model: ContextModel, crops: ReceivedCrops, dev: Development, facts: dict, run: Run
) -> None:
    """Stage ``latent``: weighted squared error."""
    optimiser = optimiser_of(model, facts["rate"])
    run.keep(model=model, optimiser=optimiser)
    for _ in run.steps(optimiser, facts["rate"], lambda: dev.evaluate(model)):
        batch = crops.batch(facts["batch"])
        loss = latent_error(model, predicted(model, batch), batch)
        descend(optimiser, loss)
        run.now = {"loss": float(loss.detach())}


def train_words(
    model: ContextModel,
    crops: ReceivedCrops,
    lessons: Lessons,
    dev: Development,
    facts: dict,
    run: Run,
) -> ContextModel:
    """Stage ``words``: what Whisper reads in crops of speech, and their latent.

    Returns:
        the running mean of the weights: a step hears seconds of speech only.
    """
    optimiser = optimiser_of(model, facts["rate"], betas=(0.95, 0.99))
    average = copy.deepcopy(model)
    run.keep(model=model, optimiser=optimiser, average=average)
    weights, means = facts["weights"], {}
    for _ in run.steps(optimiser, facts["rate"], lambda: dev.evaluate(average)):
        taught = [lessons.draw() for _ in range(facts["lessons"])]
        batch = crops.received(np.stack([lesson.rows for lesson in taught]))
        latent = predicted(model, batch)
        losses = lessons.teacher.losses(latent, taught)
        more = crops.batch(facts["batch"])
        losses["latent"] = latent_error(model, latent, batch)
        losses["latent"] = losses["latent"] + latent_error(model, predicted(model, more), more)
        descend(optimiser, sum(weights[name] * loss for name, loss in losses.items()))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(now, AVERAGE_SHARE)
        for name, loss in losses.items():
            now = float(loss.detach())
            means[name] = means.get(name, now) * 0.99 + 0.01 * now
        run.now = dict(means)
    return average


def places_of(found: TokenSet, utterances: list[Utterance]) -> list[tuple[Utterance, int, int]]:
    """Each utterance with its first frame and its frames; variants, which come behind, are not."""
    whole = [u for u in utterances if u.samples >= FRAME_SAMPLES]
    counts = np.diff(found.starts)[: len(whole)]
    return list(zip(whole, found.starts[: len(whole)].tolist(), counts.tolist(), strict=True))


def train(config: dict, work: Path, codec: str, recogniser: str) -> ContextModel:
    """Trains for the config's minutes of computing in all and returns the model."""
    loaded, seed = load_codec(codec).model, config["seed"]
    books, stages = codebooks_of(loaded), config["stages"]
    train_set, dev_set = load(work / "tokens_train.npz"), load(work / "tokens_dev.npz")
    model = ContextModel(ContextConfig(**config["model"])).train()
    start_from_statistics(model, train_set.latents)

    def crops_of(facts: dict, run: Run) -> ReceivedCrops:
        patterns = LinkPatterns(**config["patterns"], seed=seed + run.step)
        return ReceivedCrops(train_set, books, facts["frames"], patterns, seed + run.step)

    facts = stages["latent"]
    dev_crops = ReceivedCrops(
        dev_set, books, facts["frames"], LinkPatterns(**config["patterns"]), 9
    )
    dev = Development(dev_crops)
    run = Run(work / "context_latent.pt", config["model"], facts["minutes"])
    train_latent(model, crops_of(facts, run), dev, facts, run)
    facts = stages["words"]
    if facts["minutes"] > 0:
        run = Run(work / "context_words.pt", config["model"], facts["minutes"])
        teacher = Teacher(weights_folder(recogniser), loaded.decoder)
        places = places_of(train_set, split(cached(work / "speech"))[0])
        latents, frames = train_set.latents, facts["lesson_frames"]
        lessons = Lessons(
            teacher, work / "speech", places, latents, frames, config["languages"], seed + run.step
        )
        model = train_words(model, crops_of(facts, run), lessons, dev, facts, run)
    return model.eval()


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train context`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("context", __doc__.split("\n\n")[0], DEFAULT_CONFIG, minutes=True)
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--codec", default="embedded", help="model source of the tokens' codec")
    parser.add_argument(
        "--recogniser", default=SECOND, help="that teaches, never the judge [%(default)s]"
    )
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    if args.recogniser == JUDGE:
        parser.error(f"--recogniser {JUDGE} judges and must not teach: use {SECOND}, or a folder")
    model = train(config, args.work, args.codec, args.recogniser)
    save_model(model, model.config.as_dict(), args.output, "context", int8=True)
    write_sha256(args.output)


if __name__ == "__main__":
    main()

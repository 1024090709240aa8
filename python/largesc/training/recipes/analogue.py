# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits the channel code of analogue speech in closed form, and trains the network behind it.

    largesc train analogue --work WORK --output MODEL

``WORK`` holds what ``largesc train tokens`` wrote: latents of speech. The checkpoint there is
resumed; ``--output`` receives ``analogue.json`` and ``analogue.safetensors``.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...channel_codec.analogue import AnalogueCode, save_analogue_code
from ...channel_codec.refiner import BURST_FRAMES, RefinerConfig
from ...channel_codec.spread import BLOCK_FRAMES, LatentStatistics, SpreadCode, fit_latents
from ...models.store import write_sha256
from ...speech.format import FRAME_S
from ..config import recipe_parser, start
from ..run import Run, average_into, descend
from ..token_sets import TokenSet, load
from .context import loudness_of, start_from_statistics, weight_of

DEFAULT_CONFIG = Path(__file__).parent / "analogue.yaml"
CONFIG_KEYS = ("seed", "refiner", "channel", "training")
# Complex symbols a frame, of the profile `ssb`. What is fitted serves any number.
SYMBOLS = 105
AVERAGE_SHARE = 0.01
# Paths of a fading signal.
PATHS = 8
# Of development speech, and the SNR of a symbol there.
DEV_BURSTS, DEV_SNR_DB = 400, (-6.0, -3.0, 0.0, 3.0, 6.0, 9.0)


class Air:
    """The channel code and noise in one, for many blocks at once; the gain of a block is one.

    Args:
        statistics: of the code.
        facts: ``channel`` of the config.
        seed: of all that is drawn.
    """

    def __init__(self, statistics: LatentStatistics, facts: dict, seed: int) -> None:
        self._facts, self.rng = facts, np.random.default_rng(seed)
        self._code = SpreadCode(statistics, SYMBOLS)
        self.dimension = statistics.dimension

    def draw(self, windows: int, blocks: int) -> np.ndarray:
        """SNR in dB of each block, ``[windows, blocks]``; -inf where nothing arrives."""
        facts, rng = self._facts, self.rng
        snr_db = rng.uniform(*facts["snr_db"], (windows, 1)) + np.zeros((1, blocks))
        doppler = rng.uniform(0.0, facts["doppler_hz"], (windows, 1, 1))
        angles, phases = rng.uniform(0.0, 2.0 * np.pi, (2, windows, 1, PATHS))
        at_s = np.arange(blocks)[None, :, None] * (BLOCK_FRAMES * FRAME_S)
        paths = np.exp(1j * (2.0 * np.pi * doppler * np.cos(angles) * at_s + phases))
        gain = np.abs(paths.sum(axis=2)) ** 2 / PATHS
        fades = rng.random((windows, 1)) < facts["fading"]
        snr_db += np.where(fades, 10.0 * np.log10(np.maximum(gain, 1e-6)), 0.0)
        before = blocks - BURST_FRAMES // BLOCK_FRAMES
        snr_db[rng.random(windows) < facts["lost"], :before] = -np.inf
        return snr_db

    def through(self, latents: np.ndarray, snr_db: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Estimates of latents ``[B, T, dimension]``, and how unsure each frame is ``[B, T]``."""
        shape = latents.shape
        blocks = latents.reshape(-1, BLOCK_FRAMES, self.dimension)
        found, unsure = self._code.through(blocks, snr_db.ravel(), self.rng)
        return (
            torch.from_numpy(found.reshape(shape).astype(np.float32)),
            torch.from_numpy(unsure.reshape(shape[:2]).astype(np.float32)),
        )


class Bursts:
    """Random bursts of speech and the one before each.

    Args:
        found: latents of speech.

    Raises:
        ValueError: there are too few, or they have no levels.
    """

    def __init__(self, found: TokenSet) -> None:
        if found.levels is None or len(found.latents) <= 2 * BURST_FRAMES:
            raise ValueError("too little speech, or without levels: run `largesc train tokens`")
        self._found = found

    def at(self, first: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """Latents ``[B, 16, dimension]`` from frames ``first`` on, and the last ones' weights."""
        rows = first[:, None] + np.arange(2 * BURST_FRAMES)
        latents = self._found.latents[rows].astype(np.float32)
        loudness = loudness_of(self._found.levels[rows[:, -BURST_FRAMES:]])
        return latents, torch.from_numpy(weight_of(loudness))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, torch.Tensor]:
        """As :meth:`at`, of ``count`` places."""
        return self.at(rng.integers(0, self.most, count))

    @property
    def most(self) -> int:
        """Returns the number of places where bursts may begin."""
        return len(self._found.latents) - 2 * BURST_FRAMES


def weighted_error(
    found: torch.Tensor, latents: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Squared error of the last burst as a share of the latent's variance."""
    error = (found - latents[:, -BURST_FRAMES:]).square().mean(dim=-1) / scale.square().mean()
    return (error * weight).sum() / weight.sum()


@torch.no_grad()
def development(model: nn.Module, bursts: Bursts, air: Air) -> dict[str, float]:
    """Share of the variance that is left on development speech, with and without the network."""
    model.eval()
    first = np.linspace(0, bursts.most, DEV_BURSTS).astype(int)
    latents, weight = bursts.at(first)
    true, found = torch.from_numpy(latents), {}
    for snr_db in DEV_SNR_DB:
        air.rng = np.random.default_rng(7)
        blocks = (DEV_BURSTS, 2 * BURST_FRAMES // BLOCK_FRAMES)
        heard, unsure = air.through(latents, np.full(blocks, snr_db))
        plain = heard[:, -BURST_FRAMES:]
        found[f"left_{snr_db:g}"] = float(
            weighted_error(model(heard, unsure), true, weight, model.deviation)
        )
        found[f"linear_{snr_db:g}"] = float(weighted_error(plain, true, weight, model.deviation))
    return found


def train(config: dict, work: Path) -> AnalogueCode:
    """Fits the code, trains for the config's minutes in all; returns both."""
    train_set, dev_set = load(work / "tokens_train.npz"), load(work / "tokens_dev.npz")
    starts = train_set.starts
    ends = zip(starts[:-1], starts[1:], strict=True)
    statistics = fit_latents([train_set.latents[a:b].astype(np.float32) for a, b in ends])
    facts, channel = config["training"], config["channel"]
    code = AnalogueCode(RefinerConfig(statistics.dimension, **config["refiner"]))
    code.fit(statistics)
    average = code.refiner
    start_from_statistics(average, train_set.latents)
    model = copy.deepcopy(average).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=facts["rate"], weight_decay=1e-2)
    told = {name: config[name] for name in ("seed", "refiner", "channel")}
    run = Run(work / "analogue.pt", told, facts["minutes"])
    run.keep(model=model, average=average, optimiser=optimiser)
    air = Air(statistics, channel, config["seed"] + run.step)
    bursts, kept, kept_air = Bursts(train_set), Bursts(dev_set), Air(statistics, channel, 7)
    blocks = 2 * BURST_FRAMES // BLOCK_FRAMES

    def look() -> dict[str, float]:
        return development(average, kept, kept_air)

    first = run.step
    for _ in run.steps(optimiser, facts["rate"], look):
        latents, weight = bursts.draw(facts["batch"], air.rng)
        heard, unsure = air.through(latents, air.draw(facts["batch"], blocks))
        found = model(heard, unsure)
        loss = weighted_error(found, torch.from_numpy(latents), weight, model.deviation)
        descend(optimiser, loss)
        average_into(average, model, max(AVERAGE_SHARE, 1.0 / (run.step + 2)))
        run.now = {"loss": float(loss.detach())}
    if run.step > first:
        run.report(**run.now, **look())
        run.save()
    return code.eval()


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train analogue`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("analogue", __doc__.split("\n\n")[0], DEFAULT_CONFIG, minutes=True)
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    save_analogue_code(train(config, args.work), args.output)
    write_sha256(args.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the channel code of a large model's features, through that model's decoder.

    largesc train trained-code --speech train.tsv --work WORK --output MODEL

It begins as the linear code of ``largesc train channel-code``. Three stages: the weighted error of
features, then what the decoder expects, then the paper's dense code, for comparison alone. The
checkpoints in ``--work`` are resumed; ``--output`` receives ``trained_code.*`` beside the
``channel_code.*`` that it began as, and ``WORK/dense`` the dense code.
"""

import copy
import shutil
from pathlib import Path

import numpy as np
import torch

from ...channel_codec.dense import DenseCode
from ...channel_codec.load import (
    DENSE_PART,
    PART,
    TRAINED_PART,
    load_statistics,
)
from ...channel_codec.network import CodeNetwork, NetworkConfig
from ...features.whisper import INSTALL, Whisper
from ...models.packaged import whisper_folder
from ...models.store import resolve, save_model, write_sha256
from ..channel_lessons import Crops, DrawnAir, Words, chances_of, error_left, teaches, through
from ..config import recipe_parser, start
from ..feature_windows import FeatureWindows, prepare_windows
from ..run import Run, average_into, descend

DEFAULT_CONFIG = Path(__file__).parent / "trained_code.yaml"
CONFIG_KEYS = (
    "seed", "hours", "least_s", "prompts", "languages", "network", "channel", "stages",
)  # fmt: skip
AVERAGE_SHARE = {"error": 0.01, "words": 0.02}
# The sender changes more slowly than the receiver, which has to follow.
SENDER, SENDER_SHARE = ("mixing", "gains"), 0.2
# Development: symbols a frame and SNR in white noise, of so many windows.
DEV_AIR = ((48, 10.0), (64, 5.0), (64, 0.0), (128, 0.0))
DEV_WINDOWS = 16
DENSE_SNR_DB = (-11.0, 19.0)
DENSE_STEP_DB = 3.0
# Mean and deviation are of every so many of the windows.
SAMPLE_EACH = 20


class Development:
    """Error and divergence that are left on windows that are kept apart.

    Args:
        found: windows.
        words: None: errors alone.

    Raises:
        ValueError: no window is kept.
    """

    def __init__(self, found: FeatureWindows, words: Words | None) -> None:
        if not found.kept:
            raise ValueError("no speech could be kept for development: give more speech")
        self._found, self._words = found, words
        usable = [w for w in found.kept if teaches(w)] or found.kept
        places = np.linspace(0, len(usable) - 1, min(DEV_WINDOWS, len(usable))).astype(int)
        self._windows = [usable[place] for place in places]

    @torch.no_grad()
    def evaluate(self, network: CodeNetwork) -> dict[str, float]:
        """Returns means by name: ``error_64_0`` at 64 symbols and 0 dB, and ``words_64_0``."""
        figures: dict[str, float] = {}
        for symbols, snr_db in DEV_AIR:
            generator, errors, apart = torch.Generator().manual_seed(3), [], []
            for window in self._windows:
                features = torch.from_numpy(self._found.features(window))[None]
                air = (8 * symbols, torch.ones(1, 1, 1), torch.full((1, 1, 1), snr_db))
                received = through(network, features, air, generator)
                errors.append(float(error_left(network, received, features)))
                if self._words is not None:
                    apart.append(float(self._words.apart(received, features, window)))
            name = f"{symbols}_{snr_db:g}"
            figures[f"error_{name}"] = float(np.mean(errors))
            if apart:
                figures[f"words_{name}"] = float(np.mean(apart))
        return figures


def optimiser_of(network: CodeNetwork, rate: float) -> torch.optim.Optimizer:
    """Makes the optimiser of a stage; the sender's weights go more slowly."""
    named = dict(network.named_parameters())
    sender = [named[name] for name in SENDER]
    others = [value for name, value in named.items() if name not in SENDER]
    groups = [{"params": others}, {"params": sender, "share": SENDER_SHARE}]
    return torch.optim.AdamW(groups, lr=rate, weight_decay=1e-2)


def train_error(network: CodeNetwork, found: FeatureWindows, config: dict, run: Run) -> CodeNetwork:
    """Stage ``error``; returns the running mean of the weights."""
    facts, rng = config["stages"]["error"], np.random.default_rng(config["seed"] + run.step)
    average, optimiser = copy.deepcopy(network), optimiser_of(network, facts["rate"])
    run.keep(model=network, average=average, optimiser=optimiser)
    if run.over():
        return average
    crops = Crops(found, facts["prompts"], facts["blocks"], rng)
    air, dev = DrawnAir(config["channel"], rng), Development(found, None)
    for _ in run.steps(optimiser, facts["rate"], lambda: dev.evaluate(average)):
        features = crops.draw()
        drawn = air.draw(len(features), features.shape[1] // 4)
        loss = error_left(network, through(network, features, drawn), features)
        descend(optimiser, loss)
        average_into(average, network, max(AVERAGE_SHARE["error"], 1.0 / (run.step + 2)))
        run.now = {"loss": float(loss.detach())}
    run.report(**run.now, **dev.evaluate(average))
    run.save()
    return average


def train_words(
    network: CodeNetwork,
    linear: CodeNetwork,
    found: FeatureWindows,
    words: Words,
    config: dict,
    run: Run,
) -> CodeNetwork:
    """Stage ``words``; returns the running mean of the weights. What ``linear`` does is told first.

    Raises:
        ValueError: no text teaches.
    """
    facts, rng = config["stages"]["words"], np.random.default_rng(config["seed"] + 1 + run.step)
    average, optimiser = copy.deepcopy(network), optimiser_of(network, facts["rate"])
    run.keep(model=network, average=average, optimiser=optimiser)
    if run.over():
        return average
    windows = [w for w in found.learned if teaches(w)]
    if not windows:
        raise ValueError("the large model is sure of no text: give more speech")
    chances, count = chances_of(windows, facts["prompts"]), facts["windows"]
    air, dev, means = DrawnAir(config["channel"], rng), Development(found, words), {}
    if run.step == 0:
        run.report(**dev.evaluate(linear))
    for _ in run.steps(optimiser, facts["rate"], lambda: dev.evaluate(average)):
        losses = {"words": 0.0, "error": 0.0}
        for place in rng.choice(len(windows), count, p=chances):
            window = windows[place]
            features = torch.from_numpy(found.features(window))[None]
            drawn = air.draw(1, window.frames // 4, facts["snr_db"])
            received = through(network, features, drawn)
            losses["words"] += words.apart(received, features, window) / count
            losses["error"] += error_left(network, received, features) / count
        descend(optimiser, losses["words"] + facts["error"] * losses["error"])
        average_into(average, network, max(AVERAGE_SHARE["words"], 1.0 / (run.step + 2)))
        for name, loss in losses.items():
            means[name] = means.get(name, float(loss.detach())) * 0.98 + 0.02 * float(loss.detach())
        run.now = dict(means)
    run.report(**run.now, **dev.evaluate(average))
    run.save()
    return average


def train_dense(found: FeatureWindows, config: dict, run: Run) -> DenseCode:
    """Stage ``dense``: Algorithm 1 of the paper, the squared error of plain features (eq. 6)."""
    facts, rng = config["stages"]["dense"], np.random.default_rng(config["seed"] + run.step)
    code = DenseCode(found.width, facts["symbols"], facts["units"])
    sample = np.concatenate([found.features(w) for w in found.learned[::SAMPLE_EACH]])
    code.mean.copy_(torch.from_numpy(sample.mean(axis=0)))
    code.deviation.copy_(torch.from_numpy(sample.std(axis=0)).clamp(min=1e-2))
    optimiser = torch.optim.AdamW(code.parameters(), lr=facts["rate"])
    run.keep(model=code, optimiser=optimiser)
    crops = Crops(found, 1.0, facts["frames"] // 4, rng)
    grid = np.arange(DENSE_SNR_DB[0], DENSE_SNR_DB[1] + 1.0, DENSE_STEP_DB)
    for _ in run.steps(optimiser, facts["rate"]):
        frames = crops.draw().reshape(-1, found.width)
        snr_db = rng.choice(grid, (len(frames), 1))
        noise = torch.from_numpy(np.float32(10.0 ** (-snr_db / 10.0)))
        h = torch.randn(len(frames), 1, dtype=torch.cfloat)
        h[torch.from_numpy(rng.random(len(frames)) < 0.5)] = 1.0
        with torch.autocast("cpu", torch.bfloat16):
            x = code.sender((frames - code.mean) / code.deviation).float()
        x = torch.complex(*x.chunk(2, dim=-1))
        x = x / x.abs().square().mean().clamp(min=1e-12).sqrt()
        y = h * x + noise.sqrt() * torch.randn(x.shape, dtype=torch.cfloat)
        with torch.autocast("cpu", torch.bfloat16):
            received = code.received(y, h, noise).float()
        # As a share of the features' variance, which changes nothing else.
        error = (received - frames).square().sum(dim=1).mean()
        descend(optimiser, loss := error / code.deviation.square().sum())
        run.now = {"loss": float(loss.detach())}
    return code.eval()


def train(config: dict, speech: Path, work: Path, whisper: str, source: str) -> CodeNetwork:
    """Trains for the config's minutes in all and returns the network; see :func:`main`."""
    stages, model = config["stages"], Whisper(whisper)
    statistics = load_statistics(resolve(source, PART), source)
    found = prepare_windows(work, speech, config, model)
    network = CodeNetwork(NetworkConfig(**config["network"]), statistics)
    linear = copy.deepcopy(network)
    told = {name: config[name] for name in ("seed", "network", "channel")}
    run = Run(work / "code_error.pt", told, stages["error"]["minutes"])
    network = train_error(network, found, config, run)
    if stages["words"]["minutes"] > 0:
        words = Words(whisper_folder(whisper, INSTALL), model.silence)
        run = Run(work / "code_words.pt", told, stages["words"]["minutes"])
        network = train_words(network, linear, found, words, config, run)
    if stages["dense"]["minutes"] > 0:
        run = Run(work / "code_dense.pt", {"seed": config["seed"]}, stages["dense"]["minutes"])
        dense = train_dense(found, config, run)
        facts = {"width": found.width} | {k: stages["dense"][k] for k in ("symbols", "units")}
        save_model(dense, facts, work / "dense", DENSE_PART)
    return network.eval()


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train trained-code`` with ``arguments``; None: those of the process."""
    text = __doc__.split("\n\n")[0]
    parser = recipe_parser("trained-code", text, DEFAULT_CONFIG, minutes=True)
    parser.add_argument("--speech", type=Path, required=True, help="folder, or a table of speech")
    parser.add_argument("--whisper", default="base", help="base, or a folder [%(default)s]")
    parser.add_argument(
        "--code", default="embedded", help="of largesc train channel-code, a folder [%(default)s]"
    )
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    network = train(config, args.speech, args.work, args.whisper, args.code)
    save_model(network, network.config.as_dict(), args.output, TRAINED_PART, int8=True)
    folder = resolve(args.code, PART)
    if folder.resolve() != args.output.resolve():
        for suffix in (".json", ".safetensors"):
            shutil.copyfile(folder / f"{PART}{suffix}", args.output / f"{PART}{suffix}")
    write_sha256(args.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the embedded codec in stages that can be run and resumed one by one.

    python -m gnuradio.largesc.training.codec autoencoder --speech train.tsv --work DIR --minutes 40
    python -m gnuradio.largesc.training.codec codebooks   --speech train.tsv --work DIR
    python -m gnuradio.largesc.training.codec decoder     --speech train.tsv --work DIR --minutes 20
    python -m gnuradio.largesc.training.codec adversarial --speech train.tsv --work DIR --minutes 90

1. ``autoencoder``: encoder and decoder on the continuous latent.
2. ``codebooks``: residual k-means on the latents of all training speech.
3. ``decoder``: the decoder alone, on quantised latents with prefix dropout.
4. ``adversarial``: as before, against a discriminator; the encoder and so the tokens stay.
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from torch import nn

from ..codec.spectral import FRAME_SAMPLES, SAMPLE_RATE_HZ
from ..models.build import build_codec
from .discriminator import Discriminator, discriminator_loss, generator_losses
from .kmeans import residual_kmeans
from .losses import SpectralLoss
from .run import Run
from .speech import Crops, open_samples, prepare, split

STAGE_BEFORE = {
    "autoencoder": None,
    "codebooks": "autoencoder",
    "decoder": "codebooks",
    "adversarial": "decoder",
}
CROP_FRAMES = {"autoencoder": 20, "decoder": 20, "adversarial": 8}
BATCH = {"autoencoder": 12, "decoder": 12, "adversarial": 8}
RECONSTRUCTION_WEIGHT, MATCHING_WEIGHT = 8.0, 3.0
# The discriminator learns alone for a while, and every other step from then on.
DISCRIMINATOR_ALONE_STEPS, DISCRIMINATOR_EVERY = 60, 2
AVERAGE_DECAY = 0.995


def quantised(model: nn.Module, latent: torch.Tensor, prefix_dropout: bool) -> torch.Tensor:
    """Latent as the decoder will see it: half of the items cut to a random prefix of tokens."""
    with torch.no_grad():
        layers = model.quantizer.vq.layers
        residual, total = latent, torch.zeros_like(latent)
        count = torch.full((latent.shape[0],), len(layers))
        if prefix_dropout:
            drop = torch.rand(len(count)) < 0.5
            count[drop] = torch.randint(1, len(layers), (int(drop.sum()),))
        for number, layer in enumerate(layers):
            step = layer.decode(layer.encode(residual))
            residual = residual - step
            total = total + step * (count > number).to(step)[:, None, None]
    return total


class Stage:
    """One stage: the codec, its optimiser and what a step is."""

    def __init__(self, name: str, model: nn.Module, config: dict, rate: float) -> None:
        self.name, self.model, self.rate = name, model, rate
        self.delay = config["delay_samples"]
        self.loss_of = SpectralLoss()
        if name != "autoencoder":
            model.encoder.requires_grad_(False)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=rate, betas=(0.8, 0.95), weight_decay=1e-3
        )

    def decode(self, x: torch.Tensor, prefix_dropout: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoded and original ``[B, samples]``, aligned."""
        with torch.set_grad_enabled(self.name == "autoencoder" and torch.is_grad_enabled()):
            latent = self.model.encoder(x[:, None])
        if self.name != "autoencoder":
            latent = quantised(self.model, latent, prefix_dropout)
        y = self.model.decoder(latent)[:, 0]
        return y[:, self.delay :], x[:, : x.shape[1] - self.delay]

    def step(self, x: torch.Tensor, factor: float) -> dict[str, float]:
        """One step on ``[B, samples]``; returns losses by name."""
        y, x = self.decode(x, prefix_dropout=True)
        mel, stft = self.loss_of(y, x)
        self.update(self.optimiser, self.parameters, mel + 10.0 * stft, self.rate * factor)
        return {"mel": float(mel), "stft": float(stft)}

    def evaluate(self, x: torch.Tensor) -> dict[str, float]:
        """Losses on development speech with all tokens."""
        with torch.no_grad():
            mel, stft = self.loss_of(*self.decode(x, prefix_dropout=False))
        return {"dev_mel": float(mel), "dev_stft": float(stft)}

    @staticmethod
    def update(optimiser, parameters: list, loss: torch.Tensor, rate: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(parameters, 2.0)):
            optimiser.step()


class AdversarialStage(Stage):
    """The decoder against a discriminator; ``average`` is the running mean of its weights."""

    def __init__(self, name: str, model: nn.Module, config: dict, rate: float) -> None:
        super().__init__(name, model, config, rate)
        self.discriminator = Discriminator([2048, 1024, 512], channels=12)
        self.discriminator_optimiser = torch.optim.AdamW(
            self.discriminator.parameters(), lr=rate, betas=(0.5, 0.9)
        )
        self.average = copy.deepcopy(model.decoder).requires_grad_(False)
        self.steps, self.last_discriminator_loss = 0, 0.0

    def step(self, x: torch.Tensor, factor: float) -> dict[str, float]:
        y, x = self.decode(x, prefix_dropout=True)
        self.steps += 1
        alone = self.steps <= DISCRIMINATOR_ALONE_STEPS
        found: dict[str, float] = {}
        if alone or self.steps % DISCRIMINATOR_EVERY == 0:
            self.discriminator.requires_grad_(True)
            loss = discriminator_loss(self.discriminator(x), self.discriminator(y.detach()))
            self.update(
                self.discriminator_optimiser,
                list(self.discriminator.parameters()),
                loss,
                self.rate * factor,
            )
            self.last_discriminator_loss = float(loss)
        found["discriminator"] = self.last_discriminator_loss
        if alone:
            return found
        mel, stft = self.loss_of(y, x)
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real = self.discriminator(x)
        adversarial, matching = generator_losses(real, self.discriminator(y))
        loss = RECONSTRUCTION_WEIGHT * (mel + 10.0 * stft)
        loss = loss + adversarial + MATCHING_WEIGHT * matching
        self.update(self.optimiser, self.parameters, loss, self.rate * factor)
        with torch.no_grad():
            for mean, now in zip(
                self.average.parameters(), self.model.decoder.parameters(), strict=True
            ):
                mean.lerp_(now, 1.0 - AVERAGE_DECAY)
        found |= {"mel": float(mel), "stft": float(stft)}
        return found | {"adversarial": float(adversarial), "matching": float(matching)}


def train(run: Run, stage: Stage, crops: Crops, dev: torch.Tensor) -> None:
    """Trains until the run's time is over."""
    run.begin()
    while not run.over():
        x = torch.from_numpy(crops.batch(BATCH[stage.name]))
        losses = stage.step(x, run.rate_factor())
        if run.end_step():
            run.report(**losses, **stage.evaluate(dev))
    run.save()


@torch.no_grad()
def fit_codebooks(model: nn.Module, samples, utterances, frames: int, seed: int) -> list[float]:
    """Fits all codebooks on the latents of up to ``frames`` frames; returns the energy left."""
    found, total = [], 0
    order = torch.randperm(len(utterances), generator=torch.Generator().manual_seed(seed))
    for number in order.tolist():
        u = utterances[number]
        count = u.samples // FRAME_SAMPLES
        if count < 8:
            continue
        pcm = samples[u.start : u.start + count * FRAME_SAMPLES].astype("float32") / 32768.0
        latent = model.encoder(torch.from_numpy(pcm)[None, None])[0].T
        found.append(latent[2:])
        total += len(found[-1])
        if total >= frames:
            break
    latents = torch.cat(found)
    print(f"fitting codebooks on {len(latents)} frames", flush=True)
    layers = model.quantizer.vq.layers
    books, left = residual_kmeans(latents, len(layers), model.cardinality, 12, seed)
    for layer, (centroids, usage) in zip(layers, books, strict=True):
        book = layer._codebook
        book.cluster_usage.copy_(usage)
        book.embedding_sum.copy_(centroids * usage[:, None])
        book._initialized.fill_(1)
    return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("stage", choices=list(STAGE_BEFORE))
    parser.add_argument("--speech", type=Path, required=True, help="tsv: path, corpus, speaker")
    parser.add_argument("--work", type=Path, required=True, help="folder for cache and checkpoints")
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "codec.json")
    parser.add_argument("--minutes", type=float, default=40.0, help="computing time of the stage")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--frames", type=int, default=400_000, help="frames for the codebooks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    config = json.loads(args.config.read_text())
    utterances = prepare(args.speech, args.work / "speech")
    samples = open_samples(args.work / "speech")
    train_set, dev_set = split(utterances)
    print(f"{len(train_set)} utterances to train, {len(dev_set)} for development", flush=True)
    model = build_codec(config)
    run = Run(args.work / f"{args.stage}.pt", config, args.minutes)
    if not run.state and (before := STAGE_BEFORE[args.stage]) is not None:
        path = args.work / f"{before}.pt"
        if not path.exists():
            raise SystemExit(f"{path} is missing: run the stage {before!r} first")
        model.load_state_dict(torch.load(path, weights_only=False)["model"])
    if args.stage == "codebooks":
        run.keep(model=model)
        left = fit_codebooks(model.eval(), samples, train_set, args.frames, args.seed)
        run.report(**{f"energy_left_{n}": value for n, value in enumerate(left)})
        run.save()
        return
    kind = AdversarialStage if args.stage == "adversarial" else Stage
    stage = kind(args.stage, model, config, args.rate)
    run.keep(model=model, optimiser=stage.optimiser)
    if isinstance(stage, AdversarialStage):
        run.keep(
            average=stage.average,
            discriminator=stage.discriminator,
            discriminator_optimiser=stage.discriminator_optimiser,
        )
        stage.steps = run.step
    length = CROP_FRAMES[args.stage] * FRAME_SAMPLES
    crops = Crops(samples, train_set, length, seed=args.seed + run.step)
    dev = torch.from_numpy(Crops(samples, dev_set, 20 * FRAME_SAMPLES, seed=99).batch(12))
    assert SAMPLE_RATE_HZ == model.sample_rate
    train(run, stage, crops, dev)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the embedded codec in three stages that can be run and resumed one by one.

    python -m gnuradio.largesc.training.codec autoencoder --speech train.tsv --work DIR --minutes 40
    python -m gnuradio.largesc.training.codec codebooks   --speech train.tsv --work DIR
    python -m gnuradio.largesc.training.codec decoder     --speech train.tsv --work DIR --minutes 20

1. ``autoencoder``: encoder and decoder on the continuous latent.
2. ``codebooks``: residual k-means on the latents of all training speech.
3. ``decoder``: the decoder alone, on quantised latents with prefix dropout.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from ..codec.spectral import FRAME_SAMPLES, SAMPLE_RATE_HZ, mel_filterbank
from ..models.build import build_codec
from .speech import Crops, open_samples, prepare, split

CROP_FRAMES = 20
BATCH = 12


class SpectralLoss(nn.Module):
    """Multi-resolution log-mel L1 plus compressed STFT magnitude L1, on ``[B, samples]``."""

    def __init__(self, sizes: tuple[int, ...] = (256, 512, 1024, 2048)) -> None:
        super().__init__()
        self.sizes = sizes
        for size in sizes:
            self.register_buffer(f"mel_{size}", mel_filterbank(min(80, size // 16), size))
            self.register_buffer(f"window_{size}", torch.hann_window(size))

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mel_loss, stft_loss = y.new_zeros(()), y.new_zeros(())
        for size in self.sizes:
            window = getattr(self, f"window_{size}")
            mel = getattr(self, f"mel_{size}")

            def power(wave: torch.Tensor, size: int = size, window: torch.Tensor = window):
                s = torch.stft(wave, size, size // 4, window=window, return_complex=True)
                return (s.real.square() + s.imag.square()) / size

            py, px = power(y), power(x)
            mel_loss = mel_loss + F.l1_loss(torch.log(mel @ py + 1e-6), torch.log(mel @ px + 1e-6))
            # The root's slope at zero is infinite: the offset keeps the gradient finite.
            stft_loss = stft_loss + F.l1_loss((py + 1e-6) ** 0.15, (px + 1e-6) ** 0.15)
        return mel_loss / len(self.sizes), stft_loss / len(self.sizes)


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


class Run:
    """One stage: model, optimiser, step counter and a checkpoint that a kill cannot break."""

    def __init__(self, name: str, work: Path, config: dict, start_from: Path | None) -> None:
        self.path = work / f"{name}.pt"
        self.config, self.step, self.seconds, self.curve = config, 0, 0.0, []
        self.model = build_codec(config)
        self.state: dict = {}
        if self.path.exists():
            self.state = torch.load(self.path, weights_only=False)
            if self.state["config"] != config:
                raise ValueError(f"{self.path} was made with another config: move it away first")
            self.model.load_state_dict(self.state["model"])
            self.step, self.seconds = self.state["step"], self.state["seconds"]
            self.curve = self.state["curve"]
        elif start_from is not None:
            if not start_from.exists():
                raise ValueError(f"{start_from} is missing: run the stage before this one first")
            self.model.load_state_dict(torch.load(start_from, weights_only=False)["model"])

    def save(self, optimiser: torch.optim.Optimizer | None) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimiser": optimiser.state_dict() if optimiser else None,
            "config": self.config,
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)


def train(run: Run, crops: Crops, dev: torch.Tensor, stage: str, minutes: float, rate: float):
    """Trains for ``minutes`` of computing in all, resumed time included."""
    model, delay = run.model, run.config["delay_samples"]
    loss_of = SpectralLoss()
    if stage == "decoder":
        model.encoder.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.8, 0.95), weight_decay=1e-3)
    if run.state.get("optimiser"):
        optimiser.load_state_dict(run.state["optimiser"])

    def losses(x: torch.Tensor, dropout: bool) -> tuple[torch.Tensor, torch.Tensor]:
        latent = model.encoder(x[:, None])
        if stage == "decoder":
            latent = quantised(model, latent, dropout)
        y = model.decoder(latent)[:, 0]
        return loss_of(y[:, delay:], x[:, : x.shape[1] - delay])

    last_save = last_print = time.monotonic()
    while run.seconds < minutes * 60:
        begin = time.monotonic()
        progress = run.seconds / (minutes * 60)
        # Short warm-up, then a linear fall to a twentieth.
        factor = min(1.0, (run.step + 1) / 100) * max(0.05, 1.0 - progress)
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        x = torch.from_numpy(crops.batch(BATCH))
        mel, stft = losses(x, dropout=True)
        optimiser.zero_grad(set_to_none=True)
        (mel + 10.0 * stft).backward()
        norm = nn.utils.clip_grad_norm_(parameters, 2.0)
        if torch.isfinite(norm):
            optimiser.step()
        run.step += 1
        run.seconds += time.monotonic() - begin
        if time.monotonic() - last_print > 30:
            last_print = time.monotonic()
            with torch.no_grad():
                dev_mel, dev_stft = losses(dev, dropout=False)
            run.curve.append([run.step, run.seconds, float(dev_mel), float(dev_stft)])
            left = minutes - run.seconds / 60
            print(
                f"{stage} step {run.step} mel {float(mel):.3f} stft {float(stft):.4f} "
                f"dev mel {float(dev_mel):.3f} stft {float(dev_stft):.4f} "
                f"{run.step / run.seconds:.2f} steps/s {left:.1f} min left",
                flush=True,
            )
        if time.monotonic() - last_save > 180:
            last_save = time.monotonic()
            run.save(optimiser)
    run.save(optimiser)


def residual_kmeans(
    latents: torch.Tensor, stages: int, entries: int, iterations: int, seed: int
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[float]]:
    """Residual k-means on ``[n, dimension]``; returns (centroids, usage) a stage, energy left."""
    generator = torch.Generator().manual_seed(seed)
    residual, books, left = latents.clone(), [], []
    energy = float(latents.square().sum())
    for stage in range(stages):
        centroids = residual[torch.randperm(len(residual), generator=generator)[:entries]].clone()
        for _ in range(iterations):
            nearest = assign(residual, centroids)
            usage = torch.bincount(nearest, minlength=entries)
            total = torch.zeros_like(centroids).index_add_(0, nearest, residual)
            empty = usage == 0
            centroids = total / usage.clamp(min=1)[:, None]
            if empty.any():
                fresh = torch.randint(len(residual), (int(empty.sum()),), generator=generator)
                centroids[empty] = residual[fresh]
        nearest = assign(residual, centroids)
        usage = torch.bincount(nearest, minlength=entries).clamp(min=1).float()
        residual = residual - centroids[nearest]
        books.append((centroids, usage))
        left.append(float(residual.square().sum()) / energy)
        print(f"codebook {stage}: {100 * left[-1]:.2f} % of the energy left", flush=True)
    return books, left


def assign(points: torch.Tensor, centroids: torch.Tensor, chunk: int = 16384) -> torch.Tensor:
    """Index of the nearest centroid, ``[n]``."""
    bias = 0.5 * centroids.square().sum(dim=1)
    return torch.cat([(block @ centroids.T - bias).argmax(dim=1) for block in points.split(chunk)])


@torch.no_grad()
def fit_codebooks(run: Run, samples, utterances, frames: int, seed: int) -> None:
    """Fits all codebooks on the encoder's latents of up to ``frames`` frames of training speech."""
    model = run.model.eval()
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
    bins = run.config["quantizer"]["bins"]
    books, left = residual_kmeans(latents, run.config["quantizer"]["n_q"], bins, 12, seed)
    for layer, (centroids, usage) in zip(model.quantizer.vq.layers, books, strict=True):
        book = layer._codebook
        book.cluster_usage.copy_(usage)
        book.embedding_sum.copy_(centroids * usage[:, None])
        book._initialized.fill_(1)
    run.curve = [["energy left", *left]]
    run.save(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("stage", choices=["autoencoder", "codebooks", "decoder"])
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
    before = {"autoencoder": None, "codebooks": "autoencoder", "decoder": "codebooks"}[args.stage]
    run = Run(args.stage, args.work, config, args.work / f"{before}.pt" if before else None)
    if args.stage == "codebooks":
        fit_codebooks(run, samples, train_set, args.frames, args.seed)
        return
    length = CROP_FRAMES * FRAME_SAMPLES
    crops = Crops(samples, train_set, length, seed=args.seed + run.step)
    dev = torch.from_numpy(Crops(samples, dev_set, length, seed=99).batch(BATCH))
    assert SAMPLE_RATE_HZ == run.model.sample_rate
    train(run, crops, dev, args.stage, args.minutes, args.rate)


if __name__ == "__main__":
    main()

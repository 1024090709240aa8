# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step of each stage of the codec's training is."""

import copy

import torch
from accelerate import Accelerator
from torch import nn

from .discriminator import Discriminator, discriminator_loss, generator_losses
from .losses import SpectralLoss, VocoderLoss
from .speech import BANDS
from .teacher import Teacher

WEIGHTS = {
    "mel": 1.0,
    "stft": 10.0,
    "pitch": 1.5,
    "envelope": 1.0,
    "pulses": 0.5,
    "noise": 0.5,
    "teacher": 0.5,
    "latent": 0.03,
}
RECONSTRUCTION_WEIGHT, MATCHING_WEIGHT = 8.0, 3.0
# The discriminator learns alone for a while, and every other step from then on.
DISCRIMINATOR_ALONE_STEPS, DISCRIMINATOR_EVERY = 60, 2
AVERAGE_DECAY = 0.995
# Noise in place of quantisation, up to what two tokens leave: what matters must stand out of it.
MOST_NOISE = 0.3


@torch.no_grad()
def quantised(model: nn.Module, latent: torch.Tensor, prefix_dropout: bool) -> torch.Tensor:
    """Latent as the decoder will see it: half of the items cut to a random prefix of tokens.

    In half of these only some frames are cut, as where copies have fewer tokens than the frame had.
    """
    layers = model.quantizer.vq.layers
    codes, total = model.quantizer.encode(latent), torch.zeros_like(latent)
    batch, _, frames = latent.shape
    count = torch.full((batch, frames), len(layers), device=latent.device)
    if prefix_dropout:
        item, frame = (torch.rand(batch, n, device=latent.device) for n in (1, frames))
        prefix = torch.randint(1, len(layers), (batch, 1), device=latent.device)
        cut = (item < 0.25) | ((item < 0.5) & (frame < 0.5))
        count = torch.where(cut, prefix, count)
    for number, layer in enumerate(layers):
        total = total + layer.decode(codes[:, number]) * (count > number).to(total)[:, None]
    return total


class CodecPass(nn.Module):
    """Codec and losses of one pass, as one module that can be spread over processes.

    Args:
        model: the codec.
        delay_samples: by which decoded speech lags.
        train_encoder: continuous latents, encoder included; else quantised ones, decoder alone.
        teacher: see :class:`.teacher.Teacher`, with ``train_encoder`` only.

    Raises:
        ValueError: the decoder's filters have other bands than WORLD's analysis.
    """

    def __init__(
        self,
        model: nn.Module,
        delay_samples: int,
        train_encoder: bool,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        if (bands := model.decoder.head.to_bins.shape[0]) != BANDS:
            raise ValueError(f"the decoder has {bands} bands: the analysis has {BANDS}, use these")
        self.model, self.delay = model, delay_samples
        self.train_encoder = train_encoder
        self.teacher = teacher if train_encoder else None
        self.loss_of, self.vocoder_loss = SpectralLoss(), VocoderLoss()
        if not train_encoder:
            model.encoder.requires_grad_(False)
        # Found by regression: gradient steps would only blur them.
        for part in (model.encoder, model.decoder):
            part.linear.requires_grad_(False)

    def forward(
        self, speech: torch.Tensor, world: tuple, prefix_dropout: bool, listen: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor, dict[str, torch.Tensor]]:
        """Decoded and original ``[B, samples]``, aligned, and losses by name.

        Without ``listen`` no speech is decoded, and only what the network found is compared. The
        pulses follow the true pitch, so that harmonics can be compared one by one.
        """
        losses = {}
        with torch.set_grad_enabled(self.train_encoder and torch.is_grad_enabled()):
            linear, added = self.model.encoder.parts(speech[:, None])
            latent = linear + added
        if self.teacher is not None:
            losses["teacher"] = self.teacher(latent, speech)
        if not self.train_encoder:
            latent = quantised(self.model, latent, prefix_dropout)
        elif prefix_dropout:
            losses["latent"] = added.square().mean()
            level = MOST_NOISE * torch.rand(len(latent), 1, 1, device=latent.device)
            latent = latent + level * torch.randn_like(latent)
        found = self.model.decoder.parameters_of(latent)
        losses |= self.vocoder_loss(found, world)
        original = speech[:, : speech.shape[1] - self.delay]
        if not listen:
            return None, original, losses
        decoded = self.model.decoder.head(world[0], *found[1:])[:, 0, self.delay :]
        losses["mel"], losses["stft"] = self.loss_of(decoded, original)
        return decoded, original, losses


def reconstruction(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weighted sum of what :class:`CodecPass` measures."""
    return sum(WEIGHTS[name] * loss for name, loss in losses.items())


class Stage:
    """One stage: the codec, its optimiser and what a step is.

    Args:
        codec_pass: codec and losses.
        rate: peak learning rate.
        accelerator: of all processes.
        listen: share of the steps that compare decoded speech as well, which takes twice as long.
    """

    def __init__(
        self, codec_pass: CodecPass, rate: float, accelerator: Accelerator, listen: float = 1.0
    ) -> None:
        self.own, self.rate, self.accelerator = codec_pass, rate, accelerator
        self.listen = listen
        self.parameters = [p for p in codec_pass.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=rate, betas=(0.8, 0.95), weight_decay=1e-3
        )
        self.network, self.optimiser = accelerator.prepare(codec_pass, self.optimiser)

    def parts(self) -> dict[str, object]:
        """Returns what a checkpoint keeps, by name."""
        return {"model": self.own.model, "optimiser": self.optimiser}

    def step(self, batch: tuple, factor: float) -> dict[str, float]:
        """One step on speech and WORLD's analysis of it; returns losses by name."""
        listen = torch.rand(()).item() < self.listen
        _, _, losses = self.network(*batch, prefix_dropout=True, listen=listen)
        self.update(self.optimiser, self.parameters, reconstruction(losses), factor)
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def evaluate(self, batch: tuple) -> dict[str, float]:
        """Losses on development speech with all tokens."""
        self.own.eval()
        losses = self.own(*batch, prefix_dropout=False, listen=True)[2]
        self.own.train()
        return {f"dev_{name}": loss.item() for name, loss in losses.items()}

    def update(
        self, optimiser: object, parameters: list, loss: torch.Tensor, factor: float
    ) -> None:
        """Steps an optimiser on ``loss`` at ``factor`` of the rate; gradients must be finite."""
        for group in optimiser.param_groups:
            group["lr"] = self.rate * factor
        optimiser.zero_grad()
        self.accelerator.backward(loss)
        if torch.isfinite(nn.utils.clip_grad_norm_(parameters, 2.0)):
            optimiser.step()


class AdversarialStage(Stage):
    """The decoder against a discriminator; ``average`` is the running mean of its weights."""

    def __init__(self, codec_pass: CodecPass, rate: float, accelerator: Accelerator) -> None:
        super().__init__(codec_pass, rate, accelerator)
        self.discriminator = Discriminator([2048, 1024, 512], channels=12)
        optimiser = torch.optim.AdamW(self.discriminator.parameters(), lr=rate, betas=(0.5, 0.9))
        self.judge, self.judge_optimiser = accelerator.prepare(self.discriminator, optimiser)
        self.average = copy.deepcopy(codec_pass.model.decoder).requires_grad_(False)
        self.steps, self.last_loss = 0, 0.0

    def parts(self) -> dict[str, object]:
        return super().parts() | {
            "average": self.average,
            "discriminator": self.discriminator,
            "discriminator_optimiser": self.judge_optimiser,
        }

    def step(self, batch: tuple, factor: float) -> dict[str, float]:
        decoded, original, losses = self.network(*batch, prefix_dropout=True, listen=True)
        self.steps += 1
        alone = self.steps <= DISCRIMINATOR_ALONE_STEPS
        if alone or self.steps % DISCRIMINATOR_EVERY == 0:
            self.learn_to_judge(original, decoded.detach(), factor)
        found = {"discriminator": self.last_loss}
        if alone:
            return found
        # The plain module: no gradient of it is to be shared between processes.
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real = self.discriminator(original)
        adversarial, matching = generator_losses(real, self.discriminator(decoded))
        self.discriminator.requires_grad_(True)
        loss = RECONSTRUCTION_WEIGHT * reconstruction(losses)
        loss = loss + adversarial + MATCHING_WEIGHT * matching
        self.update(self.optimiser, self.parameters, loss, factor)
        self.follow()
        found |= {name: loss.item() for name, loss in losses.items()}
        return found | {"adversarial": adversarial.item(), "matching": matching.item()}

    def learn_to_judge(self, original: torch.Tensor, decoded: torch.Tensor, factor: float) -> None:
        """One step of the discriminator."""
        both = self.judge(torch.cat([original, decoded]))
        halves = [[layer.chunk(2) for layer in part] for part in both]
        real, made = ([[layer[i] for layer in part] for part in halves] for i in (0, 1))
        loss = discriminator_loss(real, made)
        self.update(self.judge_optimiser, list(self.discriminator.parameters()), loss, factor)
        self.last_loss = loss.item()

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average towards the decoder as it is."""
        pairs = zip(self.average.parameters(), self.own.model.decoder.parameters(), strict=True)
        for mean, now in pairs:
            mean.lerp_(now, 1.0 - AVERAGE_DECAY)

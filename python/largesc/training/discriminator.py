# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells decoded speech from real speech: small convolutional networks on complex spectra.

After the multi-resolution complex STFT discriminators of EnCodec (arXiv 2210.13438), narrow enough
to train on a CPU.
"""

import torch
from torch import nn
from torch.nn import functional as F


class StftDiscriminator(nn.Module):
    """One resolution: ``[B, samples]`` to the activations of each layer, the last ``[B, 1, T, F]``.

    Args:
        size: STFT window; the hop is a quarter of it.
        channels: of the first layer; it doubles once.
    """

    def __init__(self, size: int, channels: int = 12) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        widths = [2, channels, channels, 2 * channels, 2 * channels]
        norm = nn.utils.parametrizations.weight_norm
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(a, b, (3, 9), stride=(1, 2), padding=(1, 4)))
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.head = norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, wave: torch.Tensor) -> list[torch.Tensor]:
        spectrum = torch.stft(
            wave, self.size, self.size // 4, window=self.window, return_complex=True
        )
        # Compressed, so that the weak upper bands count.
        power = spectrum.real.square() + spectrum.imag.square() + 1e-6
        scale = power ** (-0.35)
        x = torch.stack([spectrum.real * scale, spectrum.imag * scale], dim=1).transpose(2, 3)
        activations = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            activations.append(x)
        return [*activations, self.head(x)]


class Discriminator(nn.Module):
    """Several resolutions at once; :meth:`forward` gives a list of activations for each."""

    def __init__(self, sizes: list[int], channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(StftDiscriminator(size, channels) for size in sizes)

    def forward(self, wave: torch.Tensor) -> list[list[torch.Tensor]]:
        return [part(wave) for part in self.parts]


def discriminator_loss(real: list, decoded: list) -> torch.Tensor:
    """Hinge loss, mean over resolutions."""
    losses = [
        F.relu(1.0 - r[-1]).mean() + F.relu(1.0 + d[-1]).mean()
        for r, d in zip(real, decoded, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_losses(real: list, decoded: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Adversarial and feature-matching loss, means over resolutions and layers."""
    adversarial = torch.stack([-d[-1].mean() for d in decoded]).mean()
    matching = [
        (a.detach() - b).abs().mean() / a.detach().abs().mean().clamp(min=1e-4)
        for r, d in zip(real, decoded, strict=True)
        for a, b in zip(r[:-1], d[:-1], strict=True)
    ]
    return adversarial, torch.stack(matching).mean()

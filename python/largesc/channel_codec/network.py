# SPDX-License-Identifier: GPL-3.0-or-later
"""The trained channel code: a linear one whose directions are mixed, and a network behind it.

The closed form knows second moments of four frames, and counts squared errors. This one is trained
through the large model, so that its own words decide, and sees a second to both sides.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .linear import BLOCK_FRAMES, LEAST_FADE, Statistics, shared_power

# What the network is told of a block beside the estimate.
FACTS = 4
LEAST_NOISE, MOST_NOISE = 1e-6, 1e6


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a :class:`CodeNetwork`.

    Attributes:
        hidden: numbers a block within the network.
        layers: that look to both sides.
        reach: blocks of 80 ms that each layer sees to each side.
    """

    hidden: int = 384
    layers: int = 3
    reach: int = 4

    def as_dict(self) -> dict[str, int]:
        """Returns the values that ``trained_code.json`` keeps."""
        return asdict(self)


class Layer(nn.Module):
    """A convolution over blocks for each number, and two dense layers; added to what came in."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        size, kernel = config.hidden, 2 * config.reach + 1
        self.over_time = nn.Conv1d(size, size, kernel, padding=config.reach, groups=size)
        self.norm = nn.LayerNorm(size)
        self.expand = nn.Linear(size, 2 * size)
        self.contract = nn.Linear(2 * size, size)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.norm(self.over_time(x.transpose(1, 2)).transpose(1, 2))
        return x + self.contract(F.gelu(self.expand(seen)))


class CodeNetwork(nn.Module):
    """Features to numbers on the air, and what arrives of them to features.

    Args:
        config: sizes.
        statistics: of the linear code that it begins as.
    """

    def __init__(self, config: NetworkConfig, statistics: Statistics) -> None:
        super().__init__()
        self.config = config
        directions = statistics.basis.shape[1]
        variance = np.maximum(statistics.variance.astype(np.float64), 1e-12)
        unweigh = np.linalg.inv(statistics.weight.astype(np.float64))
        for name, value in {
            "mean": statistics.mean, "weight": statistics.weight, "unweigh": unweigh,
            "basis": statistics.basis, "scale": statistics.scale, "shift": statistics.shift,
            "variance": variance,
        }.items():  # fmt: skip
            value = torch.from_numpy(np.float32(value))
            self.register_buffer(name, value, persistent=False)
        # What is added to the unit matrix, and to the logarithm of an amplitude.
        self.mixing = nn.Parameter(torch.zeros(directions, directions))
        self.gains = nn.Parameter(torch.zeros(directions))
        size = config.hidden
        self.enter = nn.Linear(directions + FACTS, size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.leave = nn.Linear(size, BLOCK_FRAMES * len(statistics.mean))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def along(self, features: torch.Tensor) -> torch.Tensor:
        """Features ``[B, 4 n, width]`` along the directions, of variance 1, ``[B, n, D]``."""
        weighed = (features - self.mean) @ self.weight
        blocks = weighed.reshape(len(features), -1, self.basis.shape[0])
        return blocks @ self.basis / self.variance.sqrt()

    def amplitudes(self, reals: int) -> torch.Tensor:
        """Of the first ``reals`` numbers; their powers add up to ``reals`` / 2."""
        variance = self.variance[:reals].numpy().astype(np.float64)
        power = torch.from_numpy(np.float32(shared_power(variance, reals / 2)))
        power = power * (2.0 * self.gains[:reals]).exp()
        return (power * (reals / 2 / power.sum())).sqrt()

    def columns(self, reals: int) -> torch.Tensor:
        """Directions to numbers, ``[D, reals]``."""
        unit = torch.eye(len(self.gains), device=self.gains.device)
        return (unit + self.mixing)[:, :reals]

    def sent(self, along: torch.Tensor, reals: int) -> torch.Tensor:
        """Numbers ``[B, n, reals]`` before the burst is scaled; two make a symbol."""
        return along @ self.columns(reals) * self.amplitudes(reals)

    def estimate(
        self, received: torch.Tensor, noise: torch.Tensor, gain: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What each number was, before its amplitude, and what is known of a block.

        Args:
            received: ``[B, n, reals]``, divided by the fading.
            noise: variance in each, ``[B, n, reals]`` or ``[B, n, 1]``.
            gain: that scaled the burst, ``[B, 1, 1]``.

        Returns:
            Estimates ``[B, n, reals]`` of least squared error, and facts ``[B, n, 4]``.
        """
        reals = received.shape[-1]
        noise = noise.expand(*received.shape[:2], noise.shape[-1])
        own = self.columns(reals).square().sum(dim=0)
        amplitude = gain * self.amplitudes(reals)
        share = amplitude * own / (amplitude.square() * own + noise)
        sure = amplitude * share
        weight = self.variance[:reals] / self.variance.sum()
        level = noise.clamp(LEAST_NOISE, MOST_NOISE).log10().mean(dim=-1)
        facts = [(sure * weight).sum(dim=-1), sure.mean(dim=-1), level]
        facts.append(torch.full_like(level, reals / len(self.gains)))
        return received * share, torch.stack(facts, dim=-1)

    def features(self, estimate: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Features ``[B, 4 n, width]`` of a window, of all that :meth:`estimate` gave so far."""
        reals = estimate.shape[-1]
        known = estimate @ self.columns(reals).T * self.variance.sqrt() @ self.basis.T
        missing = len(self.gains) - reals
        x = self.enter(torch.cat([F.pad(estimate, (0, missing)), facts], dim=-1))
        for layer in self.layers:
            x = layer(x)
        # In shares of what a number has on average.
        blocks = known + self.leave(x) * (self.variance.sum() / self.basis.shape[0]).sqrt()
        weighed = blocks.reshape(len(blocks), -1, len(self.mean))
        return self.normed(weighed @ self.unweigh + self.mean)

    def normed(self, features: torch.Tensor) -> torch.Tensor:
        """Features as the encoder's last layer norm leaves them: of a known mean and power."""
        plain = (features - self.shift) / self.scale
        plain = plain - plain.mean(dim=-1, keepdim=True)
        power = plain.square().mean(dim=-1, keepdim=True).clamp(min=1e-12)
        return plain / power.sqrt() * self.scale + self.shift

    def through(
        self, features: torch.Tensor, reals: int, fade: torch.Tensor, snr_db: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """Features of windows ``[B, 4 n, width]`` behind a channel.

        Args:
            features: as they are sent.
            reals: numbers a block, two a symbol.
            fade: |h|² of each block ``[B, n, 1]``, or of each number ``[B, n, reals]``.
            snr_db: of symbols of power 1, ``[B, 1, 1]``.
            generator: of the noise.
        """
        x = self.sent(self.along(features), reals)
        power = 2.0 * x.square().mean(dim=(1, 2), keepdim=True)
        gain = power.clamp(min=1e-12).rsqrt()
        noise = 0.5 * 10.0 ** (-snr_db / 10.0) / fade.clamp(min=LEAST_FADE)
        drawn = torch.randn(x.shape, generator=generator)
        received = gain * x + noise.sqrt() * drawn
        return self.features(*self.estimate(received, noise, gain))

# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that knows how speech goes on, behind the linear channel code.

The linear estimate knows second moments of four frames. The network sees a burst of speech whole
and the burst before it, and how sure each frame is.
"""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F

BURST_FRAMES = 8


@dataclass(frozen=True)
class RefinerConfig:
    """Sizes of a :class:`LatentRefiner`.

    Attributes:
        dimension: of the latent.
        hidden: units of each recurrent layer, each way.
        layers: recurrent layers.
        head: units between them and the latent.
    """

    dimension: int = 64
    hidden: int = 256
    layers: int = 2
    head: int = 512

    def as_dict(self) -> dict[str, int]:
        """Returns the values that ``analogue.json`` keeps."""
        return asdict(self)


class LatentRefiner(nn.Module):
    """Expected latents of the last burst of some frames.

    Args:
        config: sizes.
    """

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.dimension))
        self.register_buffer("deviation", torch.ones(config.dimension))
        inputs = config.dimension + 2
        self.recurrent = nn.GRU(
            inputs, config.hidden, config.layers, batch_first=True, bidirectional=True
        )
        self.expand = nn.Linear(2 * config.hidden + inputs, config.head)
        self.contract = nn.Linear(config.head, config.dimension)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, latents: torch.Tensor, unsure: torch.Tensor) -> torch.Tensor:
        """Latents ``[B, 8, dimension]`` of the last 8 frames.

        Args:
            latents: as the channel code estimates them, ``[B, T, dimension]``, T at least 8.
            unsure: what of their variance it does not know, ``[B, T]``, 0 to 1; 1: nothing
                arrived.
        """
        here = (latents - self.mean) / self.deviation
        told = torch.stack([unsure, unsure.clamp(min=1e-3).log() / 3.0], dim=-1)
        seen = torch.cat([here, told], dim=-1)
        context = self.recurrent(seen)[0][:, -BURST_FRAMES:]
        seen = seen[:, -BURST_FRAMES:]
        added = self.contract(F.gelu(self.expand(torch.cat([context, seen], dim=-1))))
        return (here[:, -BURST_FRAMES:] + added) * self.deviation + self.mean

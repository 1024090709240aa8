# SPDX-License-Identifier: GPL-3.0-or-later
"""A recurrent network that gives the latent of each frame from all that arrived up to the next.

Prefixes that were cut, frames that were lost and the error of the quantiser are one problem: what
the latent was, given what came of it and of the frames around. The look-ahead of one frame is there
while a frame waits for its copy.
"""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F

TOKENS = 8


@dataclass(frozen=True)
class ContextConfig:
    """Sizes of a :class:`ContextModel`.

    Attributes:
        dimension: of the latent.
        hidden: units of each recurrent layer.
        layers: recurrent layers.
        head: units between them and the latent.
    """

    dimension: int = 64
    hidden: int = 384
    layers: int = 2
    head: int = 384

    def as_dict(self) -> dict[str, int]:
        """Returns the values that ``context.json`` keeps."""
        return asdict(self)


class ContextModel(nn.Module):
    """Expected latents of a stream of frames.

    Args:
        config: sizes.
    """

    def __init__(self, config: ContextConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.dimension))
        self.register_buffer("deviation", torch.ones(config.dimension))
        inputs = 2 * (config.dimension + TOKENS + 1)
        self.recurrent = nn.GRU(inputs, config.hidden, config.layers, batch_first=True)
        self.expand = nn.Linear(config.hidden + inputs, config.head)
        self.contract = nn.Linear(config.head, config.dimension)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(
        self,
        own: torch.Tensor,
        own_count: torch.Tensor,
        following: torch.Tensor,
        following_count: torch.Tensor,
        state: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents ``[B, T, dimension]``, and the state behind the last frame.

        Args:
            own: what the tokens that arrived of each frame add up to, ``[B, T, dimension]``.
            own_count: how many these are, 0 to 8, int64 ``[B, T]``.
            following: as ``own``, of the frame behind each one.
            following_count: as ``own_count``; 0: nothing of it is there yet.
            state: of the call before, ``[layers, B, hidden]``; None: the stream begins.
        """
        here, behind = self._centred(own, own_count), self._centred(following, following_count)
        counts = [F.one_hot(n, TOKENS + 1).to(own.dtype) for n in (own_count, following_count)]
        seen = torch.cat([here, counts[0], behind, counts[1]], dim=-1)
        context, state = self.recurrent(seen, state)
        added = self.contract(F.gelu(self.expand(torch.cat([context, seen], dim=-1))))
        return (here + added) * self.deviation + self.mean, state

    def _centred(self, latent: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Of unit variance; zero where nothing arrived."""
        return torch.where(count[..., None] > 0, (latent - self.mean) / self.deviation, 0.0)

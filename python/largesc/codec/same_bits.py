# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers that give one stream the same bits alone and beside others.

Libraries have another kernel for a product of few rows, which adds up in another order. A vocoder
sums its pitch up to a phase, so that the last bit is heard after a while. Here a product of few
rows is computed as one of :data:`LEAST_ROWS`, which costs some microseconds.
"""

import torch
from torch import nn
from torch.nn import functional as F

# From here on a row has the same bits however many there are.
LEAST_ROWS = 4


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``F.linear`` of ``x`` ``[..., in]`` and ``weight`` ``[out, in]``, to ``[..., out]``."""
    rows = x.reshape(-1, x.shape[-1])
    count = len(rows)
    y = F.linear(F.pad(rows, (0, 0, 0, max(LEAST_ROWS - count, 0))), weight, bias)
    return y[:count].reshape(*x.shape[:-1], weight.shape[0])


class SameBitsLinear(nn.Linear):
    """As :class:`torch.nn.Linear`: a product of four rows or more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self.weight, self.bias)


class SameBitsConv1d(nn.Conv1d):
    """As :class:`torch.nn.Conv1d`: of a window of one step, as in a stream, a product."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] > self.kernel_size[0]:
            return super().forward(x)
        return product(x.flatten(1), self.weight.flatten(1), self.bias)[:, :, None]


class SameBitsConvTranspose1d(nn.ConvTranspose1d):
    """As :class:`torch.nn.ConvTranspose1d` whose kernel is its stride: a product a step."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = product(x.transpose(1, 2), self.weight.flatten(1).T)
        y = y.reshape(*y.shape[:2], self.out_channels, self.kernel_size[0])
        return y.transpose(1, 2).flatten(2) + self.bias[:, None]


KINDS = {
    nn.Linear: SameBitsLinear,
    nn.Conv1d: SameBitsConv1d,
    nn.ConvTranspose1d: SameBitsConvTranspose1d,
}


def with_same_bits(module: nn.Module) -> None:
    """Changes all layers of ``module`` that add up channels; weights keep their names."""
    for part in module.modules():
        kind = KINDS.get(type(part))
        if kind is not None and getattr(part, "groups", 1) == 1:
            part.__class__ = kind

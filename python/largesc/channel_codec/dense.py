# SPDX-License-Identifier: GPL-3.0-or-later
"""The paper's channel code, for comparison: three dense layers each side, one frame at a time.

As Table I of "Large Model Empowered Streaming Speech Semantic Communications" has it: 2048 units,
no activation at the sender, ReLU at the receiver. The third layer gives as many numbers as are sent
there, and as a feature frame has here; the paper does not say how many symbols a frame gets.
"""

import numpy as np
import torch
from torch import nn

from ..channel.symbols import unit_power
from .linear import BLOCK_FRAMES
from .snr_adaptive import in_complex


class DenseCode(nn.Module):
    """Features to symbols of mean power 1, and back.

    Args:
        width: numbers a feature frame.
        symbols: complex symbols a frame.
        units: of a layer.

    Attributes:
        block_symbols: complex symbols a block of four frames.
    """

    name = "dense"

    def __init__(self, width: int, symbols: int = 64, units: int = 2048) -> None:
        super().__init__()
        self.width, self.symbols, self.block_symbols = width, symbols, BLOCK_FRAMES * symbols
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.sender = nn.Sequential(
            nn.Linear(width, units), nn.Linear(units, units), nn.Linear(units, 2 * symbols)
        )
        self.receiver = nn.Sequential(
            nn.Linear(2 * symbols, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(),
            nn.Linear(units, width),
        )  # fmt: skip

    def sent(self, features: torch.Tensor) -> torch.Tensor:
        """Complex ``[n, symbols]`` of frames ``[n, width]``, of mean power 1 over all of them."""
        x = in_complex(self.sender((features - self.mean) / self.deviation))
        return unit_power(x.reshape(1, -1)).reshape(x.shape)

    def received(self, y: torch.Tensor, h: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Features ``[n, width]`` of what arrived, ``[n, symbols]``; noise is a symbol's power."""
        upright = y * h.conj() / (h.abs().square() + noise)
        found = self.receiver(torch.cat([upright.real, upright.imag], dim=1))
        return found * self.deviation + self.mean

    @torch.no_grad()
    def encode(self, features: np.ndarray) -> tuple[np.ndarray, int]:
        """As :meth:`LinearCode.encode`; there is no gain."""
        x = self.sent(torch.from_numpy(np.float32(features)))
        return x.reshape(-1, self.block_symbols).numpy(), 0

    @torch.no_grad()
    def heard(self, y: np.ndarray, h: np.ndarray, snr_db: float, gain_steps: int) -> np.ndarray:
        """Features ``[n, 4 width]`` of blocks, as :meth:`LinearCode.heard` gives its own."""
        fade = np.broadcast_to(h, y.shape).reshape(-1, self.symbols)
        given = [torch.from_numpy(np.complex64(x)) for x in (y.reshape(fade.shape), fade)]
        found = self.received(*given, torch.tensor(10.0 ** (-snr_db / 10.0)))
        return found.reshape(len(y), -1).numpy()

    def features(self, heard: np.ndarray) -> np.ndarray:
        """Returns the frames ``[4 n, width]`` of blocks."""
        return heard.reshape(-1, self.width)

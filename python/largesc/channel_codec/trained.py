# SPDX-License-Identifier: GPL-3.0-or-later
"""The trained channel code in use: symbols as the linear one makes them, numbers by the network."""

import numpy as np
import torch

from .linear import LinearCode, Statistics
from .network import FACTS, CodeNetwork


class TrainedCode(LinearCode):
    """Features to symbols of mean power 1, and back, by a :class:`CodeNetwork`.

    The more of a window has arrived, the better its features: give :meth:`features` all of it.

    Args:
        network: trained with these statistics.
        statistics: of the linear code that it began as.
        symbols: complex symbols a feature frame of 20 ms.

    Raises:
        ValueError: more symbols than there are directions for.
    """

    name = "trained"

    def __init__(self, network: CodeNetwork, statistics: Statistics, symbols: int = 64) -> None:
        super().__init__(statistics, symbols)
        self._network = network.requires_grad_(False).eval()

    def features(self, heard: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(heard)[None]
        return self._network.features(given[..., :-FACTS], given[..., -FACTS:])[0].numpy()

    def _numbers(self, features: np.ndarray) -> np.ndarray:
        along = self._network.along(torch.from_numpy(np.float32(features))[None])
        return self._network.sent(along, 2 * self.block_symbols)[0].numpy()

    def _estimate(self, received: np.ndarray, noise: np.ndarray, gain: float) -> np.ndarray:
        numbers = [torch.from_numpy(np.float32(value))[None] for value in (received, noise)]
        found = self._network.estimate(*numbers, torch.tensor(gain, dtype=torch.float32))
        return torch.cat(found, dim=-1)[0].numpy()

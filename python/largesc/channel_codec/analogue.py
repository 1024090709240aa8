# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of analogue speech, from its source: ``embedded`` or a folder of `largesc train`."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..models.store import (
    ModelError,
    load_weights,
    made_by_others,
    read_config,
    resolve,
    save_model,
)
from .refiner import LatentRefiner, RefinerConfig
from .spread import BLOCK_FRAMES, LatentStatistics

PART = "analogue"


class AnalogueCode(nn.Module):
    """Statistics of the channel code, and the network behind it.

    Args:
        config: sizes of the network.
    """

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        size = BLOCK_FRAMES * config.dimension
        self.register_buffer("mean", torch.zeros(config.dimension))
        self.register_buffer("basis", torch.eye(size))
        self.register_buffer("variance", torch.ones(size))
        self.refiner = LatentRefiner(config)

    @property
    def statistics(self) -> LatentStatistics:
        """Returns what the channel code is made from."""
        return LatentStatistics(*(getattr(self, n).numpy() for n in ("mean", "basis", "variance")))

    def fit(self, found: LatentStatistics) -> None:
        """Takes over statistics of latents of the same dimension."""
        for name, value in vars(found).items():
            getattr(self, name).copy_(torch.from_numpy(np.float32(value)))


def load_analogue_code(source: str = "embedded") -> AnalogueCode:
    """The channel code of analogue speech.

    Args:
        source: ``embedded``, for the embedded codec, or a folder.

    Raises:
        ModelError: nothing usable is there.
    """
    folder = resolve(source, PART)
    config = read_config(folder, PART)
    with made_by_others(source):
        model = AnalogueCode(RefinerConfig(**config))
        load_weights(model, folder, PART)
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise ModelError(f"{source!r} has weights that are no numbers: train it again")
    return model.requires_grad_(False).eval()


def save_analogue_code(model: AnalogueCode, folder: Path) -> None:
    """Writes ``analogue.json`` and ``analogue.safetensors``, matrices in 8 bit."""
    save_model(model, model.refiner.config.as_dict(), folder, PART, int8=True)

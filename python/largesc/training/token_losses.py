# SPDX-License-Identifier: GPL-3.0-or-later
"""Crops of tokens, and the losses of a language model on them."""

import numpy as np
import torch
from moshi.models.lm import LMOutput
from torch import nn
from torch.nn import functional as F

from .text import UNKNOWN
from .token_sets import TokenSet


def batch_of(
    found: TokenSet, size: int, frames: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops, int64 ``[size, 8, frames]``, and their text ``[size, frames]``, see ``text``.

    Raises:
        ValueError: there are not so many frames.
    """
    if len(found.tokens) <= frames:
        raise ValueError(
            f"{len(found.tokens)} frames of tokens are too few for crops of {frames}: give more "
            "speech to `largesc train tokens`, or set fewer frames in the config"
        )
    out = np.empty((size, 8, frames), dtype=np.int64)
    text = np.full((size, frames), UNKNOWN, dtype=np.int64)
    for row in range(size):
        # Crops may run into the next utterance: a cut is what a real link sees as well.
        start = int(rng.integers(0, len(found.tokens) - frames))
        out[row] = found.tokens[start : start + frames].T
        if found.text is not None:
            text[row] = found.text[start : start + frames]
    return torch.from_numpy(out), torch.from_numpy(text)


def outputs_of(model: nn.Module, codes: torch.Tensor, text: torch.Tensor | None = None) -> LMOutput:
    """What a model makes of ``codes`` ``[B, 8, T]``, teacher forced.

    Args:
        model: moshi ``LMModel``; streams beyond the eighth, as of Moshi's other speaker, are zero.
        codes: int64.
        text: text tokens, int64 ``[B, T]``; none: padding.
    """
    batch, streams, frames = codes.shape
    if text is None:
        text = torch.full((batch, frames), model.text_padding_token_id, device=codes.device)
    others = codes.new_full((batch, model.n_q - streams, frames), model.zero_token_id)
    return model(torch.cat([text[:, None], codes, others], dim=1))


def logits_of(model: nn.Module, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``[B, 8, T, 2048]`` of each token of ``codes`` ``[B, 8, T]``, and where they count."""
    result = outputs_of(model, codes)
    return result.logits.float(), result.mask


def token_losses(logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats of each token, ``[B, 8, T]``, for logits ``[B, 8, T, 2048]``."""
    # Flat, since the gradient of a slice for each codebook fills a whole tensor each time.
    losses = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none")
    return losses.reshape(codes.shape)


class CodebookLosses(nn.Module):
    """Language model and its losses as one module that can be spread over processes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: torch.Tensor, heard: torch.Tensor | None = None) -> torch.Tensor:
        """Mean cross-entropy of each codebook in nats, ``[8]``, for ``codes`` ``[B, 8, T]``.

        The context is ``heard`` ``[B, 8, T]`` where that is given.
        """
        logits, known = logits_of(self.model, codes if heard is None else heard)
        losses = torch.where(known, token_losses(logits, codes), 0.0)
        return losses.sum(dim=(0, 2)) / known.sum(dim=(0, 2))


def weights_of(config: dict, device: torch.device) -> torch.Tensor:
    """The config's weight of each codebook, of sum 1, ``[8]``."""
    weights = torch.tensor(config["codebook_weights"], device=device)
    return weights / weights.sum()

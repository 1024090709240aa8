# SPDX-License-Identifier: GPL-3.0-or-later
"""What a channel code learns from: drawn air, crops of features, and what a decoder expects.

The large model is frozen. Its own output distribution behind its own text, of features as they
were sent, is what those that arrived are held against.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..channel_codec.linear import BLOCK_FRAMES
from ..channel_codec.network import CodeNetwork
from .feature_windows import FeatureWindow, FeatureWindows
from .whisper_weights import token_logits, whisper_of

# Blocks of a crop: a burst of 0.75 s, up to nearly 10 s.
CROP_BLOCKS = (9, 32, 64, 120)
# Text that teaches: the model is sure of it, and it is neither empty nor babble.
LEAST_CONFIDENCE, MOST_TOKENS = -1.2, 90
PROMPTS = "asterisk"


class DrawnAir:
    """Symbols a frame, fading and SNR of a training channel.

    Args:
        facts: ``channel`` of the config.
        rng: of all that is drawn.
    """

    def __init__(self, facts: dict, rng: np.random.Generator) -> None:
        self._facts, self._rng = facts, rng

    def draw(
        self, windows: int, blocks: int, snr_db: list[float] | None = None
    ) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Numbers a block, |h|² ``[windows, blocks, numbers]``, SNR in dB ``[windows, 1, 1]``."""
        facts, rng = self._facts, self._rng
        reals = 2 * BLOCK_FRAMES * int(rng.choice(facts["symbols"]))
        kind = rng.random((windows, 1, 1))
        of_block = rng.exponential(1.0, (windows, blocks, 1))
        of_symbol = rng.exponential(1.0, (windows, blocks, reals // 2)).repeat(2, axis=2)
        fading, interleaved = facts["fading"], facts["interleaved"]
        fade = np.where(kind < fading, of_block, 1.0)
        fade = np.where(kind > 1.0 - interleaved, of_symbol, fade)
        drawn = rng.uniform(*(snr_db or facts["snr_db"]), (windows, 1, 1))
        return reals, torch.from_numpy(np.float32(fade)), torch.from_numpy(np.float32(drawn))


class Crops:
    """Random crops of windows.

    Args:
        found: windows.
        prompts: how many times as often as their length says prompts are drawn.
        blocks: of a batch.
        rng: of the crops.

    Raises:
        ValueError: all windows are shorter than a crop.
    """

    def __init__(
        self, found: FeatureWindows, prompts: float, blocks: int, rng: np.random.Generator
    ) -> None:
        self._found, self._blocks, self._rng = found, blocks, rng
        self._choices = []
        for length in CROP_BLOCKS:
            long = [w for w in found.learned if w.frames >= BLOCK_FRAMES * length]
            if long:
                self._choices.append((length, long, chances_of(long, prompts)))
        if not self._choices:
            raise ValueError(f"no window is {0.08 * CROP_BLOCKS[0]} s long: give more speech")

    def draw(self) -> torch.Tensor:
        """Features ``[B, 4 n, width]`` of crops of one length."""
        length, windows, chances = self._choices[self._rng.integers(len(self._choices))]
        frames, found = BLOCK_FRAMES * length, []
        for place in self._rng.choice(len(windows), max(1, self._blocks // length), p=chances):
            window = windows[place]
            most = (window.frames - frames) // BLOCK_FRAMES
            first = BLOCK_FRAMES * int(self._rng.integers(0, most + 1))
            found.append(self._found.features(window, first, frames))
        return torch.from_numpy(np.stack(found))


def chances_of(windows: list[FeatureWindow], prompts: float) -> np.ndarray:
    """By length, prompts ``prompts`` times as often; they add up to 1."""
    often = [w.frames * (prompts if w.corpus.startswith(PROMPTS) else 1.0) for w in windows]
    return np.array(often) / np.sum(often)


def teaches(window: FeatureWindow) -> bool:
    """Whether the text of a window can teach."""
    count = len(window.tokens) - window.prompt
    sure = window.confidence >= LEAST_CONFIDENCE
    return sure and count > 1 and len(window.tokens) <= MOST_TOKENS


def through(
    network: CodeNetwork,
    features: torch.Tensor,
    air: tuple[int, torch.Tensor, torch.Tensor],
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Features behind drawn air, computed in 16 bit."""
    with torch.autocast("cpu", torch.bfloat16):
        return network.through(features, *air, generator).float()


def error_left(network: CodeNetwork, found: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Squared error, weighed by what the decoder reads, as a share of the features' variance."""
    error = ((found - features) @ network.weight).square().sum(dim=(1, 2)).mean()
    return error / (features.shape[1] / BLOCK_FRAMES * network.variance.sum())


class Words:
    """What the large model's decoder expects.

    Args:
        folder: of a faster-whisper model.
        silence: features behind speech, ``[n, width]``.
    """

    def __init__(self, folder: Path, silence: np.ndarray) -> None:
        # In 16 bit it takes half the time; what it expects of both is rounded alike.
        self._whisper = whisper_of(folder).to(torch.bfloat16)
        self._silence = torch.from_numpy(silence)[None]

    def expected(self, features: torch.Tensor, window: FeatureWindow) -> torch.Tensor:
        """Log-probabilities ``[n, vocabulary]`` of each token of the text and of the end."""
        tokens = torch.tensor([window.tokens[:-1]])
        heard = torch.cat([features, self._silence], dim=1)
        logits = token_logits(self._whisper, heard.bfloat16(), tokens)[0, window.prompt - 1 :]
        return F.log_softmax(logits.float(), dim=-1)

    def apart(
        self, found: torch.Tensor, features: torch.Tensor, window: FeatureWindow
    ) -> torch.Tensor:
        """Divergence in nats a token of features that arrived ``[1, n, width]``."""
        with torch.no_grad():
            true = self.expected(features, window)
        return (true.exp() * (true - self.expected(found, window))).sum(dim=-1).mean()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Features of a speech model that the codec's latent shall predict."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ

TEACHER_RATE_HZ = 16_000


class Teacher(nn.Module):
    """A frozen HuBERT- or WavLM-like model, and the projection of the latent that is trained.

    After SpeechTokenizer and Mimi (arXiv 2410.00037, section 3.3.2): cosine distance between a
    linear projection of the latent and the teacher's features, averaged over each frame of 80 ms.

    Args:
        path: folder that transformers' ``AutoModel`` reads.
        dimension: width of the latent.

    Raises:
        ValueError: there is no such model.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        super().__init__()
        from transformers import AutoModel

        if not (path / "config.json").is_file():
            raise ValueError(f"teacher {path} is no model folder of transformers: no config.json")
        try:
            self.model = AutoModel.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"teacher {path} cannot be loaded: {error}") from error
        self.model.requires_grad_(False).eval()
        self.project = nn.Linear(dimension, self.model.config.hidden_size)

    def train(self, mode: bool = True) -> "Teacher":
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, latent: torch.Tensor, speech: torch.Tensor) -> torch.Tensor:
        """Distance between latent ``[B, dimension, n]`` and speech ``[B, 1920 n]``, 0 to 2."""
        with torch.no_grad():
            count = speech.shape[1] * TEACHER_RATE_HZ // SAMPLE_RATE_HZ
            low = F.interpolate(speech[:, None], count, mode="linear")[:, 0]
            features = self.model(low).last_hidden_state.transpose(1, 2)
            features = F.adaptive_avg_pool1d(features, speech.shape[1] // FRAME_SAMPLES)
        found = self.project(latent.transpose(1, 2))
        return (1.0 - F.cosine_similarity(found, features.transpose(1, 2), dim=2)).mean()

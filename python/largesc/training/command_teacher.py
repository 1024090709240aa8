# SPDX-License-Identifier: GPL-3.0-or-later
"""The large model that teaches commands: Whisper's encoder and a head for the labels."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..evaluation.recogniser import RATE_HZ, Recogniser
from ..models.packaged import MODELS, WHISPER
from ..speech.files import resampled
from ..speech.format import SAMPLE_RATE_HZ

# The first 1.28 s, which hold nearly every command, in steps of 0.16 s of eight features each.
WINDOW_FRAMES, STEPS = 128, 8


class WhisperFeatures:
    """Speech of 1.6 s to averages of Whisper's features in steps, by default of 0.16 s.

    Args:
        name: see :func:`gnuradio.largesc.evaluation.recogniser.weights_folder`.
        window_frames: of 10 ms that it hears. steps: that these are averaged in.

    Raises:
        ValueError: the recogniser is not installed.
    """

    def __init__(self, name: str, window_frames: int = WINDOW_FRAMES, steps: int = STEPS) -> None:
        self._frames, self._steps = window_frames, steps
        self._whisper = Recogniser(name)._whisper
        self.name = name
        self.sum = MODELS[name].sha256 if name in WHISPER else name

    def __call__(self, speech: np.ndarray) -> np.ndarray:
        """Float32 ``[B, steps, width]`` of speech ``[B, 38400]`` at 24 kHz."""
        import ctranslate2

        samples = self._frames * RATE_HZ // 100
        heard = [resampled(r, SAMPLE_RATE_HZ, RATE_HZ)[:samples].astype(np.float32) for r in speech]
        mel = [self._whisper.feature_extractor(h, padding=0)[:, : self._frames] for h in heard]
        view = ctranslate2.StorageView.from_array(np.ascontiguousarray(np.stack(mel), np.float32))
        found = np.array(self._whisper.model.encode(view, to_cpu=True), dtype=np.float32)
        return found.reshape(len(found), self._steps, -1, found.shape[-1]).mean(axis=2)


class TeacherHead(nn.Module):
    """Averaged features ``[B, 8, width]`` to logits ``[B, labels]``."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.step = nn.Linear(width, 128)
        self.hidden = nn.Linear(128 * (STEPS + 1), 256)
        self.out = nn.Linear(256, labels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.step(F.dropout(self.norm(features), 0.1, self.training)))
        x = torch.cat([x.flatten(1), x.amax(dim=1)], dim=1)
        x = F.gelu(self.hidden(F.dropout(x, 0.4, self.training)))
        return self.out(F.dropout(x, 0.4, self.training))

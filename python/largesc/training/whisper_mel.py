# SPDX-License-Identifier: GPL-3.0-or-later
"""Whisper's log-mel spectrum of 24 kHz speech, with a gradient."""

import torch
from torch import nn
from transformers import WhisperFeatureExtractor

# 25 ms and 10 ms at 24 kHz. Bins are 40 Hz apart as in Whisper's own 400 samples at 16 kHz, so that
# those below 8 kHz are the same and nothing needs to be resampled.
WINDOW_SAMPLES, HOP_SAMPLES, BINS = 600, 240, 201
RANGE_DECADES = 8.0


class WhisperMel(nn.Module):
    """Speech ``[B, 240 n]`` to log-mel frames ``[B, 80, n]``."""

    def __init__(self, bands: int = 80) -> None:
        super().__init__()
        filters = WhisperFeatureExtractor(feature_size=bands).mel_filters
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32).T)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES))

    def forward(self, speech: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            speech, WINDOW_SAMPLES, HOP_SAMPLES, window=self.window, return_complex=True
        )[:, :BINS, :-1]
        # A window of half as many samples again sums up half as much again.
        power = (spectrum.real.square() + spectrum.imag.square()) / 1.5**2
        found = torch.log10((self.filters @ power).clamp(min=1e-10))
        floor = found.detach().amax(dim=(1, 2), keepdim=True) - RANGE_DECADES
        return (torch.maximum(found, floor) + 4.0) / 4.0

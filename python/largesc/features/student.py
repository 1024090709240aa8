# SPDX-License-Identifier: GPL-3.0-or-later
"""The light encoder of a spoken command: how likely each label is, from at most 1.6 s of speech."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..speech.activity import MOST_STEPS, STEP_SAMPLES
from ..speech.format import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 5 * STEP_SAMPLES // 2
BANDS_HZ = (60.0, 6500.0)
# Under the loudest band of an utterance, in decades of power.
RANGE_DECADES = 6.0
# Of the first convolutions; those behind them are as the last.
KERNELS, STRIDES = (5, 5, 3, 3, 3), (2, 2, 1, 2, 1)
MOST_SAMPLES = MOST_STEPS * STEP_SAMPLES


@dataclass(frozen=True)
class StudentConfig:
    """Sizes of a :class:`StudentEncoder`.

    Attributes:
        labels: how many there are.
        bands: of the log-mel spectrum.
        channels: of the convolutions, five or more.
        steps: that are pooled to, in time.
        fft: bins of the spectrum before the bands, at least a window of 25 ms, 600. Models that do
            not say it have 1024.
    """

    labels: int
    bands: int = 40
    channels: tuple[int, ...] = (64, 128, 128, 160, 160)
    steps: int = 5
    fft: int = 1024

    def as_dict(self) -> dict:
        """Returns the values that ``task.json`` keeps."""
        return asdict(self) | {"channels": list(self.channels)}


def mel_filters(bands: int, fft: int) -> torch.Tensor:
    """Triangles of height 1, ``[bands, bins]``, evenly spaced in mel between 60 Hz and 6.5 kHz.

    Of the bins of an FFT, those that a triangle reaches.
    """
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in BANDS_HZ)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, bands + 2) / 2595.0) - 1.0)
    hz = np.arange(0.0, BANDS_HZ[1], SAMPLE_RATE_HZ / fft)
    up = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return torch.from_numpy(np.minimum(up, down).clip(0.0)).float()


class LogMel(nn.Module):
    """Speech ``[B, n]`` at 24 kHz to its log-mel spectrum ``[B, bands, 160]``.

    Speech of less than 1.6 s is followed by silence, of more is cut. The loudest value is 1, 60 dB
    below and less is -1.

    Args:
        bands, fft: as in :class:`StudentConfig`.

    Raises:
        ValueError: the FFT is shorter than a window.
    """

    def __init__(self, bands: int, fft: int) -> None:
        super().__init__()
        if fft < WINDOW_SAMPLES:
            raise ValueError(f"fft {fft} is too small: use {WINDOW_SAMPLES} or more")
        self._fft = fft
        self.register_buffer("filters", mel_filters(bands, fft), persistent=False)
        window = torch.hann_window(WINDOW_SAMPLES)
        self.register_buffer("window", window, persistent=False)

    def forward(self, speech: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            speech, self._fft, STEP_SAMPLES, WINDOW_SAMPLES, self.window, return_complex=True,
            pad_mode="constant",
        )[:, : self.filters.shape[1], :-1]  # fmt: skip
        power = self.filters @ (spectrum.real.square() + spectrum.imag.square())
        decades = torch.log10(power.clamp(min=1e-10))
        decades = decades - decades.amax(dim=(1, 2), keepdim=True)
        found = 1.0 + 2.0 / RANGE_DECADES * decades.clamp(min=-RANGE_DECADES)
        return F.pad(found, (0, MOST_STEPS), value=-1.0)[:, :, :MOST_STEPS]


class Layer(nn.Module):
    """A convolution in time; what comes in is added where it has the same shape."""

    def __init__(self, before: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(before, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.added = before == channels and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = F.relu(self.norm(self.convolution(x)))
        return found + x if self.added else found


class StudentEncoder(nn.Module):
    """Log-mel spectrum ``[B, bands, 160]`` to logits of the labels, ``[B, labels]``.

    Few dense convolutions, each second one at half the rate: on one core of a CPU separable ones
    are no faster, and take thrice as long to train.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        before, more = (config.bands, *config.channels[:-1]), len(config.channels) - len(KERNELS)
        if more < 0:
            raise ValueError(f"{len(config.channels)} convolutions are too few: give 5 or more")
        kernels, strides = (*KERNELS, *[3] * more), (*STRIDES, *[1] * more)
        parts = zip(before, config.channels, kernels, strides, strict=True)
        self.layers = nn.Sequential(*(Layer(*part) for part in parts))
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(config.channels[-1] * (config.steps + 1), config.labels)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = self.layers(mel)
        parts = F.adaptive_avg_pool1d(x, self.config.steps).flatten(1)
        return self.head(self.drop(torch.cat([parts, x.amax(dim=2)], dim=1)))


def padded(samples: np.ndarray) -> np.ndarray:
    """Speech ``[n]`` as float32 ``[38400]``: zeros behind it, or cut."""
    out = np.zeros(MOST_SAMPLES, dtype=np.float32)
    out[: min(len(samples), MOST_SAMPLES)] = samples[:MOST_SAMPLES]
    return out

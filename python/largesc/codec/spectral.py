# SPDX-License-Identifier: GPL-3.0-or-later
"""Small causal streaming encoder for moshi's ``MimiModel``.

Official Mimi uses SEANet on the waveform. The embedded codec works on spectra and the
autocorrelation instead, since that trains in an hour on two CPU cores: causal ConvNeXt blocks
make a latent of them. The class follows the contract that ``MimiModel`` has for its encoder,
``[B, 1, 1920 n] -> [B, dimension, n]`` with streaming state.
"""

import math
from dataclasses import dataclass

import torch
from moshi.modules.conv import StreamingConv1d
from moshi.modules.streaming import State, StreamingContainer, StreamingModule
from torch import nn
from torch.nn import functional as F

from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ

PITCH_WINDOW_SAMPLES = FRAME_SAMPLES


def mel_filterbank(n_mels: int, n_fft: int) -> torch.Tensor:
    """Triangular HTK-mel filters with unit peak, shape ``[n_mels, n_fft // 2 + 1]``."""
    top = 2595.0 * torch.log10(torch.tensor(1.0 + SAMPLE_RATE_HZ / 2 / 700.0))
    edges_hz = 700.0 * (10.0 ** (torch.linspace(0.0, float(top), n_mels + 2) / 2595.0) - 1.0)
    bins_hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, n_fft // 2 + 1)
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - left) / (centre - left)
    falling = (right - bins_hz) / (right - centre)
    return torch.clamp(torch.minimum(rising, falling), min=0.0)


@dataclass
class _TailState(State):
    """Samples carried from one call to the next, ``[B, n]``."""

    tail: torch.Tensor

    def reset(self, reset_mask: torch.Tensor) -> None:
        super().reset(reset_mask)
        self.tail[reset_mask] = 0.0


def overlapping(part: StreamingModule[_TailState], x: torch.Tensor) -> torch.Tensor:
    """Frames ``[B, n, size]`` that end each ``hop`` samples of ``x`` ``[B, hop n]``, causal."""
    state = part._streaming_state
    if state is None:
        x = F.pad(x, (part.size - part.hop, 0))
    else:
        x = torch.cat([state.tail, x], dim=-1)
        state.tail = torch.where(state.exec_mask[:, None], x[:, -state.tail.shape[1] :], state.tail)
    return x.unfold(-1, part.size, part.hop)


class LogMelFrontEnd(StreamingModule[_TailState]):
    """Waveform ``[B, 1, hop n]`` to log-mel frames ``[B, n_mels, n]``, causal.

    Args:
        n_mels: mel bands.
        window: window length in samples.
        hop: hop in samples.
    """

    def __init__(self, n_mels: int, window: int, hop: int) -> None:
        super().__init__()
        self.hop, self.size = hop, window
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.register_buffer("mel", mel_filterbank(n_mels, window), persistent=False)

    def _init_streaming_state(self, batch_size: int) -> _TailState:
        device = self.window.device
        tail = torch.zeros(batch_size, self.size - self.hop, device=device, dtype=self.window.dtype)
        return _TailState(batch_size, device, tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = overlapping(self, x[:, 0]) * self.window
        power = torch.fft.rfft(frames).abs().square()
        return torch.log(power @ self.mel.T + 1e-5).transpose(1, 2)


class PitchFrontEnd(StreamingModule[_TailState]):
    """Waveform ``[B, 1, hop n]`` to how periodic it is at each of many lags ``[B, lags, n]``.

    The autocorrelation of a compressed power spectrum, at lags of 48 to 400 samples (500 to 60 Hz).

    Args:
        lags: lags, spaced evenly in log frequency.
        window: window length in samples.
        hop: hop in samples.
    """

    def __init__(self, lags: int, window: int, hop: int) -> None:
        super().__init__()
        self.hop, self.size = hop, window
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        spaced = torch.logspace(math.log10(48), math.log10(400), lags)
        # Between two lags of the transform by linear interpolation.
        places = torch.arange(401)
        weights = torch.clamp(1.0 - (places[:, None] - spaced[None]).abs(), min=0.0)
        self.register_buffer("lags", weights, persistent=False)

    _init_streaming_state = LogMelFrontEnd._init_streaming_state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = overlapping(self, x[:, 0]) * self.window
        power = torch.fft.rfft(frames, n=2048).abs().square() + 1e-8
        correlation = torch.fft.irfft(power**0.33)[..., :401]
        return ((correlation / correlation[..., :1]) @ self.lags).transpose(1, 2)


class ConvNeXtBlock(StreamingContainer):
    """Causal ConvNeXt block, ``[B, channels, n]`` to the same shape."""

    def __init__(self, channels: int, expansion: int = 3, kernel: int = 7) -> None:
        super().__init__()
        self.depthwise = StreamingConv1d(channels, channels, kernel, groups=channels, causal=True)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, expansion * channels)
        self.contract = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2))
        y = self.contract(F.gelu(self.expand(y))) * self.scale
        return x + y.transpose(1, 2)


class SpectralEncoder(StreamingContainer):
    """Waveform ``[B, 1, 1920 n]`` to latent ``[B, dimension, n]``.

    The latent is a linear map of all features within a frame, which regression finds in a minute,
    plus what the blocks add to it.

    Args:
        dimension: width of the latent.
        channels: width of the blocks.
        n_mels: mel bands of the front end.
        hop: samples between two steps of the blocks, with two windows of the front end each;
            ``1920 / hop`` is the temporal down-sampling.
        window: of the front end, samples.
        blocks: ConvNeXt blocks before and after the down-sampling.
        lags: of the pitch front end.
    """

    def __init__(
        self,
        dimension: int = 64,
        channels: int = 256,
        n_mels: int = 80,
        hop: int = 480,
        window: int = 720,
        blocks: tuple[int, int] = (3, 2),
        lags: int = 64,
    ) -> None:
        super().__init__()
        stride = FRAME_SAMPLES // hop
        self.dimension = dimension
        self.front_end = LogMelFrontEnd(n_mels, window, hop // 2)
        self.pitch_front_end = PitchFrontEnd(lags, PITCH_WINDOW_SAMPLES, hop)
        self.model = nn.Sequential(
            StreamingConv1d(2 * n_mels + lags, channels, 3, causal=True),
            *[ConvNeXtBlock(channels) for _ in range(blocks[0])],
            StreamingConv1d(channels, 2 * channels, 2 * stride, stride=stride, causal=True),
            *[ConvNeXtBlock(2 * channels, expansion=2) for _ in range(blocks[1])],
            nn.Conv1d(2 * channels, dimension, 1),
        )
        nn.init.zeros_(self.model[-1].weight)
        nn.init.zeros_(self.model[-1].bias)
        self.linear = nn.Linear(stride * (2 * n_mels + lags), dimension)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        linear, added = self.parts(x)
        return linear + added

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The latent's linear part and what the blocks add, each ``[B, dimension, n]``."""
        features = self.features(x)
        linear = self.linear(self.within_frames(features)).transpose(1, 2)
        return linear, self.model(features)

    def within_frames(self, features: torch.Tensor) -> torch.Tensor:
        """All features of each frame, ``[B, n, any]``, from those of each hop."""
        batch, count, steps = features.shape
        stride = self.linear.in_features // count
        frames = features.reshape(batch, count, steps // stride, stride)
        return frames.permute(0, 2, 1, 3).reshape(batch, steps // stride, -1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the front ends find in each hop, ``[B, 2 n_mels + lags, 4 n]``."""
        # Centres typical log-mel values, so that the first layer starts at unit scale.
        mel = (self.front_end(x) + 4.0) / 4.0
        batch, bands, steps = mel.shape
        mel = (
            mel.reshape(batch, bands, steps // 2, 2).transpose(2, 3).reshape(batch, -1, steps // 2)
        )
        return torch.cat([mel, 2.0 * self.pitch_front_end(x)], dim=1)

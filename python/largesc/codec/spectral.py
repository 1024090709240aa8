# SPDX-License-Identifier: GPL-3.0-or-later
"""Small causal streaming encoder and decoder for moshi's ``MimiModel``.

Official Mimi uses SEANet on the waveform. The embedded codec works on spectra instead, since
that trains in an hour on two CPU cores: log-mel frames go in, an inverse STFT comes out, and
causal ConvNeXt blocks lie between. Both classes follow the contract that ``MimiModel`` has for
its encoder and decoder: ``[B, 1, 1920 n] -> [B, dimension, n]`` and back, with streaming state.
"""

from dataclasses import dataclass

import torch
from moshi.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from moshi.modules.streaming import State, StreamingContainer, StreamingModule
from torch import nn
from torch.nn import functional as F

SAMPLE_RATE_HZ = 24000
FRAME_SAMPLES = 1920


def mel_filterbank(n_mels: int, n_fft: int, sample_rate_hz: int = SAMPLE_RATE_HZ) -> torch.Tensor:
    """Triangular HTK-mel filters with unit peak, shape ``[n_mels, n_fft // 2 + 1]``."""
    top = 2595.0 * torch.log10(torch.tensor(1.0 + sample_rate_hz / 2 / 700.0))
    edges_hz = 700.0 * (10.0 ** (torch.linspace(0.0, float(top), n_mels + 2) / 2595.0) - 1.0)
    bins_hz = torch.linspace(0.0, sample_rate_hz / 2, n_fft // 2 + 1)
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
        state = self._streaming_state
        x = x[:, 0]
        if state is None:
            x = F.pad(x, (self.size - self.hop, 0))
        else:
            x = torch.cat([state.tail, x], dim=-1)
            state.tail = torch.where(
                state.exec_mask[:, None], x[:, -state.tail.shape[1] :], state.tail
            )
        frames = x.unfold(-1, self.size, self.hop) * self.window
        power = torch.fft.rfft(frames).abs().square()
        return torch.log(power @ self.mel.T + 1e-5).transpose(1, 2)


class InverseStftHead(StreamingModule[_TailState]):
    """Features ``[B, channels, n]`` to waveform ``[B, 1, hop n]`` by overlap-add.

    A linear layer gives log-magnitude and phase of each bin. The overlap beyond the last hop is
    carried to the next call, so no sample waits for a later frame.
    """

    def __init__(self, channels: int, window: int, hop: int) -> None:
        super().__init__()
        self.hop, self.size = hop, window
        self.proj = nn.Linear(channels, 2 * (window // 2 + 1))
        nn.init.normal_(self.proj.weight, std=0.01)
        nn.init.zeros_(self.proj.bias)
        shape = torch.hann_window(window)
        # Constant overlap-add gain of the window at this hop.
        self.register_buffer("window", shape * hop / shape.sum(), persistent=False)

    def _init_streaming_state(self, batch_size: int) -> _TailState:
        device = self.window.device
        tail = torch.zeros(batch_size, self.size - self.hop, device=device, dtype=self.window.dtype)
        return _TailState(batch_size, device, tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        log_magnitude, phase = self.proj(x.transpose(1, 2)).chunk(2, dim=-1)
        # Clamped so that no latent, however odd, can burst.
        magnitude = torch.exp(log_magnitude.clamp(max=6.0))
        spectrum = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        frames = torch.fft.irfft(spectrum, n=self.size) * self.window
        batch, count, _ = frames.shape
        length = (count - 1) * self.hop + self.size
        y = F.fold(
            frames.transpose(1, 2), (1, length), (1, self.size), stride=(1, self.hop)
        ).reshape(batch, length)
        keep = count * self.hop
        state = self._streaming_state
        if state is None:
            return y[:, None, :keep]
        overlap = self.size - self.hop
        y = torch.cat([y[:, :overlap] + state.tail, y[:, overlap:]], dim=-1)
        state.tail = torch.where(state.exec_mask[:, None], y[:, keep:], state.tail)
        return y[:, None, :keep]


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


class ChannelNorm(nn.Module):
    """Layer norm over the channels of ``[B, channels, n]``, without gain: bounds the latent."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x.transpose(1, 2), (x.shape[1],)).transpose(1, 2)


class SpectralEncoder(StreamingContainer):
    """Waveform ``[B, 1, 1920 n]`` to latent ``[B, dimension, n]``.

    Args:
        dimension: width of the latent.
        channels: width of the blocks.
        n_mels: mel bands of the front end.
        hop, window: front end, samples; ``1920 / hop`` is the temporal down-sampling.
        blocks: ConvNeXt blocks before and after the down-sampling.
    """

    def __init__(
        self,
        dimension: int = 64,
        channels: int = 256,
        n_mels: int = 100,
        hop: int = 480,
        window: int = 960,
        blocks: tuple[int, int] = (3, 2),
    ) -> None:
        super().__init__()
        stride = FRAME_SAMPLES // hop
        self.dimension = dimension
        self.front_end = LogMelFrontEnd(n_mels, window, hop)
        self.model = nn.Sequential(
            StreamingConv1d(n_mels, channels, 3, causal=True),
            *[ConvNeXtBlock(channels) for _ in range(blocks[0])],
            StreamingConv1d(channels, 2 * channels, 2 * stride, stride=stride, causal=True),
            *[ConvNeXtBlock(2 * channels, expansion=2) for _ in range(blocks[1])],
            nn.Conv1d(2 * channels, dimension, 1),
            ChannelNorm(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Centres typical log-mel values, so that the first layer starts at unit scale.
        return self.model((self.front_end(x) + 4.0) / 4.0)


class SpectralDecoder(StreamingContainer):
    """Latent ``[B, dimension, n]`` to waveform ``[B, 1, 1920 n]``.

    Args:
        dimension: width of the latent.
        channels: width of the blocks at 12.5 and 50 Hz; half of it at the synthesis rate.
        hop, window: synthesis, samples.
        blocks: ConvNeXt blocks at 12.5 Hz, 50 Hz and the synthesis rate.
    """

    def __init__(
        self,
        dimension: int = 64,
        channels: int = 384,
        hop: int = 240,
        window: int = 720,
        blocks: tuple[int, int, int] = (2, 3, 3),
    ) -> None:
        super().__init__()
        fine = FRAME_SAMPLES // 4 // hop
        self.model = nn.Sequential(
            StreamingConv1d(dimension, channels, 3, causal=True),
            *[ConvNeXtBlock(channels, expansion=2) for _ in range(blocks[0])],
            StreamingConvTranspose1d(channels, channels, 4, stride=4, causal=True),
            *[ConvNeXtBlock(channels, expansion=2) for _ in range(blocks[1])],
            StreamingConvTranspose1d(channels, channels // 2, fine, stride=fine, causal=True),
            *[ConvNeXtBlock(channels // 2) for _ in range(blocks[2])],
        )
        self.norm = nn.LayerNorm(channels // 2)
        self.head = InverseStftHead(channels // 2, window, hop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.model(x).transpose(1, 2)).transpose(1, 2)
        return self.head(x)

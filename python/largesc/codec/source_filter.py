# SPDX-License-Identifier: GPL-3.0-or-later
"""Causal streaming synthesis from pulses and noise, each through a filter that changes every 10 ms.

A network that must invent the phase of each harmonic blurs them. Here the harmonics come from
pulses at the pitch that was decoded, and the network only shapes spectra, as in neural
homomorphic vocoders (Liu et al., Interspeech 2020). Filters are minimum-phase: nothing comes early.
"""

from dataclasses import dataclass

import torch
from moshi.modules.conv import StreamingConv1d, StreamingConvTranspose1d
from moshi.modules.streaming import State, StreamingContainer, StreamingModule
from torch import nn
from torch.nn import functional as F

from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from .same_bits import with_same_bits
from .spectral import ConvNeXtBlock

HOP_SAMPLES = 240
FFT_SAMPLES = 1024
REFERENCE_HZ = 120.0
LOWEST_HZ, HIGHEST_HZ = 50.0, 550.0
NOISE_SAMPLES = 96_000


def band_weights(bands: int, bins: int) -> torch.Tensor:
    """Linear interpolation from mel-spaced bands to FFT bins, ``[bands, bins]``."""
    mel = 2595.0 * torch.log10(1.0 + torch.linspace(0.0, SAMPLE_RATE_HZ / 2, bins) / 700.0)
    place = mel / mel[-1] * (bands - 1)
    return torch.clamp(1.0 - (place[None] - torch.arange(bands)[:, None]).abs(), min=0.0)


def exponential(x: torch.Tensor) -> torch.Tensor:
    """``torch.exp`` of complex numbers, a few times as fast on a CPU."""
    size = torch.exp(x.real)
    return torch.complex(size * torch.cos(x.imag), size * torch.sin(x.imag))


@dataclass
class _SourceState(State):
    """What one call leaves to the next, first dimension B."""

    phase: torch.Tensor
    pitch: torch.Tensor
    noise_at: torch.Tensor
    sources: torch.Tensor
    tail: torch.Tensor

    def reset(self, reset_mask: torch.Tensor) -> None:
        super().reset(reset_mask)
        for value in (self.phase, self.pitch, self.noise_at, self.sources, self.tail):
            value[reset_mask] = 0


class SourceFilter(StreamingModule[_SourceState]):
    """Pitch and filters to waveform.

    ``forward(log_pitch [B, n], pulse_filter [B, n, bands], noise_filter)`` to ``[B, 1, 240 n]``:
    log2 of pitch over 120 Hz at the end of each hop, natural log-magnitudes.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("to_bins", band_weights(bands, FFT_SAMPLES // 2 + 1), persistent=False)
        window = torch.hann_window(2 * HOP_SAMPLES)
        self.register_buffer("window", window, persistent=False)
        noise = torch.randn(NOISE_SAMPLES, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise, persistent=False)
        # Folds a real cepstrum into that of a minimum-phase filter.
        fold = torch.zeros(FFT_SAMPLES)
        fold[0] = fold[FFT_SAMPLES // 2] = 1.0
        fold[1 : FFT_SAMPLES // 2] = 2.0
        self.register_buffer("fold", fold, persistent=False)

    def _init_streaming_state(self, batch_size: int) -> _SourceState:
        device = self.window.device

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(batch_size, *shape, device=device, dtype=dtype)

        return _SourceState(
            batch_size,
            device,
            phase=zeros(dtype=torch.float64),
            pitch=zeros(),
            noise_at=zeros(dtype=torch.long),
            sources=zeros(2, HOP_SAMPLES),
            tail=zeros(FFT_SAMPLES - HOP_SAMPLES),
        )

    def forward(
        self, log_pitch: torch.Tensor, pulse_filter: torch.Tensor, noise_filter: torch.Tensor
    ) -> torch.Tensor:
        state = self._streaming_state
        s = state if state is not None else self._init_streaming_state(len(log_pitch))
        pulses, phase = self._pulses(log_pitch.detach(), s.pitch, s.phase)
        noise, noise_at = self._noise(pulses.shape, s.noise_at)
        sources = torch.cat([s.sources, torch.stack([pulses, noise], dim=1)], dim=2)
        y = self._filtered(sources, torch.stack([pulse_filter, noise_filter], dim=1))
        keep = pulses.shape[1]
        y = torch.cat([y[:, : s.tail.shape[1]] + s.tail, y[:, s.tail.shape[1] :]], dim=1)
        if state is not None:
            mask = state.exec_mask
            state.phase = torch.where(mask, phase, state.phase)
            state.pitch = torch.where(mask, log_pitch[:, -1], state.pitch)
            state.noise_at = torch.where(mask, noise_at, state.noise_at)
            state.sources = torch.where(
                mask[:, None, None], sources[:, :, -HOP_SAMPLES:], state.sources
            )
            state.tail = torch.where(mask[:, None], y[:, keep:], state.tail)
        return y[:, None, :keep]

    def _pulses(
        self, log_pitch: torch.Tensor, before: torch.Tensor, phase: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Band-limited pulses of unit power ``[B, 240 n]``, and the phase at their end."""
        ends = torch.cat([before[:, None], log_pitch], dim=1)
        step = torch.arange(1, HOP_SAMPLES + 1, device=ends.device) / HOP_SAMPLES
        line = ends[:, :-1, None] + (ends[:, 1:] - ends[:, :-1])[:, :, None] * step
        hertz = (REFERENCE_HZ * torch.exp2(line.flatten(1).double())).clamp(LOWEST_HZ, HIGHEST_HZ)
        turns = phase[:, None] + torch.cumsum(hertz / SAMPLE_RATE_HZ, dim=1)
        turns = turns - torch.floor(turns)
        harmonics = torch.floor(0.49 * SAMPLE_RATE_HZ / hertz)
        # The sum of harmonics 1 to K in closed form.
        half = torch.sin(torch.pi * turns)
        near = half.abs() < 1e-6
        total = torch.sin((2 * harmonics + 1) * torch.pi * turns) / torch.where(near, 1.0, half)
        total = torch.where(near, 2 * harmonics + 1, total)
        return ((total - 1.0) / torch.sqrt(2.0 * harmonics)).float(), turns[:, -1]

    def _noise(
        self, shape: tuple[int, int], noise_at: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.training:
            noise_at = torch.randint(0, NOISE_SAMPLES, noise_at.shape, device=noise_at.device)
        places = noise_at[:, None] + torch.arange(shape[1], device=noise_at.device)
        return self.noise[places % NOISE_SAMPLES], (places[:, -1] + 1) % NOISE_SAMPLES

    def _filtered(self, sources: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
        """Windowed ``sources`` ``[B, 2, 240 (n + 1)]`` through ``filters`` ``[B, 2, n, bands]``."""
        frames = sources.unfold(2, 2 * HOP_SAMPLES, HOP_SAMPLES) * self.window
        # Clamped so that no latent, however odd, can burst.
        log_magnitude = filters.clamp(-12.0, 3.0) @ self.to_bins
        cepstrum = torch.fft.irfft(log_magnitude) * self.fold
        response = exponential(torch.fft.rfft(cepstrum))
        spectrum = (torch.fft.rfft(frames, n=FFT_SAMPLES) * response).sum(dim=1)
        pieces = torch.fft.irfft(spectrum)
        batch, count, _ = pieces.shape
        length = (count - 1) * HOP_SAMPLES + FFT_SAMPLES
        return F.fold(
            pieces.transpose(1, 2), (1, length), (1, FFT_SAMPLES), stride=(1, HOP_SAMPLES)
        ).reshape(batch, length)


class SourceFilterDecoder(StreamingContainer):
    """Latent ``[B, dimension, n]`` to waveform ``[B, 1, 1920 n]``.

    Pitch and filters are a linear map of the latent, which regression finds in a minute, plus what
    the blocks add to it.

    Args:
        dimension: width of the latent.
        channels: width of the blocks at 12.5 and 50 Hz; half of it at 100 Hz.
        bands: bands of each filter, spaced as mel.
        blocks: ConvNeXt blocks at 12.5, 50 and 100 Hz.
    """

    def __init__(
        self,
        dimension: int = 64,
        channels: int = 344,
        bands: int = 80,
        blocks: tuple[int, int, int] = (2, 3, 2),
    ) -> None:
        super().__init__()
        fine = FRAME_SAMPLES // 4 // HOP_SAMPLES
        self.model = nn.Sequential(
            StreamingConv1d(dimension, channels, 3, causal=True),
            *[ConvNeXtBlock(channels, expansion=2) for _ in range(blocks[0])],
            StreamingConvTranspose1d(channels, channels, 4, stride=4, causal=True),
            *[ConvNeXtBlock(channels, expansion=2) for _ in range(blocks[1])],
            StreamingConvTranspose1d(channels, channels // 2, fine, stride=fine, causal=True),
            *[ConvNeXtBlock(channels // 2) for _ in range(blocks[2])],
        )
        self.norm = nn.LayerNorm(channels // 2)
        self.proj = nn.Linear(channels // 2, 1 + 2 * bands)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)
        self.linear = nn.Linear(dimension, FRAME_SAMPLES // HOP_SAMPLES * (1 + 2 * bands))
        self.head = SourceFilter(bands)
        # The phase of the pulses is a sum of all pitch before.
        with_same_bits(self)

    def parameters_of(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pitch as log2 over 120 Hz ``[B, 8 n]``, and both filters ``[B, 8 n, bands]``."""
        found = self.proj(self.norm(self.model(x).transpose(1, 2)))
        found = found + self.linear(x.transpose(1, 2)).reshape(found.shape)
        return (found[:, :, 0], *found[:, :, 1:].chunk(2, dim=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(*self.parameters_of(x))

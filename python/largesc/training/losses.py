# SPDX-License-Identifier: GPL-3.0-or-later
"""What the codec is trained on: distances between spectra, and from WORLD's analysis."""

import torch
from torch import nn
from torch.nn import functional as F

from ..codec.spectral import mel_filterbank


class SpectralLoss(nn.Module):
    """Multi-resolution log-mel L1 plus compressed STFT magnitude L1, on ``[B, samples]``.

    No window is short enough to show single pulses: where they stand within a period is not coded,
    and a loss that sees it prefers noise to them.
    """

    def __init__(self, sizes: tuple[int, ...] = (1024, 1536, 2048)) -> None:
        super().__init__()
        self.sizes = sizes
        for size in sizes:
            self.register_buffer(f"mel_{size}", mel_filterbank(min(80, size // 16), size))
            self.register_buffer(f"window_{size}", torch.hann_window(size))

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mel_loss, stft_loss = y.new_zeros(()), y.new_zeros(())
        for size in self.sizes:
            window = getattr(self, f"window_{size}")
            mel = getattr(self, f"mel_{size}")

            def power(wave: torch.Tensor, size: int = size, window: torch.Tensor = window):
                s = torch.stft(wave, size, size // 4, window=window, return_complex=True)
                return (s.real.square() + s.imag.square()) / size

            py, px = power(y), power(x)
            mel_loss = mel_loss + F.l1_loss(torch.log(mel @ py + 1e-6), torch.log(mel @ px + 1e-6))
            # The root's slope at zero is infinite: the offset keeps the gradient finite.
            stft_loss = stft_loss + F.l1_loss((py + 1e-6) ** 0.15, (px + 1e-6) ** 0.15)
        return mel_loss / len(self.sizes), stft_loss / len(self.sizes)


class VocoderLoss(nn.Module):
    """How far pitch and filters of the decoder are from WORLD's analysis of the speech.

    Frame j of the filters belongs to sample 240 (j - 1) of the speech and pitch j to sample 240 j,
    as ``SourceFilter`` and a delay of 480 samples have it.
    """

    # Powers below are not told apart; nor are parts of 20 dB below the whole.
    FLOOR, PART_FLOOR = 1e-8, 0.01

    def forward(
        self,
        found: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        world: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """L1 in octaves (pitch, where voiced) and nepers.

        Args:
            found: log2 of pitch over 120 Hz ``[B, n]``, pulse and noise filters
                ``[B, n, bands]`` in nepers.
            world: log2 of pitch with gaps bridged, voicing ``[B, n]``, natural log of the
                envelope's power and noise's share of it ``[B, n, bands]``.
        """
        pitch, pulses, noise = found
        true_pitch, voiced, envelope, share = world
        pulses, noise = (torch.exp(2.0 * x[:, 1:].clamp(max=6.0)) for x in (pulses, noise))
        power = torch.exp(envelope[:, :-1])
        share = share[:, :-1]
        part_floor = self.PART_FLOOR * power + self.FLOOR

        def distance(made: torch.Tensor, wanted: torch.Tensor, floor: torch.Tensor | float):
            return 0.5 * F.l1_loss(torch.log(made + floor), torch.log(wanted + floor))

        error = ((pitch - true_pitch).abs() * voiced).sum()
        return {
            "pitch": error / voiced.sum().clamp(min=1.0),
            "envelope": distance(pulses + noise, power, self.FLOOR),
            "pulses": distance(pulses, power * (1.0 - share), part_floor),
            "noise": distance(noise, power * share, part_floor),
        }

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the codec is trained on: distances between spectra."""

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


class EnvelopeLoss(nn.Module):
    """Distance of the filters' band powers from those of the speech, pulses and noise aside.

    Without the ripple of harmonics and noise it shows formants and onsets far more clearly than
    :class:`SpectralLoss`, whose bands are narrow. Bands are 200 Hz wide or wider.
    """

    WINDOW, HOP = 512, 240

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(self.WINDOW))
        self.register_buffer("bands", wide_bands(self.WINDOW // 2 + 1))

    def forward(self, log_power: torch.Tensor, speech: torch.Tensor) -> torch.Tensor:
        """L1 in nepers.

        Args:
            log_power: natural log of the power that the filters pass, ``[B, n, bins]``, any number
                of bins; frame j belongs to sample 240 (j - 1), as ``SourceFilter`` and a delay of
                480 samples have it.
            speech: ``[B, 240 n]``.
        """
        s = torch.stft(speech, self.WINDOW, self.HOP, window=self.window, return_complex=True)
        power = (s.real.square() + s.imag.square()) / self.window.square().sum()
        found = F.interpolate(log_power, self.WINDOW // 2 + 1, mode="linear", align_corners=True)
        count = found.shape[1] - 1
        target = torch.log(power[:, :, :count].transpose(1, 2) @ self.bands + 1e-7)
        return 0.5 * F.l1_loss(torch.log(torch.exp(found[:, 1:]) @ self.bands + 1e-7), target)


def wide_bands(bins: int, narrowest_hz: float = 200.0, widening: float = 1.12) -> torch.Tensor:
    """Means over adjoining bands from 0 to 12 kHz, ``[bins, bands]``, columns sum to 1."""
    edges, width = [0.0], narrowest_hz
    while edges[-1] < 12_000.0:
        edges.append(edges[-1] + width)
        width = max(narrowest_hz, (widening - 1.0) * edges[-1])
    hertz = torch.linspace(0.0, 12_000.0, bins)
    rows = [(hertz >= a) & (hertz < b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    kept = torch.stack([row for row in rows if row.any()]).float()
    return (kept / kept.sum(dim=1, keepdim=True)).T

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the codec is trained on: distances between spectra."""

import torch
from torch import nn
from torch.nn import functional as F

from ..codec.spectral import mel_filterbank


class SpectralLoss(nn.Module):
    """Multi-resolution log-mel L1 plus compressed STFT magnitude L1, on ``[B, samples]``."""

    def __init__(self, sizes: tuple[int, ...] = (256, 512, 1024, 2048)) -> None:
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to complex symbols on the way: noise, and flat fading by blocks.

Gradients go through to the symbols that were sent, so that a channel code can be trained on it.
"""

import math

import torch

KINDS = ("awgn", "rayleigh")
# How far the mean power may be from 1: a few symbols of a constellation are not used evenly.
POWER_TOLERANCE = 0.1


class SymbolChannel:
    """Adds noise to symbols, y = h x + n, and fades them where asked for.

    ``rayleigh`` draws one h for each block, complex Gaussian of mean power 1; with ``awgn`` h is
    1. The noise is complex Gaussian of variance 10^(-snr/10), so that the SNR is that of symbols
    of mean power 1, averaged over the fading.

    Args:
        kind: ``awgn`` or ``rayleigh``.
        snr_db: mean SNR of a symbol in dB.
        seed: of all draws. Two channels of one seed draw the same on a CPU, call after call.

    Raises:
        ValueError: ``kind`` is unknown, or ``snr_db`` is no finite number.
    """

    def __init__(self, kind: str, snr_db: float, seed: int = 1) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is unknown: use one of {', '.join(KINDS)}")
        if not math.isfinite(snr_db):
            raise ValueError(f"snr_db {snr_db} is no finite number: use one in dB")
        self.kind, self.snr_db = kind, float(snr_db)
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Begins all draws anew from the seed."""
        self._generator = torch.Generator().manual_seed(self._seed)

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sends blocks of symbols.

        Args:
            x: complex ``[B, symbols]``, of mean power 1 over the whole; see :func:`unit_power`.

        Returns:
            What is received, complex ``[B, symbols]``, and h, complex ``[B, 1]``.

        Raises:
            ValueError: ``x`` has another shape or type, or a mean power other than 1.
        """
        check(x)
        if self.kind == "awgn":
            h = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        else:
            h = self._gaussian((len(x), 1), x)
        noise = 10.0 ** (-self.snr_db / 20.0) * self._gaussian(x.shape, x)
        return h * x + noise, h

    def _gaussian(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        # Drawn on the CPU, so that a seed means the same on any device. randn of a complex type has
        # variance 1: one half in each part.
        drawn = torch.randn(shape, dtype=like.dtype, generator=self._generator)
        return drawn.to(like.device)


def unit_power(x: torch.Tensor) -> torch.Tensor:
    """Symbols ``[B, symbols]``, each block scaled to a mean power of 1; one of zeros stays."""
    power = x.abs().square().mean(dim=1, keepdim=True)
    return x / power.clamp(min=1e-12).sqrt()


def check(x: torch.Tensor) -> None:
    """Raises :class:`ValueError` for what are no complex blocks of mean power 1."""
    if not x.is_complex() or x.dim() != 2 or x.numel() == 0:
        raise ValueError(
            f"symbols of type {x.dtype} and shape {tuple(x.shape)}: use complex [B, symbols]"
        )
    power = float(x.detach().abs().square().mean())
    if not abs(power - 1.0) <= POWER_TOLERANCE:
        raise ValueError(
            f"symbols of mean power {power:.3f}: scale them to 1, as unit_power does, or the SNR "
            "means something else"
        )

# SPDX-License-Identifier: GPL-3.0-or-later
"""The learned controller of LargeSC, Sec. III-B: latent and loss probability to two importances."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

KERNEL = 3


class Snake(nn.Module):
    """x + sin(a x)^2 / a with a learned a for each channel, on ``[B, channels, T]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(self.alpha * x).square() / (self.alpha + 1e-6)


class ControllerNetwork(nn.Module):
    """Importance extractor and channel adaptation.

    Four Conv1d of kernel 3 with Snake, channels latent -> 256 -> 128 -> 64 -> 1, then two of
    kernel 1 on the importance and p, and a sigmoid. The paper leaves the padding and
    the width of the last two open: ours are causal, and 16.

    Args:
        dimension: width of the codec's latent.
        widths: channels after each of the four convolutions.
        hidden: width between the last two.
    """

    def __init__(
        self, dimension: int = 64, widths: tuple[int, ...] = (256, 128, 64, 1), hidden: int = 16
    ) -> None:
        super().__init__()
        sizes = [dimension, *widths]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.snakes = nn.ModuleList(Snake(b) for b in widths)
        self.adapt_in = nn.Conv1d(widths[-1] + 1, hidden, 1)
        self.adapt_snake = Snake(hidden)
        self.adapt_out = nn.Conv1d(hidden, 2, 1)
        self.dimension = dimension
        # Each layer looks two frames back.
        self.context_frames = 1 + len(widths) * (KERNEL - 1)
        self.reset()

    def reset(self) -> None:
        """Forgets the frames that :meth:`step` took."""
        self._recent: list[np.ndarray] = []

    def forward(self, latent: torch.Tensor, loss_probability: torch.Tensor) -> torch.Tensor:
        """Importances ``[B, 2, T]`` within 0 to 1 from ``[B, dimension, T]`` and p ``[B, T]``."""
        x = latent
        for convolution, snake in zip(self.convolutions, self.snakes, strict=True):
            x = snake(convolution(F.pad(x, (KERNEL - 1, 0))))
        x = torch.cat([x, loss_probability[:, None]], dim=1)
        return torch.sigmoid(self.adapt_out(self.adapt_snake(self.adapt_in(x))))

    @torch.inference_mode()
    def step(self, latent: np.ndarray, loss_probability: float) -> tuple[float, float]:
        """Importances (I_s, I_c) of the next frame of a stream, from its latent ``[dimension]``.

        Raises:
            ValueError: the latent has another width.
        """
        if latent.shape != (self.dimension,):
            raise ValueError(
                f"latent of shape {latent.shape}, the controller wants ({self.dimension},): codec "
                "and controller do not belong together"
            )
        self._recent = [*self._recent[1 - self.context_frames :], latent]
        x = torch.from_numpy(np.stack(self._recent, axis=1))[None]
        # The first layers see zeros before the start, as offline; later ones their own zeros.
        p = torch.full((1, x.shape[2]), float(loss_probability))
        importance = self.forward(x, p)[0, :, -1]
        return float(importance[0]), float(importance[1])


def soft_step(j: torch.Tensor, i: torch.Tensor, tau: float) -> torch.Tensor:
    """H_soft of LargeSC: about 1 where j <= i, about 0 else, and smooth in i.

    log cosh is computed as |x| + log1p(exp(-2 |x|)) - log 2, so that large arguments stay finite.
    """

    def log_cosh(x: torch.Tensor) -> torch.Tensor:
        return x.abs() + torch.log1p(torch.exp(-2.0 * x.abs()))

    return (log_cosh(tau * (i - j)) - log_cosh(tau * (-i + j + 1.0))) / (2.0 * tau) + 0.5


def mask(importance: torch.Tensor, level: torch.Tensor, tau: float = 4.0) -> torch.Tensor:
    """Which of 8 tokens are sent: hard forward, soft backward.

    Args:
        importance: ``[B, T]`` within 0 to 1.
        level: L of the paper, ``[B]``.
    """
    i = level[:, None] * importance
    j = torch.arange(1, 9, device=i.device)[None, :, None].to(i)
    hard = (j <= torch.floor(i)[:, None]).to(i)
    soft = soft_step(j, i[:, None], tau)
    return hard + soft - soft.detach()

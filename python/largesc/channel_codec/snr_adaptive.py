# SPDX-License-Identifier: GPL-3.0-or-later
"""Few classes over few symbols at any SNR: a codebook, weights by the SNR, and the way back.

After the lightweight task-oriented link of arXiv 2506.13243: X0 is what the encoder found, here
how likely each class is; w = Phi(X0, SNR) and X = w * X0 by channel, a channel for each class. X
then chooses among the words of a codebook, which starts at the biorthogonal code, the best one for
few bits at any SNR, and is trained with the rest.
"""

import math
from dataclasses import asdict, dataclass

import scipy.linalg
import torch
from torch import nn
from torch.nn import functional as F

from ..channel.symbols import unit_power

SNR_DB = (-15.0, 20.0)


@dataclass(frozen=True)
class AdaptiveConfig:
    """Sizes of sender and receiver.

    Attributes:
        classes: how many there are.
        symbols: complex symbols a burst, one codebook for each.
        hidden: units of the adaptive module and of the receiver.
        adaptive: whether there is an adaptive module.
    """

    classes: int
    symbols: tuple[int, ...] = (32, 128, 512)
    hidden: int = 64
    adaptive: bool = True

    def as_dict(self) -> dict:
        """Returns the values that ``task.json`` keeps."""
        return asdict(self) | {"symbols": list(self.symbols)}


def biorthogonal(classes: int, symbols: int) -> torch.Tensor:
    """Words of the biorthogonal code, float ``[classes, 2 symbols]`` of +-sqrt(1/2).

    Rows of a Hadamard matrix, then their negatives; a longer word is a shorter one repeated.

    Raises:
        ValueError: there are not so many words.
    """
    reals = 2 * symbols
    order = 2 ** int(math.log2(reals))
    if classes > 2 * order:
        raise ValueError(f"{symbols} symbols are too few for {classes} classes")
    rows = torch.from_numpy(scipy.linalg.hadamard(order)).float()
    # Orthogonal ones first, of the fastest signs: their repetition stays balanced.
    words = torch.cat([rows, -rows])[:classes]
    repeated = words.repeat(1, -(-reals // order))[:, :reals]
    return repeated * math.sqrt(0.5)


def in_complex(reals: torch.Tensor) -> torch.Tensor:
    """``[..., 2 n]`` as complex ``[..., n]``: the first n are the real parts."""
    first, second = reals.chunk(2, dim=-1)
    return torch.complex(first, second)


class SnrAdaptiveCodec(nn.Module):
    """Sender and receiver of one burst a decision.

    Args:
        config: sizes.

    Raises:
        ValueError: there are more classes than words.
    """

    def __init__(self, config: AdaptiveConfig) -> None:
        super().__init__()
        self.config = config
        classes, hidden = config.classes, config.hidden
        self.codebooks = nn.ParameterDict(
            {str(n): nn.Parameter(biorthogonal(classes, n)) for n in config.symbols}
        )
        if config.adaptive:
            self.weights = nn.Sequential(
                nn.Linear(classes + 2, hidden), nn.ReLU(), nn.Linear(hidden, classes)
            )
            nn.init.zeros_(self.weights[2].weight)
            nn.init.zeros_(self.weights[2].bias)
        self.gain = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
        self.receiver = nn.Sequential(
            nn.Linear(classes + 3, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, classes),
        )  # fmt: skip
        nn.init.zeros_(self.receiver[4].weight)
        # Spread of what is sent about its class's word, for the rate.
        self.log_spread = nn.Parameter(torch.full((classes,), -2.0))

    def words(self, symbols: int) -> torch.Tensor:
        """The codebook as complex ``[classes, symbols]`` of mean power 1 a word."""
        return unit_power(in_complex(self.codebooks[str(symbols)]))

    def forward(self, logits: torch.Tensor, snr_db: torch.Tensor, symbols: int) -> torch.Tensor:
        """Symbols of bursts.

        Args:
            logits: of the classes, ``[B, classes]``.
            snr_db: that the sender believes in, ``[B]``.
            symbols: a burst, one of the config's.

        Returns:
            complex ``[B, symbols]``, each burst of mean power 1.
        """
        likely = F.softmax(logits, dim=1)
        if self.config.adaptive:
            seen = torch.cat([likely, facts_of(snr_db, symbols)], dim=1)
            likely = likely * torch.exp(3.0 * torch.tanh(self.weights(seen)))
        return unit_power((likely.to(torch.cfloat)) @ self.words(symbols))

    def receive(
        self, y: torch.Tensor, h: torch.Tensor, snr_db: torch.Tensor, symbols: int
    ) -> torch.Tensor:
        """Logits ``[B, classes]`` of what was received.

        A matched filter for each word, y h* / |h| against it, with a learned gain by the energy
        that a burst has at this SNR, and a small network beside it.

        Args:
            y: complex ``[B, symbols]``, of power |h|^2 + 10^(-snr/10).
            h: complex ``[B, 1]``, as estimated.
            snr_db: of symbols of power 1 at h = 1, ``[B]``.
            symbols: a burst.
        """
        amplitude = h.abs().clamp(min=1e-6)
        upright = y * h.conj() / amplitude
        match = (upright @ self.words(symbols).conj().T).real / (symbols * amplitude)
        match = match.clamp(-4.0, 4.0)
        here_db = (snr_db + 20.0 * amplitude[:, 0].log10()).clamp(-40.0, 40.0)
        facts = facts_of(here_db, symbols)
        # Of a word of mean power 1 in this noise: the rest is noise, or another sender.
        power = y.abs().square().mean(dim=1) / (amplitude[:, 0] ** 2 + 10.0 ** (-snr_db / 10.0))
        seen = torch.cat([match, facts, power.clamp(max=4.0)[:, None]], dim=1)
        return 30.0 * F.softplus(self.gain(facts)) * match + self.receiver(seen)

    def rate(self, x: torch.Tensor, snr_db: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Nats a symbol that x keeps of the input beyond its label, at most; a mean over the batch.

        The conditional entropy bottleneck (arXiv 2002.05379, eq. 6): I(X'; I | Y) is at most the
        mean of KL(p(x' | i) || r(x' | y)). p is the channel, Gaussian about x; r is Gaussian about
        the label's word, of the channel's variance and a learned spread.
        """
        noise = 10.0 ** (-snr_db / 10.0)
        wide = noise + self.log_spread.exp()[label]
        away = (x - self.words(x.shape[1])[label]).abs().square().mean(dim=1)
        return (torch.log(wide / noise) + (noise + away) / wide - 1.0).mean()


def facts_of(snr_db: torch.Tensor, symbols: int) -> torch.Tensor:
    """SNR and energy of a burst, both in decades, ``[B, 2]``."""
    energy = snr_db / 10.0 + math.log10(symbols)
    return torch.stack([snr_db / 10.0, energy], dim=1)

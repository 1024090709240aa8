# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tokens of each frame arrive, as the link's policies, copies and losses have it."""

import numpy as np

from .._core import LossModel

PATTERNS = ("whole", "prefix", "exact")
TOKENS = 8
# All splits of a frame's tokens: sent, and repeated in a later packet.
SPLITS = np.array([(sent, again) for sent in range(TOKENS + 1) for again in range(sent + 1)])
PRICE_STEPS = 12


class LinkPatterns:
    """Draws what is received of crops of frames.

    Args:
        shares: how often each of :data:`PATTERNS` is drawn: all tokens of each frame, the same
            prefix of each frame, or what the policy ``exact`` sends and repeats.
        lossless: share of the crops of which no packet is lost.
        most_lost: else the loss rate is uniform from 0 to this.
        longest_burst: and the mean burst, in packets, is uniform from 1 to this in half of them.
        tokens: of ``exact``, least and most tokens a frame, copies included.
        unknown_next: share of the crops where nothing is known of the next frame.
        seed: of the draws.

    Raises:
        ValueError: names what is wrong with the shares.
    """

    def __init__(
        self,
        shares: dict[str, float],
        lossless: float = 0.25,
        most_lost: float = 0.5,
        longest_burst: float = 4.0,
        tokens: tuple[float, float] = (2.0, 12.0),
        unknown_next: float = 0.1,
        seed: int = 1,
    ) -> None:
        if unknown := set(shares) - set(PATTERNS):
            raise ValueError(f"link pattern {min(unknown)!r} is unknown: use some of {PATTERNS}")
        weights = np.array([shares.get(name, 0.0) for name in PATTERNS])
        if weights.min() < 0.0 or not weights.sum() > 0.0:
            raise ValueError(f"shares {shares} must not be negative, nor all zero")
        self.weights = weights / weights.sum()
        self.lossless, self.most_lost, self.longest_burst = lossless, most_lost, longest_burst
        self.tokens, self.unknown_next = tokens, unknown_next
        self.rng = np.random.default_rng(seed)
        # Loss, mean burst and tokens of `exact` in each crop, to compare on development speech.
        self.fixed: tuple[float, float, float] | None = None

    def draw(self, distortion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each frame, and of the one behind it when it is played, ints ``[B, T]``.

        Args:
            distortion: ``[B, T, 9]``, of each frame's first 0 to 8 tokens, weighted by loudness.
        """
        drawn = [self._crop(crop) for crop in distortion]
        return np.stack([own for own, _ in drawn]), np.stack([behind for _, behind in drawn])

    def _crop(self, distortion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng, frames = self.rng, len(distortion)
        if self.fixed is not None:
            loss, burst, tokens = self.fixed
            return self._lossy(*self._exact(distortion, loss, burst, tokens), loss, burst)
        pattern = PATTERNS[rng.choice(len(PATTERNS), p=self.weights)]
        loss = 0.0 if rng.random() < self.lossless else self.most_lost * rng.random()
        burst = rng.uniform(1.0, self.longest_burst) if rng.random() < 0.5 else 1.0
        if pattern == "exact":
            # The sender's view of the channel is never quite right.
            told = min(loss * rng.uniform(0.5, 1.5), 0.9)
            sent, again = self._exact(distortion, told, burst, rng.uniform(*self.tokens))
        else:
            count = TOKENS if pattern == "whole" else rng.integers(1, TOKENS + 1)
            sent, again = np.full(frames, count), np.zeros(frames, int)
        own, behind = self._lossy(sent, again, loss, burst)
        if rng.random() < self.unknown_next:
            behind[:] = 0
        return own, behind

    def _lossy(
        self, sent: np.ndarray, again: np.ndarray, loss: float, burst: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What arrives of packets, where a copy comes one packet later."""
        lost = drawn_losses(len(sent) + 1, loss, burst, int(self.rng.integers(2**31)))
        own = np.where(lost[:-1], np.where(lost[1:], 0, again), sent)
        return own, np.append(np.where(lost[1:-1], 0, sent[1:]), 0)

    def _exact(
        self, distortion: np.ndarray, loss: float, burst: float, wanted: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Splits of least expected distortion, at the price that spends ``wanted`` tokens."""
        both = loss * (loss + (1.0 - loss) * persistence(loss, burst))
        sent, again = SPLITS.T
        expected = (
            (1.0 - loss) * distortion[:, sent]
            + (loss - both) * distortion[:, again]
            + both * distortion[:, :1]
        )
        low, high = 1e-6, 2.0
        for _ in range(PRICE_STEPS):
            price = np.sqrt(low * high)
            cost = expected + price * distortion[:, 0].mean() * (sent + again)
            best = cost.argmin(axis=1)
            spent = (sent + again)[best].mean()
            low, high = (price, high) if spent > wanted else (low, price)
        return sent[best], again[best]


def persistence(loss: float, burst: float) -> float:
    """How much a lost packet says of the next one, of a channel with this loss and mean burst."""
    return max(0.0, 1.0 - 1.0 / burst - loss / (burst * (1.0 - loss))) if burst > 1.0 else 0.0


def drawn_losses(packets: int, loss: float, burst: float, seed: int) -> np.ndarray:
    """Whether each packet is lost, bool ``[packets]``."""
    kind = "gilbert_elliott" if persistence(loss, burst) > 0.0 else "bernoulli"
    return np.asarray(LossModel(kind, loss, burst, seed=seed).draw(packets), dtype=bool)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tokens of a crop arrive: the patterns of loss that a model is trained on."""

import numpy as np

from .._core import LossModel

PATTERNS = ("clean", "token", "packet", "burst", "trace")
# Traces have a flag each 20 ms; the packet of a frame leaves with any of four.
FLAGS_PER_FRAME = 4


class LossPatterns:
    """Draws what is received of crops of tokens.

    Args:
        shares: how often each of :data:`PATTERNS` is drawn; one that is left out is not.
        most_lost: the loss rate is uniform from 0 to this.
        mean_burst_frames: of ``burst``.
        prefix_share: of the crops, where only the first 1 to 7 tokens of each frame are sent.
        trace: file with a flag each 20 ms, needed for ``trace``.
        seed: of the draws.

    Raises:
        ValueError: names what is wrong with the shares or the trace.
    """

    def __init__(
        self,
        shares: dict[str, float],
        most_lost: float = 0.5,
        mean_burst_frames: float = 3.0,
        prefix_share: float = 0.5,
        trace: str = "",
        seed: int = 1,
    ) -> None:
        if unknown := set(shares) - set(PATTERNS):
            raise ValueError(f"loss pattern {min(unknown)!r} is unknown: use some of {PATTERNS}")
        if shares.get("trace", 0.0) > 0.0 and not trace:
            raise ValueError("the pattern 'trace' has a share, but no trace is given")
        weights = np.array([shares.get(name, 0.0) for name in PATTERNS])
        if weights.min() < 0.0 or not weights.sum() > 0.0:
            raise ValueError(f"shares {shares} must not be negative, nor all zero")
        self.weights = weights / weights.sum()
        self.most_lost, self.mean_burst = most_lost, mean_burst_frames
        self.prefix_share = prefix_share
        # Goes on from crop to crop, and round.
        self.trace = LossModel("trace", trace=trace, packet_ms=20.0) if trace else None
        self.rng = np.random.default_rng(seed)

    def draw(self, size: int, frames: int) -> np.ndarray:
        """Whether each token arrives, bool ``[size, 8, frames]``."""
        return np.stack([self._crop(frames) for _ in range(size)])

    def _crop(self, frames: int) -> np.ndarray:
        rng = self.rng
        pattern = PATTERNS[rng.choice(len(PATTERNS), p=self.weights)]
        if pattern == "clean":
            return np.ones((8, frames), dtype=bool)
        p = self.most_lost * rng.random()
        arrives = np.ones((8, frames), dtype=bool)
        if pattern == "token":
            arrives = rng.random((8, frames)) >= p
        elif pattern == "trace":
            flags = np.asarray(self.trace.draw(FLAGS_PER_FRAME * frames), dtype=bool)
            arrives &= ~flags[rng.integers(FLAGS_PER_FRAME) :: FLAGS_PER_FRAME]
        else:
            kind = {"packet": "bernoulli", "burst": "gilbert_elliott"}[pattern]
            model = LossModel(kind, p, self.mean_burst, seed=int(rng.integers(2**31)))
            arrives &= ~np.asarray(model.draw(frames), dtype=bool)
        if rng.random() < self.prefix_share:
            arrives[rng.integers(1, 8) :] = False
        return arrives

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tokens arrive, as the language model meets it in the link."""

from pathlib import Path

import numpy as np

PATTERNS = ("clean", "token", "packet", "burst", "trace")
# Traces have a flag each 20 ms.
FLAGS_PER_FRAME = 4


def lost_in_bursts(count: int, p: float, mean_burst: float, rng: np.random.Generator) -> np.ndarray:
    """Gilbert-Elliott losses, bool ``[count]``: rate ``p``, bursts of ``mean_burst`` on average."""
    leave = 1.0 / mean_burst
    enter = min(1.0, leave * p / max(1.0 - p, 1e-9))
    lost = np.empty(count, dtype=bool)
    state = rng.random() < p
    chances = rng.random(count)
    for n in range(count):
        lost[n] = state
        state = chances[n] >= leave if state else chances[n] < enter
    return lost


def read_trace(path: Path) -> np.ndarray:
    """Flags of a trace, one a line, as bool.

    Raises:
        ValueError: the file is missing, or holds other than 0 and 1.
    """
    try:
        flags = np.array(path.read_text().split(), dtype=int)
    except (OSError, ValueError) as error:
        raise ValueError(f"trace {path} cannot be read ({error}): one 0 or 1 a line") from error
    if len(flags) < FLAGS_PER_FRAME or not set(np.unique(flags)) <= {0, 1}:
        raise ValueError(f"trace {path} holds other than 0 and 1, or too little")
    return flags.astype(bool)


class Receiver:
    """Draws what is received of crops of tokens.

    Args:
        shares: how often each of :data:`PATTERNS` is drawn; one that is left out is not.
        most_lost: the loss rate is uniform from 0 to this.
        mean_burst_frames: of ``burst``.
        prefix_share: of the crops, where only the first 1 to 7 tokens of each frame are sent.
        trace: flags, needed for ``trace``.
        seed: of the draws.

    Raises:
        ValueError: names what is wrong with the shares.
    """

    def __init__(
        self,
        shares: dict[str, float],
        most_lost: float = 0.5,
        mean_burst_frames: float = 3.0,
        prefix_share: float = 0.5,
        trace: np.ndarray | None = None,
        seed: int = 1,
    ) -> None:
        if unknown := set(shares) - set(PATTERNS):
            raise ValueError(f"loss pattern {min(unknown)!r} is unknown: use some of {PATTERNS}")
        if shares.get("trace", 0.0) > 0.0 and trace is None:
            raise ValueError("the pattern 'trace' has a share, but no trace is given")
        weights = np.array([shares.get(name, 0.0) for name in PATTERNS])
        if weights.min() < 0.0 or not weights.sum() > 0.0:
            raise ValueError(f"shares {shares} must not be negative, nor all zero")
        self.weights = weights / weights.sum()
        self.most_lost, self.mean_burst = most_lost, mean_burst_frames
        self.prefix_share, self.trace = prefix_share, trace
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
        elif pattern == "packet":
            arrives &= rng.random(frames) >= p
        elif pattern == "burst":
            arrives &= ~lost_in_bursts(frames, p, self.mean_burst, rng)
        else:
            start = rng.integers(len(self.trace))
            flags = np.take(self.trace, start + np.arange(frames * FLAGS_PER_FRAME), mode="wrap")
            arrives &= ~flags.reshape(frames, FLAGS_PER_FRAME).any(axis=1)
        if rng.random() < self.prefix_share:
            arrives[rng.integers(1, 8) :] = False
        return arrives

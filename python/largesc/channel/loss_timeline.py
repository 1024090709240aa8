# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses drawn in time, so that systems with packets of any length meet the same channel."""

from dataclasses import dataclass

import numpy as np

from .._core import LossModel

SLOT_MS = 20


@dataclass(frozen=True)
class LossChannel:
    """A channel that is open or shut in each slot of 20 ms.

    Attributes:
        loss: share of the time that it is shut, 0 to 1.
        mean_burst_ms: mean time that it stays shut (Gilbert-Elliott); 0: each slot by itself.
        trace: file with a flag each 20 ms in place of both; ``loss`` is then what the sender is
            told. The seed sets where in the trace an utterance begins, so that phases average out.
    """

    loss: float
    mean_burst_ms: float = 0.0
    trace: str = ""

    @property
    def name(self) -> str:
        """For tables: ``none``, ``uniform``, ``bursts of 240 ms``, or the trace's file name."""
        if self.trace:
            return self.trace.rsplit("/", 1)[-1].removesuffix(".txt")
        if self.loss == 0.0:
            return "none"
        return f"bursts of {self.mean_burst_ms:g} ms" if self.mean_burst_ms else "uniform"

    def mean_burst_packets(self, packet_ms: float) -> float:
        """What a receiver of packets every ``packet_ms`` would report, at least 1."""
        return max(1.0, self.mean_burst_ms / packet_ms)

    def draw(self, seconds: float, seed: int) -> np.ndarray:
        """Whether the channel is shut, bool, one flag a slot, for ``seconds`` and 2 s more."""
        slots = int((seconds + 2.0) * 1000 / SLOT_MS)
        if self.trace:
            model = LossModel("trace", trace=self.trace, packet_ms=float(SLOT_MS))
            start = int(np.random.default_rng(seed).integers(10_000))
            return np.asarray(model.draw(start + slots)[start:], dtype=bool)
        if self.loss == 0.0:
            return np.zeros(slots, dtype=bool)
        if not self.mean_burst_ms:
            return np.asarray(LossModel("bernoulli", self.loss, seed=seed).draw(slots), dtype=bool)
        burst = self.mean_burst_ms / SLOT_MS
        model = LossModel("gilbert_elliott", self.loss, burst, seed=seed)
        return np.asarray(model.draw(slots), dtype=bool)


def lost_at(shut: np.ndarray, leave_ms: np.ndarray) -> np.ndarray:
    """Which packets are lost, bool, by the times at which they leave."""
    slots = np.asarray(leave_ms, dtype=float) // SLOT_MS
    return shut[np.minimum(slots.astype(int), len(shut) - 1)]

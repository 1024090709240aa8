# SPDX-License-Identifier: GPL-3.0-or-later
"""Loss, bursts and redundancy of the channel against theory, with the chain's exact errors.

tests/cpp/test_redundancy.cc does the same through packetizer and depacketizer for every d.
"""

import numpy as np
import pytest
from gnuradio.largesc import _core

PACKETS = 100_000
CASES = [(p, burst) for p in (0.05, 0.2, 0.4) for burst in (None, 1.25, 3.0, 5.0)]


def draw(p: float, burst: float | None) -> np.ndarray:
    model = "gilbert_elliott" if burst else "bernoulli"
    return _core.LossModel(model, p, burst or 1.0, seed=1).draw(PACKETS)


def correlation(p: float, burst: float | None) -> float:
    return 1 - 1 / burst - p / (burst * (1 - p)) if burst else 0.0


def theory(p: float, burst: float | None, distance: int) -> tuple[float, float]:
    """Share of packets lost together with the one ``distance`` later, and its standard error."""

    def lost_again(gap: int) -> float:
        return p + (1 - p) * correlation(p, burst) ** gap

    share = p * lost_again(distance)
    count = PACKETS - distance
    variance = share - share**2
    for k in range(1, 400):
        times = sorted((0, distance, k, k + distance))
        joint = p * np.prod([lost_again(gap) for gap in np.diff(times)])
        variance += 2 * (1 - k / count) * (joint - share**2)
    return share, np.sqrt(variance / count)


@pytest.mark.parametrize(("p", "burst"), CASES)
def test_loss_and_burst_length_are_as_set(p, burst):
    lost = draw(p, burst)
    assert abs(lost.mean() - p) < 3 * theory(p, burst, 0)[1]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lost, [0]))))
    lengths = edges[1::2] - edges[::2]
    error = lengths.std(ddof=1) / np.sqrt(len(lengths))
    assert abs(lengths.mean() - (burst or 1 / (1 - p))) < 3 * error


@pytest.mark.parametrize(("p", "burst"), CASES)
def test_copies_are_lost_together_as_theory_says(p, burst):
    lost = draw(p, burst)
    for distance in range(1, 9):
        share, error = theory(p, burst, distance)
        measured = (lost[:-distance] & lost[distance:]).mean()
        assert abs(measured - share) < 3 * error, (distance, measured, share, error)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy that minimises expected distortion; the splits alone are in tests/cpp."""

import numpy as np
import pytest
from gnuradio.largesc import _core
from gnuradio.largesc.control.policies import Channel, Controller, Frame

USUAL = np.array([100, 30, 15, 10, 7, 5, 4, 3, 2], dtype=np.float32)


def decide(controller: Controller, level_dbfs: float, channel: Channel, scale: float = 1.0):
    return controller.decide(Frame(np.zeros(4, np.float32), level_dbfs, scale * USUAL), channel)


def spent(channel: Channel, budget_bps: float = 1100.0, frames: int = 3000) -> np.ndarray:
    """Tokens sent and repeated, and the distance, of loud and soft speech in turn."""
    controller = Controller("exact", budget_bps, deadline_ms=320)
    levels = np.where(np.arange(frames) // 10 % 2, -20.0, -55.0)
    found = [decide(controller, level, channel) for level in levels]
    return np.array([(d.tokens_sent, d.tokens_repeated, d.copy_distance) for d in found])


@pytest.mark.parametrize("budget_bps", [137.5, 550, 1100, 2200])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_exact_spends_the_budget(budget_bps, p):
    used = spent(Channel(p, 2.0), budget_bps)[:, :2].sum(axis=1)
    sums = np.convolve(used, np.ones(_core.BUDGET_WINDOW_FRAMES), "valid")
    assert sums.max() * _core.TOKEN_BITS <= budget_bps * 2.0
    most = 8 if p == 0.0 else 16
    share = min(most, budget_bps / 137.5)
    assert 0.7 * share <= used[2000:].mean() <= share


def test_exact_copies_what_is_at_risk():
    copies = [spent(Channel(p))[:, 1].mean() for p in (0.0, 0.05, 0.1, 0.2, 0.3)]
    assert copies[0] == 0.0 and copies == sorted(copies) and copies[-1] > 1.0


def test_exact_goes_out_of_the_way_of_bursts():
    assert spent(Channel(0.2, 1.0))[-1, 2] == 1
    assert spent(Channel(0.2, 3.0))[-1, 2] > 2


def test_exact_gives_loud_frames_more():
    used = spent(Channel(0.1), 550)[100:]
    loud = np.arange(3000)[100:] // 10 % 2 == 1
    used = used[:, :2].sum(axis=1)
    assert used[loud].mean() > 1.3 * used[~loud].mean()


def test_exact_does_not_depend_on_the_unit():
    decided = []
    for scale in (1e-3, 1.0, 1e4):
        controller = Controller("exact", 825.0)
        decided.append([decide(controller, -20.0, Channel(0.2), scale) for _ in range(50)])
    assert decided[0] == decided[1] == decided[2]


def test_exact_without_a_good_distortion():
    unknown = [Frame(np.zeros(4), -20.0) for _ in range(50)]
    controller = Controller("exact", 1100.0)
    sent = [controller.decide(frame, Channel(0.1)).tokens_sent for frame in unknown]
    assert 4 <= np.mean(sent) <= 8
    with pytest.raises(ValueError, match="give 9 values"):
        Controller("exact").decide(Frame(np.zeros(4), -20.0, np.zeros(3)), Channel(0.1))
    # The block leaves such a hint out and sends the frame all the same: tests/test_guards.py.
    odd = np.full(9, np.nan, dtype=np.float32)
    with pytest.raises(ValueError, match="no numbers: give finite ones"):
        Controller("exact").decide(Frame(np.zeros(4), -20.0, odd), Channel(0.1))

# SPDX-License-Identifier: GPL-3.0-or-later
"""The allocation as Python sees it; tests/cpp/test_allocation.cc goes into detail."""

import numpy as np
import pytest
from gnuradio.largesc import _core


@pytest.mark.parametrize("budget_bps", [137.5, 275, 550, 700, 1100, 1512, 2062, 2200])
def test_no_25_frames_are_above_the_budget(budget_bps):
    rng = np.random.default_rng(int(budget_bps))
    window = _core.BudgetWindow(budget_bps)
    used = []
    for n in range(3000):
        allowed = window.allowance()
        assert 1 <= allowed <= 16
        # Speech and pauses of random length, and demands of all sizes.
        wanted = int(rng.integers(0, 17)) if (n // 40) % 3 else int(rng.integers(0, 3))
        used.append(min(wanted, allowed))
        window.commit(used[-1])
    sums = np.convolve(used, np.ones(_core.BUDGET_WINDOW_FRAMES), "valid")
    assert sums.max() * _core.TOKEN_BITS <= budget_bps * 2.0


@pytest.mark.parametrize("split", ["table", "fixed", "learned"])
def test_a_split_never_takes_more_than_is_allowed(split):
    rng = np.random.default_rng(1)
    for _ in range(2000):
        allowed = int(rng.integers(0, 17))
        if split == "table":
            pair = _core.split_table(allowed, float(rng.uniform()), bool(rng.integers(0, 2)))
        elif split == "fixed":
            pair = _core.split_fixed(allowed, *(int(n) for n in rng.integers(0, 9, 2)))
        else:
            pair = _core.split_learned(allowed, *rng.uniform(size=2))
        sent, repeated = pair
        assert 0 <= repeated <= sent <= 8 and sent + repeated <= allowed


def test_learned_follows_importance():
    assert _core.split_learned(16, 1.0, 1.0) == (8, 8)
    assert _core.split_learned(8, 1.0, 0.0) == (8, 0)
    assert _core.split_learned(8, 0.5, 0.25) == (5, 2)
    assert _core.split_learned(1, 0.01, 0.01) == (1, 0)


@pytest.mark.parametrize("budget_bps", [0, 137, 2201, -1, float("nan"), float("inf")])
def test_bad_budget_is_named(budget_bps):
    with pytest.raises(ValueError, match=r"budget_bps .* out of range: use 137.5 .* to 2200"):
        _core.BudgetWindow(budget_bps)


def test_more_than_the_allowance_is_refused():
    window = _core.BudgetWindow(550)
    with pytest.raises(ValueError, match="tokens 16 do not fit"):
        window.commit(16)


def test_copy_distance():
    assert [_core.copy_distance(ms) for ms in (0, 80, 159, 160, 640, 9999)] == [1, 1, 1, 2, 8, 8]
    assert _core.copy_distance(640, 4) == 2
    with pytest.raises(ValueError, match="frames_per_packet 0"):
        _core.copy_distance(80, 0)

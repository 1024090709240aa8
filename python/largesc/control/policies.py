# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's policies under one bit budget, and discontinuous transmission (DTX)."""

from dataclasses import dataclass

import numpy as np

from .. import _core

POLICIES = ("learned", "table", "fixed")
# DTX: this many silent frames are sent before the gap, then one comfort frame in so many.
HANGOVER_FRAMES = 5
COMFORT_INTERVAL_FRAMES = 25
COMFORT_TOKENS = 2


@dataclass(frozen=True)
class Decision:
    """What becomes of one frame; the fields are the metadata keys of the same names."""

    tokens_sent: int
    tokens_repeated: int
    copy_distance: int
    comfort: bool = False
    skip: bool = False


class SilenceGate:
    """Tells silence from speech by the level over a noise floor that follows the signal."""

    def __init__(self, margin_db: float = 9.0, silent_below_dbfs: float = -60.0) -> None:
        self.margin_db = margin_db
        self.silent_below_dbfs = silent_below_dbfs
        self._floor_dbfs: float | None = None

    def silent(self, level_dbfs: float) -> bool:
        """Takes the level of the next frame in dBFS."""
        if self._floor_dbfs is None:
            self._floor_dbfs = min(level_dbfs, -45.0)
        elif level_dbfs < self._floor_dbfs:
            self._floor_dbfs += 0.5 * (level_dbfs - self._floor_dbfs)
        else:
            # 0.6 dB a second upwards: long vowels do not count as noise.
            self._floor_dbfs = min(self._floor_dbfs + 0.05, -35.0)
        return level_dbfs < max(self._floor_dbfs + self.margin_db, self.silent_below_dbfs)


class Controller:
    """Decides frame by frame.

    Args:
        policy: ``learned``, ``table`` or ``fixed``.
        budget_bps: payload (11 bit a token, copies included) over any 25 frames, 137.5 to 2200.
        deadline_ms: the receiver's; sets how far a copy may lie behind its frame.
        frames_per_packet: 1 to 4.
        layout: ``sequential`` or ``pair``; in ``pair`` the layout itself sets the distance.
        dtx: send nothing in silence but a comfort frame now and then.
        tokens_sent, tokens_repeated: for ``fixed``.
        network: ``ControllerNetwork``, for ``learned``.

    Raises:
        ValueError: names the refused value and the remedy.
    """

    def __init__(
        self,
        policy: str = "table",
        budget_bps: float = 1100.0,
        deadline_ms: int = 80,
        frames_per_packet: int = 1,
        layout: str = "sequential",
        dtx: bool = False,
        tokens_sent: int = 8,
        tokens_repeated: int = 0,
        network: object | None = None,
    ) -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy {policy!r} is unknown: use one of {', '.join(POLICIES)}")
        if not 0 <= tokens_repeated <= tokens_sent <= _core.TOKENS_PER_FRAME:
            raise ValueError(
                f"tokens_sent {tokens_sent} and tokens_repeated {tokens_repeated} do not fit: "
                "use 0 <= tokens_repeated <= tokens_sent <= 8"
            )
        if policy == "learned" and network is None:
            raise ValueError("policy 'learned' needs a network: load one with load_controller")
        self.policy, self.network, self.dtx = policy, network, dtx
        self.fixed = (tokens_sent, tokens_repeated)
        self.distance = _core.copy_distance(deadline_ms, frames_per_packet)
        if layout == "pair":
            self.distance = 0
        self._gate = SilenceGate()
        self._silent_frames = 0
        self.set_budget(budget_bps)

    def set_budget(self, budget_bps: float) -> None:
        """Starts a new window of 25 frames with another budget."""
        self._window = _core.BudgetWindow(float(budget_bps))

    def decide(self, latent: np.ndarray, level_dbfs: float, loss_probability: float) -> Decision:
        """Takes the latent ``[dimension]``, the level and p of the channel, 0 to 1."""
        importance = None
        if self.policy == "learned":
            # The network is stepped in every frame, so that its context has no holes.
            importance = self.network.step(latent, loss_probability)
        silent = self._gate.silent(level_dbfs)
        self._silent_frames = self._silent_frames + 1 if silent else 0
        gap = self._silent_frames - HANGOVER_FRAMES
        if self.dtx and gap > 0 and gap % COMFORT_INTERVAL_FRAMES != 1:
            self._window.commit(0)
            return Decision(0, 0, self.distance, skip=True)
        allowed = self._window.allowance()
        if self.dtx and gap > 0:
            sent = min(COMFORT_TOKENS, allowed)
            self._window.commit(sent)
            return Decision(sent, 0, self.distance, comfort=True)
        if silent and self.policy != "fixed":
            sent, repeated = _core.split_table(allowed, loss_probability, True)
        elif self.policy == "learned":
            sent, repeated = _core.split_learned(allowed, *importance)
        elif self.policy == "table":
            sent, repeated = _core.split_table(allowed, loss_probability, False)
        else:
            sent, repeated = _core.split_fixed(allowed, *self.fixed)
        self._window.commit(sent + repeated)
        return Decision(sent, repeated, self.distance)


def checked_probability(loss_probability: float) -> float:
    """Returns p, or raises ValueError outside 0 to 1."""
    if not 0.0 <= loss_probability <= 1.0:
        raise ValueError(f"loss_probability {loss_probability} is out of range: use 0 to 1")
    return float(loss_probability)

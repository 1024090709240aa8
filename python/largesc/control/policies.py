# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's policies under one bit budget, and discontinuous transmission (DTX)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .. import _core
from ..options import LAYOUTS, POLICIES, check_choice
from ..speech.format import FRAME_MS, FRAME_S
from ..speech.silence import SilenceGate

# DTX: this many silent frames are sent before the gap, then one comfort frame in so many.
HANGOVER_FRAMES = 5
COMFORT_INTERVAL_FRAMES = 25
COMFORT_TOKENS = 2
# How fast the price of a token follows what was spent. It aims a little below the budget: what soft
# frames leave over is there for loud ones only as far as the window of 25 frames lets it.
TARGET_SHARE = 0.9
# Of the first 0 to 8 tokens, where a frame does not tell: mean of the embedded codec.
USUAL_DISTORTION = np.array([1.0, 0.245, 0.156, 0.111, 0.083, 0.063, 0.05, 0.039, 0.031])
PRICE_RATE, LOWEST_PRICE, HIGHEST_PRICE = 0.01, 1e-5, 1.0


@dataclass(frozen=True)
class Decision:
    """What becomes of one frame; the fields are the metadata keys of the same names."""

    tokens_sent: int
    tokens_repeated: int
    copy_distance: int
    comfort: bool = False
    skip: bool = False
    tokens_protected: int = 0


@dataclass(frozen=True)
class Frame:
    """What the policies know of a frame.

    Attributes:
        latent: float32 ``[dimension]``.
        level_dbfs: RMS level.
        distortion: float ``[9]``, of its first 0 to 8 tokens played; None: as usual.
    """

    latent: np.ndarray
    level_dbfs: float
    distortion: np.ndarray | None = None


@dataclass(frozen=True)
class Channel:
    """What the receiver says of the channel: p, 0 to 1, and the mean burst in packets."""

    loss_probability: float
    mean_burst_packets: float = 1.0


class TokenPrice:
    """What a token must gain to be sent, so that the mean of what is spent nears the budget.

    Frames that are easy to code or hardly heard then leave tokens to those that need them.
    """

    def __init__(self, budget_bps: float) -> None:
        self._share = TARGET_SHARE * budget_bps / _core.TOKEN_BITS * FRAME_S
        # About where it settles on development speech.
        self._price, self._usual = 0.01 * 2.0 ** ((4.0 - self._share) / 3.0), 0.0

    def price(self, weighted: np.ndarray) -> float:
        """In the unit of ``weighted`` distortions ``[9]``, of which a running mean is kept."""
        self._usual += 0.02 * (float(weighted[0]) - self._usual) if self._usual else weighted[0]
        return self._price * self._usual

    def spent(self, tokens: int) -> None:
        """Moves the price by the number of tokens that the frame used."""
        change = np.exp(PRICE_RATE * (tokens - self._share) / self._share)
        self._price = float(np.clip(self._price * change, LOWEST_PRICE, HIGHEST_PRICE))


class Controller:
    """Decides frame by frame.

    Args:
        policy: ``learned``, ``table``, ``fixed`` or ``exact``: least expected distortion over all
            splits and distances, weighted by loudness.
        budget_bps: payload (11 bit a token, copies included) over any 25 frames, 137.5 to 2200.
        deadline_ms: the receiver's; sets how far copies and parity may lie behind their frame.
        frames_per_packet: 1 to 4.
        layout: ``sequential``, ``pair`` or ``parity``; in ``pair`` the layout itself sets the
            distance. In ``parity`` what is repeated are sums over earlier frames: ``exact`` weighs
            them against tokens; the others protect as many tokens as there are sums, and ``table``
            and ``learned`` send none in silence, so that speech just before it is protected less.
        dtx: send nothing in silence but a comfort frame now and then; not with ``parity``, whose
            sums need every frame.
        tokens_sent, tokens_repeated: for ``fixed``.
        network: ``ControllerNetwork``, for ``learned``.

    Raises:
        ValueError: names the refused value and the remedy.
    """

    def __init__(
        self,
        policy: str = "exact",
        budget_bps: float = 1100.0,
        deadline_ms: int = FRAME_MS,
        frames_per_packet: int = 1,
        layout: str = "sequential",
        dtx: bool = False,
        tokens_sent: int = 8,
        tokens_repeated: int = 0,
        network: object | None = None,
    ) -> None:
        check_choice("policy", policy, POLICIES)
        if not 0 <= tokens_repeated <= tokens_sent <= _core.TOKENS_PER_FRAME:
            raise ValueError(
                f"tokens_sent {tokens_sent} and tokens_repeated {tokens_repeated} do not fit: "
                "use 0 <= tokens_repeated <= tokens_sent <= 8"
            )
        if policy == "learned" and network is None:
            raise ValueError("policy 'learned' needs a network: load one with load_controller")
        self.policy, self.network, self.dtx = policy, network, dtx
        self.fixed = (tokens_sent, tokens_repeated)
        check_choice("layout", layout, LAYOUTS)
        if layout == "parity" and dtx:
            raise ValueError(
                "dtx does not go with layout 'parity', which sums up every frame: switch it off, "
                "or use layout 'sequential'"
            )
        self.layout = layout
        self.distance = _core.copy_distance(deadline_ms, frames_per_packet)
        if layout != "sequential":
            self.distance = 0
        self._wait = min(deadline_ms // (FRAME_MS * frames_per_packet), _core.PARITY_WINDOW)
        self.set_budget(budget_bps)
        self.reset()

    def reset(self) -> None:
        """Forgets all frames; the settings stay."""
        self._gate = SilenceGate()
        self._silent_frames = 0
        self.set_budget(self._budget_bps)
        if self.network is not None:
            self.network.reset()

    def set_budget(self, budget_bps: float) -> None:
        """Starts a new window of 25 frames with another budget.

        Raises:
            ValueError: it is out of range; the old one stays.
        """
        self._window = _core.BudgetWindow(float(budget_bps))
        self._share = float(budget_bps) / _core.TOKEN_BITS * FRAME_S
        self._price = TokenPrice(float(budget_bps))
        self._budget_bps = float(budget_bps)

    def decide(self, frame: Frame, channel: Channel) -> Decision:
        """Decides on the next frame.

        Raises:
            ValueError: the frame's level, latent or distortion are no finite numbers, or of the
                latter there are not 9. Nothing is decided then, and nothing kept.
        """
        check_frame(frame)
        importance, p = None, channel.loss_probability
        if self.policy == "learned":
            # The network is stepped in every frame, so that its context has no holes.
            importance = self.network.step(frame.latent, p)
        silent = self._gate.silent(frame.level_dbfs)
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
        if self.policy == "exact":
            of_layout = self._with_parity if self.layout == "parity" else self._exact
            return of_layout(frame, channel, allowed)
        if silent and self.policy != "fixed":
            sent, repeated = _core.split_table(allowed, p, True)
        elif self.policy == "learned":
            sent, repeated = _core.split_learned(allowed, *importance)
        elif self.policy == "table":
            sent, repeated = _core.split_table(allowed, p, False)
        else:
            sent, repeated = _core.split_fixed(allowed, *self.fixed)
        self._window.commit(sent + repeated)
        depth = min(sent, repeated, _core.MAX_PROTECTED_TOKENS) if self.layout == "parity" else 0
        return Decision(sent, repeated, self.distance, tokens_protected=depth)

    def _with_parity(self, frame: Frame, channel: Channel, allowed: int) -> Decision:
        """Parity as the channel asks for, and of the frame what the budget leaves."""
        # As a receiver tells them; a finer step changes nothing and costs a millisecond.
        p, burst = round(channel.loss_probability, 2), round(channel.mean_burst_packets, 1)
        parity, depth = best_parity(self._share, p, burst, self._wait)
        parity = min(parity, allowed - 1)
        weighted = heard(frame)
        price = self._price.price(weighted)
        most = min(_core.TOKENS_PER_FRAME, allowed - parity)
        counts = np.arange(min(max(depth, 1), most), most + 1)
        cost = (1.0 - p) * weighted[counts] + price * counts
        sent = int(counts[np.argmin(cost)])
        self._window.commit(sent + parity)
        self._price.spent(sent + parity)
        return Decision(sent, parity, 0, tokens_protected=depth)

    def _exact(self, frame: Frame, channel: Channel, allowed: int) -> Decision:
        weighted = heard(frame)
        state = channel.loss_probability, channel.mean_burst_packets
        # In the pair layout the distance is that of the layout.
        distance = _core.best_distance(*state, self.distance) if self.distance else 0
        price = self._price.price(weighted)
        sent, repeated, _ = _core.split_exact(
            allowed, weighted.tolist(), *state, max(distance, 1), price
        )
        self._window.commit(sent + repeated)
        self._price.spent(sent + repeated)
        return Decision(sent, repeated, distance)


def heard(frame: Frame) -> np.ndarray:
    """Distortion of the first 0 to 8 tokens, ``[9]``, as loud as the frame is."""
    distortion = USUAL_DISTORTION if frame.distortion is None else frame.distortion
    # Loudness grows with the power's 0.3 (Stevens); what is not heard needs no tokens.
    return np.asarray(distortion, float) * 10.0 ** (0.03 * frame.level_dbfs)


@lru_cache(maxsize=256)
def best_parity(share: float, loss: float, burst: float, wait: int) -> tuple[int, int]:
    """Parity tokens a frame and their depth, see ``_core.best_parity``, which takes a while."""
    return _core.best_parity(share, USUAL_DISTORTION.tolist(), loss, burst, wait)


def check_frame(frame: Frame) -> None:
    """Raises ValueError for what the policies would keep for ever: NaN in their running means."""
    if not np.isfinite(frame.level_dbfs):
        raise ValueError(f"level_dbfs {frame.level_dbfs} is no level: give a finite number")
    if not np.all(np.isfinite(frame.latent)):
        raise ValueError("the latent has values that are no numbers: give finite ones")
    if frame.distortion is not None:
        if np.shape(frame.distortion) != (9,):
            raise ValueError(
                f"distortion has the shape {np.shape(frame.distortion)}: give 9 values"
            )
        if not np.all(np.isfinite(frame.distortion)):
            raise ValueError("distortion has values that are no numbers: give finite ones")


def checked_burst(mean_burst_packets: float) -> float:
    """Returns the mean burst, or raises ValueError below 1."""
    if not 1.0 <= mean_burst_packets < float("inf"):
        raise ValueError(f"mean_burst_packets {mean_burst_packets} is out of range: use 1 or more")
    return float(mean_burst_packets)


def checked_probability(loss_probability: float) -> float:
    """Returns p, or raises ValueError outside 0 to 1."""
    if not 0.0 <= loss_probability <= 1.0:
        raise ValueError(f"loss_probability {loss_probability} is out of range: use 0 to 1")
    return float(loss_probability)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: decides how many tokens of each frame are sent and repeated."""

import logging
import threading

import numpy as np
from gnuradio import gr

from .._core import keys
from ..control.policies import (
    Channel,
    Controller,
    Decision,
    Frame,
    checked_burst,
    checked_probability,
)
from ..options import LinkOptions, SenderOptions
from .block_base import STATUS_FRAMES, TokenBlock, setter
from .messages import make_pdu, read_report

log = logging.getLogger(__name__)


class adaptive_controller(TokenBlock, gr.basic_block):  # noqa: N801
    """Adds its decision to each `tokens` PDU.

    Input: message ports `tokens` (from the encoder) and `report` (dict with loss_probability).
    Output: message ports `tokens` (the same, with tokens_sent, tokens_repeated, copy_distance,
    tokens_protected, comfort, skip), `status`.

    Args:
        policy: ``learned``, ``table``, ``fixed`` or ``exact``.
        budget_bps: payload over any 25 frames, 137.5 to 2200.
        loss_probability: p until the first report, 0 to 1.
        mean_burst_packets: mean burst until the first report, 1 or more; for ``exact``.
        deadline_ms: the receiver's deadline, for the distance of copies and the reach of parity.
        frames_per_packet: 1 to 4.
        layout: ``sequential``, ``pair`` or ``parity``.
        dtx: send nothing in silence but a comfort frame every 2 s; not with ``parity``.
        tokens_sent, tokens_repeated: for ``fixed``; repeated are copies, or parity.
        model: source of the network, for ``learned``.
    """

    def __init__(
        self,
        *,
        policy: str = SenderOptions.policy,
        budget_bps: float = SenderOptions.budget_bps,
        loss_probability: float = SenderOptions.loss_probability,
        mean_burst_packets: float = SenderOptions.mean_burst_packets,
        deadline_ms: int = SenderOptions.deadline_ms,
        frames_per_packet: int = LinkOptions.frames_per_packet,
        layout: str = LinkOptions.layout,
        dtx: bool = SenderOptions.dtx,
        tokens_sent: int = SenderOptions.tokens_sent,
        tokens_repeated: int = SenderOptions.tokens_repeated,
        model: str = SenderOptions.controller,
    ) -> None:
        # As set; a report overrides it until the next run.
        self._set_loss = checked_probability(loss_probability)
        self._set_burst = checked_burst(mean_burst_packets)
        self._believe_settings()
        network = None
        if policy == "learned":
            from ..control.load import load_controller

            network = load_controller(model)
        self._core = Controller(
            policy=policy,
            budget_bps=budget_bps,
            deadline_ms=deadline_ms,
            frames_per_packet=frames_per_packet,
            layout=layout,
            dtx=dtx,
            tokens_sent=tokens_sent,
            tokens_repeated=tokens_repeated,
            network=network,
        )
        wait_ms = LinkOptions(layout=layout, frames_per_packet=frames_per_packet).wait_ms
        if layout == "parity" and deadline_ms < wait_ms:
            log.warning(
                "deadline_ms %d ends the wait for parity, which comes for %d ms: less is protected",
                deadline_ms, wait_ms,
            )  # fmt: skip
        # Setters come in other threads.
        self._lock = threading.Lock()
        gr.basic_block.__init__(self, "adaptive_controller", None, None)
        inputs = {"tokens": self._on_tokens, "report": self._on_report}
        self.open_ports(inputs, ["tokens"], "tokens")
        self.counters |= {"frames": 0, "tokens_sent": 0, "tokens_repeated": 0, "skipped": 0}
        self.counters |= {"reports": 0}

    def _believe_settings(self) -> None:
        self.loss_probability, self.mean_burst_packets = self._set_loss, self._set_burst

    def begin(self) -> None:
        with self._lock:
            self._core.reset()
            self._believe_settings()

    @setter
    def set_budget_bps(self, budget_bps: float) -> None:
        """Changes the budget while running."""
        with self._lock:
            self._core.set_budget(budget_bps)

    @setter
    def set_loss_probability(self, loss_probability: float) -> None:
        """Sets p; the next report overrides it."""
        with self._lock:
            self._set_loss = self.loss_probability = checked_probability(loss_probability)

    def _on_tokens(self, message: object) -> None:
        if self._ended:
            return
        if (found := self.read_frame(message)) is None:
            return
        meta, tokens = found
        if meta.get(keys.end_of_stream):
            self.publish("tokens", message)
            self.finish()
            return
        latent = np.asarray(meta.get(keys.latent, np.zeros(1)), dtype=np.float32)
        how = self._decide(latent, meta)
        self.counters["frames"] += 1
        self.counters["tokens_sent"] += how.tokens_sent
        self.counters["tokens_repeated"] += how.tokens_repeated
        self.counters["skipped"] += how.skip
        meta |= {
            keys.latent: latent,
            keys.tokens_sent: how.tokens_sent,
            keys.tokens_repeated: how.tokens_repeated,
            keys.copy_distance: how.copy_distance,
            keys.tokens_protected: how.tokens_protected,
            keys.comfort: how.comfort,
            keys.skip: how.skip,
        }
        self.publish("tokens", make_pdu(meta, tokens))
        if self.counters["frames"] % STATUS_FRAMES == 0:
            self.publish_status()

    def _decide(self, latent: np.ndarray, meta: dict) -> Decision:
        """What becomes of a frame; nothing of it is sent where nothing can be decided."""
        frame = Frame(latent, float(meta.get(keys.level_dbfs, 0.0)), meta.get(keys.distortion))
        try:
            with self._lock:
                channel = Channel(self.loss_probability, self.mean_burst_packets)
                return self._core.decide(frame, channel)
        except Exception as error:
            # The frame goes on: without it the frames behind it would have other numbers.
            self.refuse(f"no decision for it: {error}")
            return Decision(0, 0, 0)

    def _on_report(self, message: object) -> None:
        try:
            report = read_report(message)
        except ValueError as error:
            self.refuse(str(error))
            return
        self.counters["reports"] += 1
        with self._lock:
            self.loss_probability = report.loss_probability
            self.mean_burst_packets = report.mean_burst_packets

# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: speech to packets."""

from gnuradio import gr

from .._blocks import uep_packetizer
from ..speech.format import FRAME_MS
from .adaptive_controller import adaptive_controller
from .mimi_encoder import mimi_encoder

# The receiver holds back 10 packets by default, the sender up to a pair, and one is on its way.
LEAST_PACKETS_IN_FLIGHT = 13


class speech_tx(gr.hier_block2):  # noqa: N801
    """mimi_encoder, adaptive_controller and uep_packetizer, wired.

    Input: float stream 24 kHz; message ports `report` (from the receiver) and `credit` (from
    channel and decoder, when reading from a file). Output: message ports `packets`, `status`.

    Args:
        as for the three blocks.
    """

    def __init__(
        self,
        codec: str = "embedded",
        policy: str = "exact",
        budget_bps: float = 1100.0,
        loss_probability: float = 0.0,
        mean_burst_packets: float = 1.0,
        deadline_ms: int = FRAME_MS,
        frames_per_packet: int = 1,
        layout: str = "sequential",
        crc: bool = True,
        dtx: bool = False,
        max_in_flight: int = 0,
        tokens_sent: int = 8,
        tokens_repeated: int = 0,
        controller: str = "embedded",
        threads: int = 1,
    ) -> None:
        gr.hier_block2.__init__(
            self, "speech_tx", gr.io_signature(1, 1, gr.sizeof_float), gr.io_signature(0, 0, 0)
        )
        self.packetizer = uep_packetizer(frames_per_packet, layout, crc)
        least = LEAST_PACKETS_IN_FLIGHT * frames_per_packet
        if 0 < max_in_flight < least:
            raise ValueError(
                f"max_in_flight {max_in_flight} is below {least}: the receiver holds packets back, "
                "and the link would wait for itself for ever"
            )
        self.encoder = mimi_encoder(codec, max_in_flight, threads)
        self.controller = adaptive_controller(
            policy,
            budget_bps,
            loss_probability,
            mean_burst_packets,
            deadline_ms,
            frames_per_packet,
            layout,
            dtx,
            tokens_sent,
            tokens_repeated,
            controller,
        )
        for port in ("report", "credit"):
            self.message_port_register_hier_in(port)
        for port in ("packets", "status"):
            self.message_port_register_hier_out(port)
        self.connect(self, self.encoder)
        self.msg_connect(self.encoder, "tokens", self.controller, "tokens")
        self.msg_connect(self.controller, "tokens", self.packetizer, "tokens")
        self.msg_connect(self.packetizer, "packets", self, "packets")
        self.msg_connect(self.packetizer, "credit", self.encoder, "credit")
        self.msg_connect(self, "credit", self.encoder, "credit")
        self.msg_connect(self, "report", self.controller, "report")
        for block in (self.encoder, self.controller, self.packetizer):
            self.msg_connect(block, "status", self, "status")

    def set_budget_bps(self, budget_bps: float) -> None:
        """Changes the budget while running."""
        self.controller.set_budget_bps(budget_bps)

    def set_loss_probability(self, loss_probability: float) -> None:
        """Sets p; the next report overrides it."""
        self.controller.set_loss_probability(loss_probability)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Counters of the blocks within, by block."""
        return {
            "encoder": self.encoder.statistics(),
            "controller": self.controller.statistics(),
            "packetizer": self.packetizer.statistics(),
        }

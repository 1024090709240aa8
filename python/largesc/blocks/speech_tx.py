# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: speech to packets."""

from gnuradio import gr

from .._blocks import uep_packetizer
from ..options import LinkOptions, SenderOptions
from .adaptive_controller import adaptive_controller
from .mimi_encoder import mimi_encoder

# The receiver holds back 10 packets by default, 13 for parity, the sender up to a pair, and one is
# on its way.
LEAST_PACKETS_IN_FLIGHT = {"sequential": 13, "pair": 13, "parity": 16}


class speech_tx(gr.hier_block2):  # noqa: N801
    """mimi_encoder, adaptive_controller and uep_packetizer, wired.

    Input: float stream 24 kHz; message ports `report` (from the receiver) and `credit` (from
    channel and decoder, when reading from a file). Output: message ports `packets`, `status`.

    Args:
        codec: model source, see ``models.store``.
        policy: how tokens are divided: ``learned``, ``table``, ``fixed`` or ``exact``.
        budget_bps: bit/s of the payload over any 25 frames, 137.5 to 2200.
        loss_probability: share of lost packets until the first report, 0 to 1.
        mean_burst_packets: mean burst until the first report, 1 or more; for ``exact``.
        deadline_ms: the receiver's deadline in ms, for the distance of copies.
        frames_per_packet: 1 to 4 frames of 80 ms.
        layout: ``sequential`` (a frame and copies of an earlier one) or ``pair`` (two packets share
            the tokens of their frames).
        crc: a CRC-16 ends each packet.
        dtx: send nothing in silence but a comfort frame every 2 s.
        max_in_flight: from a file, frames under way at most; 0 for a live source.
        tokens_sent, tokens_repeated: of a frame, for ``fixed``: 0 to 8 each.
        controller: source of the network, for ``learned``.
        threads: of torch.

    Raises:
        ValueError: a parameter is out of range; the message names it and the remedy.
    """

    def __init__(
        self,
        *,
        codec: str = LinkOptions.codec,
        policy: str = SenderOptions.policy,
        budget_bps: float = SenderOptions.budget_bps,
        loss_probability: float = SenderOptions.loss_probability,
        mean_burst_packets: float = SenderOptions.mean_burst_packets,
        deadline_ms: int = SenderOptions.deadline_ms,
        frames_per_packet: int = LinkOptions.frames_per_packet,
        layout: str = LinkOptions.layout,
        crc: bool = LinkOptions.crc,
        dtx: bool = SenderOptions.dtx,
        max_in_flight: int = SenderOptions.max_in_flight,
        tokens_sent: int = SenderOptions.tokens_sent,
        tokens_repeated: int = SenderOptions.tokens_repeated,
        controller: str = SenderOptions.controller,
        threads: int = LinkOptions.threads,
    ) -> None:
        gr.hier_block2.__init__(
            self, "speech_tx", gr.io_signature(1, 1, gr.sizeof_float), gr.io_signature(0, 0, 0)
        )
        self.packetizer = uep_packetizer(
            frames_per_packet=frames_per_packet, layout=layout, crc=crc
        )
        least = LEAST_PACKETS_IN_FLIGHT[layout] * frames_per_packet
        if 0 < max_in_flight < least:
            raise ValueError(
                f"max_in_flight {max_in_flight} is below {least}: the receiver holds packets back, "
                "and the link would wait for itself for ever"
            )
        self.encoder = mimi_encoder(codec=codec, max_in_flight=max_in_flight, threads=threads)
        self.controller = adaptive_controller(
            policy=policy,
            budget_bps=budget_bps,
            loss_probability=loss_probability,
            mean_burst_packets=mean_burst_packets,
            deadline_ms=deadline_ms,
            frames_per_packet=frames_per_packet,
            layout=layout,
            dtx=dtx,
            tokens_sent=tokens_sent,
            tokens_repeated=tokens_repeated,
            model=controller,
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

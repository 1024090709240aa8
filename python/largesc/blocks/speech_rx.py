# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: packets to speech."""

from gnuradio import gr

from .._blocks import uep_depacketizer
from ..speech.format import FRAME_MS
from .mimi_decoder import mimi_decoder
from .moshi_concealer import moshi_concealer


class speech_rx(gr.hier_block2):  # noqa: N801
    """uep_depacketizer, moshi_concealer and mimi_decoder, wired.

    Input: message port `packets`. Output: float stream 24 kHz; message ports `report` (to the
    sender), `credit` (to the encoder, when it reads from a file), `status`.

    Args:
        as for the three blocks.
    """

    def __init__(
        self,
        codec: str = "embedded",
        method: str = "interpolate",
        model: str = "embedded",
        mode: str = "offline",
        deadline_ms: int = FRAME_MS,
        frames_per_packet: int = 1,
        layout: str = "sequential",
        crc: bool = True,
        hold_packets: int = 10,
        end_with_sender: bool = False,
        temperature: float = 0.7,
        top_k: int = 50,
        fade_after_frames: int = 3,
        seed: int = 1,
        threads: int = 1,
        delay_mode: str = "speculative",
        other_streams: str = "zero",
        samples: int = 8,
        max_deadline_ms: int = 0,
    ) -> None:
        gr.hier_block2.__init__(
            self, "speech_rx", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_float)
        )
        self.depacketizer = uep_depacketizer(
            frames_per_packet,
            layout,
            crc,
            mode,
            deadline_ms,
            hold_packets,
            end_with_sender=end_with_sender,
            max_deadline_ms=max_deadline_ms,
        )
        self.concealer = moshi_concealer(
            method,
            model,
            temperature,
            top_k,
            seed,
            fade_after_frames,
            threads,
            mode == "live",
            delay_mode,
            other_streams,
            codec,
            samples,
        )
        self.decoder = mimi_decoder(codec, mode, threads, seed)
        self.delay_samples = self.decoder.delay_samples
        self.message_port_register_hier_in("packets")
        for port in ("report", "credit", "status"):
            self.message_port_register_hier_out(port)
        self.msg_connect(self, "packets", self.depacketizer, "packets")
        self.msg_connect(self.depacketizer, "tokens", self.concealer, "tokens")
        self.msg_connect(self.concealer, "tokens", self.decoder, "tokens")
        self.msg_connect(self.decoder, "pull", self.depacketizer, "pull")
        self.msg_connect(self.decoder, "credit", self, "credit")
        self.msg_connect(self.depacketizer, "report", self, "report")
        self.connect(self.decoder, self)
        for block in (self.depacketizer, self.concealer, self.decoder):
            self.msg_connect(block, "status", self, "status")

    def statistics(self) -> dict[str, dict[str, int]]:
        """Counters of the blocks within, by block."""
        return {
            "depacketizer": self.depacketizer.statistics(),
            "concealer": self.concealer.statistics(),
            "decoder": self.decoder.statistics(),
        }

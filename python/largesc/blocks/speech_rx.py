# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: packets to speech."""

from gnuradio import gr

from .._blocks import uep_depacketizer
from ..options import LinkOptions, ReceiverOptions
from .mimi_decoder import mimi_decoder
from .moshi_concealer import moshi_concealer


class speech_rx(gr.hier_block2):  # noqa: N801
    """uep_depacketizer, moshi_concealer and mimi_decoder, wired.

    Input: message port `packets`. Output: float stream 24 kHz; message ports `report` (to the
    sender), `credit` (to the encoder, when it reads from a file), `status`.

    Args:
        codec: model source, see ``models.store``.
        method: how lost tokens are filled: ``context``, ``interpolate``, ``lm``, ``repeat`` or
            ``silence``; see `moshi_concealer`.
        model: source of language model and estimator.
        mode: ``offline`` (nothing is late) or ``live``.
        deadline_ms: live, so many ms later copies may come, 0 to 5000; the playout waits 20 ms
            longer.
        frames_per_packet, layout, crc: as at the sender.
        hold_packets: offline, packets to wait for copies and reordered packets, 1 to 32.
        end_with_sender: the stream ends with the sender's end packet.
        temperature: of the language model's sampling, 0 for the most likely token.
        top_k: tokens that the language model chooses among.
        fade_after_frames: lost frames in a row before the fade to comfort noise.
        seed: of the sampling and the comfort noise.
        threads: of torch.
        delay_mode: for a model with an acoustic delay: ``speculative`` or ``wait`` (80 ms later).
        other_streams: what a model of more than 8 streams hears of the other speaker: ``zero`` or
            ``silence``.
        samples: frames to draw for a lost one, whose mean is played, 1 or more.
        max_deadline_ms: live, as many ms as the wait may become where packets come late,
            deadline_ms to 5000; 0 for a fixed one of deadline_ms.

    Attributes:
        delay_samples: of the codec, at 24 kHz.

    Raises:
        ValueError: a parameter is out of range; the message names it and the remedy.
    """

    def __init__(
        self,
        *,
        codec: str = LinkOptions.codec,
        method: str = ReceiverOptions.method,
        model: str = ReceiverOptions.model,
        mode: str = ReceiverOptions.mode,
        deadline_ms: int = ReceiverOptions.deadline_ms,
        frames_per_packet: int = LinkOptions.frames_per_packet,
        layout: str = LinkOptions.layout,
        crc: bool = LinkOptions.crc,
        hold_packets: int = ReceiverOptions.hold_packets,
        end_with_sender: bool = ReceiverOptions.end_with_sender,
        temperature: float = ReceiverOptions.temperature,
        top_k: int = ReceiverOptions.top_k,
        fade_after_frames: int = ReceiverOptions.fade_after_frames,
        seed: int = ReceiverOptions.seed,
        threads: int = LinkOptions.threads,
        delay_mode: str = ReceiverOptions.delay_mode,
        other_streams: str = ReceiverOptions.other_streams,
        samples: int = ReceiverOptions.samples,
        max_deadline_ms: int = ReceiverOptions.max_deadline_ms,
    ) -> None:
        gr.hier_block2.__init__(
            self, "speech_rx", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_float)
        )
        self.depacketizer = uep_depacketizer(
            frames_per_packet=frames_per_packet,
            layout=layout,
            crc=crc,
            mode=mode,
            deadline_ms=deadline_ms,
            hold_packets=hold_packets,
            end_with_sender=end_with_sender,
            max_deadline_ms=max_deadline_ms,
        )
        self.concealer = moshi_concealer(
            method=method,
            model=model,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            fade_after_frames=fade_after_frames,
            threads=threads,
            mode=mode,
            delay_mode=delay_mode,
            other_streams=other_streams,
            codec=codec,
            samples=samples,
        )
        self.decoder = mimi_decoder(codec=codec, mode=mode, threads=threads, seed=seed)
        self.delay_samples = self.decoder.delay_samples
        self.message_port_register_hier_in("packets")
        for port in ("report", "credit", "status"):
            self.message_port_register_hier_out(port)
        self.msg_connect(self, "packets", self.depacketizer, "packets")
        self.msg_connect(self.depacketizer, "tokens", self.concealer, "tokens")
        self.msg_connect(self.concealer, "tokens", self.decoder, "tokens")
        self.msg_connect(self.decoder, "pull", self.depacketizer, "pull")
        for block in (self.depacketizer, self.decoder):
            self.msg_connect(block, "credit", self, "credit")
        self.msg_connect(self.depacketizer, "report", self, "report")
        self.connect(self.decoder, self)
        for block in (self.depacketizer, self.concealer, self.decoder):
            self.msg_connect(block, "status", self, "status")

    def set_method(self, method: str) -> None:
        """Changes how lost tokens are filled, while running."""
        self.concealer.set_method(method)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Counters of the blocks within, by block."""
        return {
            "depacketizer": self.depacketizer.statistics(),
            "concealer": self.concealer.statistics(),
            "decoder": self.decoder.statistics(),
        }

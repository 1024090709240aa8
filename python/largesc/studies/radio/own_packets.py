# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sends speech over the modem, and our packets."""

from dataclasses import dataclass

from ..._core import PacketDecision, Packetizer
from ...codec.speech_encoder import EncodedFrame
from ...control.policies import Channel, Controller, Frame
from ...options import LinkOptions
from ...speech.format import FRAME_MS
from .runs import Setting

BUDGET_BPS = 1100.0


@dataclass(frozen=True)
class Contestant:
    """A coder and its packets.

    Attributes:
        name: for tables.
        setting: of the modem.
        packet_ms: speech in a packet.
        mode: of Codec 2; empty for our link.
        policy: ours: ``fixed`` or ``exact`` (copies as the losses want them).
        tokens: ours, ``fixed``: of a frame.
        layout: ours: of what is sent twice, ``sequential`` or ``parity``.
    """

    name: str
    setting: Setting
    packet_ms: int
    mode: str = ""
    policy: str = ""
    tokens: int = 8
    layout: str = "sequential"

    @property
    def frames(self) -> int:
        """Returns our frames in a packet."""
        return self.packet_ms // FRAME_MS

    @property
    def wait_ms(self) -> int:
        """Returns what our receiver waits for what is sent twice."""
        return LinkOptions(layout=self.layout, frames_per_packet=self.frames).wait_ms


def own_packets(
    contestant: Contestant, frames: list[EncodedFrame], channel: Channel
) -> list[bytes]:
    """Returns our packets of frames, as the policy makes them for a channel that is known."""
    controller = Controller(
        contestant.policy,
        BUDGET_BPS,
        contestant.wait_ms,
        contestant.frames,
        contestant.layout,
        tokens_sent=contestant.tokens,
    )
    packetizer = Packetizer(contestant.frames, contestant.layout)
    packets = []
    for frame in frames:
        d = controller.decide(Frame(frame.latent, frame.level_dbfs, frame.distortion), channel)
        how = PacketDecision(
            d.tokens_sent, d.tokens_repeated, d.copy_distance, tokens_protected=d.tokens_protected
        )
        packets += packetizer.push(frame.tokens.tolist(), how)
    return packets + packetizer.flush()

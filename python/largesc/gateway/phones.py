# SPDX-License-Identifier: GPL-3.0-or-later
"""The other way: RTP in, tokens out, to a radio user each."""

from dataclasses import dataclass

import numpy as np

from .._core import PacketDecision, Packetizer
from ..codec.load import load_codec
from ..codec.speech_encoder import EncodedFrame, SpeechEncoders
from ..control.policies import Channel, Controller, Frame
from ..control.report_follower import ReportFollower
from ..options import LinkOptions, ReportOptions, SenderOptions
from ..packets.report import Report, decode, is_report
from ..speech.conditioning import InputConditioner
from ..speech.format import FRAME_MS, FRAME_SAMPLES
from .rtp import RtpInput

# A phone of which nothing came for so long is silent, and nothing is sent.
GONE_MS = 1040
# As `largesc tx`: one may be lost.
END_PACKETS = 3


@dataclass(frozen=True)
class Route:
    """From a phone to a radio user.

    Attributes:
        port: of this machine, where RTP comes in.
        to: the radio user's socket address.
    """

    port: int
    to: tuple


class Phone:
    """One route with its encoder's stream, controller and packetizer."""

    def __init__(
        self,
        route: Route,
        source: RtpInput,
        stream: int,
        link: LinkOptions,
        sender: SenderOptions,
        reports: ReportOptions,
    ) -> None:
        self.route, self.source, self.stream = route, source, stream
        self._link = link
        self._controller = Controller(
            policy=sender.policy,
            budget_bps=sender.budget_bps,
            deadline_ms=sender.deadline_ms,
            frames_per_packet=link.frames_per_packet,
            layout=link.layout,
            dtx=sender.dtx,
        )
        first = Report(sender.loss_probability, sender.mean_burst_packets)
        self.follower = ReportFollower(reports.timeout_ms, reports.cautious_loss, first)
        self._silent_ms = GONE_MS
        self._begin()

    def _begin(self) -> None:
        link = self._link
        self._packetizer = Packetizer(link.frames_per_packet, link.layout, link.has_crc)
        self._conditioner = InputConditioner()

    def pull(self) -> np.ndarray | None:
        """80 ms of speech; None while nobody sends any."""
        samples = self.source.pull()
        if samples is not None:
            self._silent_ms = 0
            return self._conditioner.push(samples)
        self._silent_ms += FRAME_MS
        return np.zeros(FRAME_SAMPLES, np.float32) if self._silent_ms < GONE_MS else None

    @property
    def has_gone(self) -> bool:
        """It has just been silent for long enough."""
        return GONE_MS <= self._silent_ms < GONE_MS + FRAME_MS

    @property
    def talks(self) -> bool:
        """Tells whether speech came within the last :data:`GONE_MS`."""
        return self._silent_ms < GONE_MS

    def ended(self) -> list[bytes]:
        """The last packets of its stream; what comes then is a new one."""
        packets = self._packetizer.flush() + END_PACKETS * [self._packetizer.end_packet()]
        self._begin()
        return packets

    def packets(self, frame: EncodedFrame, now_ns: int) -> list[bytes]:
        """Packets that are complete with this frame."""
        belief = self.follower.belief(now_ns / 1e6)
        how = self._controller.decide(
            Frame(frame.latent, frame.level_dbfs, frame.distortion),
            Channel(belief.loss_probability, belief.mean_burst_packets),
        )
        decision = PacketDecision(
            how.tokens_sent,
            how.tokens_repeated,
            how.copy_distance,
            how.comfort,
            how.skip,
            how.tokens_protected,
        )
        return self._packetizer.push(frame.tokens.tolist(), decision)


class Phones:
    """All routes; their speech is encoded together.

    Args:
        routes: from where to where.
        payload: of the RTP that comes in.
        link, sender, reports: as for one sender.
        host: of this machine, where RTP comes in.

    Raises:
        ValueError: an option is out of range, a port is taken, or two routes share a port or an
            address.
    """

    def __init__(
        self,
        routes: list[Route],
        payload: str,
        *,
        link: LinkOptions,
        sender: SenderOptions,
        reports: ReportOptions,
        host: str = "127.0.0.1",
    ) -> None:
        for name, values in (("port", [r.port for r in routes]), ("to", [r.to for r in routes])):
            if len(set(values)) < len(values):
                raise ValueError(f"two phones have the same {name}: give each its own")
        ports = {route.port for route in routes}
        if near := [port for port in sorted(ports) if port + 1 in ports]:
            raise ValueError(
                f"phones at {near[0]} and {near[0] + 1}: RTCP comes in at the port behind each "
                "phone's; leave that free"
            )
        self._link, self._encoders = link, None
        self.phones: dict[tuple, Phone] = {}
        if not routes:
            return
        self._encoders = SpeechEncoders(load_codec(link.codec), len(routes))
        for route in routes:
            source, stream = RtpInput(route.port, payload, host), self._encoders.open()
            self.phones[route.to] = Phone(
                route, source, stream, link.checked(), sender.checked(), reports.checked()
            )

    def take(self, data: bytes, peer: tuple, now_ns: int) -> bool:
        """Takes a report of a radio user; False for what is none."""
        phone = self.phones.get(peer)
        if phone is None or not is_report(data, self._link.has_crc):
            return False
        found = decode(data, self._link.has_crc)
        if found is not None:
            phone.follower.take(*found, now_ns / 1e6)
        return True

    def tick(self, now_ns: int) -> list[tuple[bytes, tuple]]:
        """Encodes 80 ms of each phone; returns packets, and where to."""
        spoken, found = {}, []
        for phone in self.phones.values():
            samples = phone.pull()
            if samples is not None:
                spoken[phone.stream] = (phone, samples)
            elif phone.has_gone:
                found += [(packet, phone.route.to) for packet in phone.ended()]
        if not spoken:
            return found
        frames = self._encoders.encode({stream: x for stream, (_, x) in spoken.items()})
        return found + [
            (packet, spoken[stream][0].route.to)
            for stream, frame in frames.items()
            for packet in spoken[stream][0].packets(frame, now_ns)
        ]

    def close(self) -> list[tuple[bytes, tuple]]:
        """Ends all of them; returns their last packets."""
        found = []
        for phone in self.phones.values():
            phone.source.close()
            if phone.talks:
                found += [(packet, phone.route.to) for packet in phone.ended()]
        return found

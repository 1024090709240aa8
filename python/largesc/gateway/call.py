# SPDX-License-Identifier: GPL-3.0-or-later
"""One call: its packets, and what is known of them."""

import numpy as np

from .._core import ERASED_TOKEN, Depacketizer
from ..concealment.concealer import ReceivedFrame, RepeatConcealer
from ..control.report_follower import ReportPacer
from ..options import LinkOptions, ReceiverOptions, ReportOptions
from ..packets.report import Report, encode

# Packets of speech that make a call of an address: noise has a right CRC now and then. With the
# second one nothing is lost, since the first frame waits longer for its copy.
LEAST_PACKETS = 2


class Call:
    """A sender that is heard, or may be one.

    Args:
        sender: name of its key, or its address.
        number: that this sender gave the call; 0: none.
        peer: where it sends from.
        link, receiver, reports: options.
        trusted: one packet of speech makes it a call, since that was signed.
        now_ns: a clock's time.

    Attributes:
        name: of the sender, and the number where there is one.
        sender, number, peer: as given; ``peer`` follows a sender that moves.
        heard_ns: when the last packet of speech came.
        open: it is a call.
        speaking: its last frame was neither made up whole nor silence.
        frames: that were played.
    """

    def __init__(
        self,
        sender: str,
        number: int,
        peer: tuple,
        *,
        link: LinkOptions,
        receiver: ReceiverOptions,
        reports: ReportOptions,
        trusted: bool,
        now_ns: int,
    ) -> None:
        self.name, self.peer = call_name(sender, number), peer
        self.sender, self.number = sender, number
        self.heard_ns = now_ns
        self.open = self.speaking = False
        self.frames = 0
        self.stream: int | None = None
        self.concealer: RepeatConcealer | None = None
        self.output: object | None = None
        self._missing = 1 if trusted else LEAST_PACKETS
        self._link, self._pacer = link, ReportPacer(reports.interval_ms)
        self._reports_sent = 0
        self._depacketizer = Depacketizer(
            frames_per_packet=link.frames_per_packet,
            layout=link.layout,
            live=True,
            deadline_ms=receiver.deadline_ms,
            max_deadline_ms=receiver.max_deadline_ms,
            crc=link.has_crc,
        )

    def take(self, packet: bytes, now_ns: int) -> bool:
        """Takes a packet; False where it is none of this link.

        What is no speech, as reports and ends, neither makes a call nor keeps one.
        """
        before = self._speech_packets
        if not self._depacketizer.push(packet, now_ns):
            return False
        if self._speech_packets > before:
            self.heard_ns = now_ns
            self._missing -= 1
        return True

    @property
    def _speech_packets(self) -> int:
        return self._depacketizer.statistics()["packets_received"]

    @property
    def wants_to_open(self) -> bool:
        """Enough right packets have come."""
        return not self.open and self._missing <= 0

    @property
    def ended(self) -> bool:
        """Its sender has ended, and its last frame was played."""
        return self._depacketizer.ended

    def pull(self, now_ns: int) -> ReceivedFrame | None:
        """The frame to play now; None: nothing has begun yet."""
        frame = self._depacketizer.pull(now_ns)
        self.speaking = frame is not None and not frame.lost and not frame.silence
        return None if frame is None else as_received(frame)

    def go_on(self, now_ns: int) -> None:
        """Plays for nobody: one that may become a call has its playout under way."""
        self._depacketizer.pull(now_ns)
        while self._depacketizer.pop() is not None:
            pass

    def repairs(self) -> list[ReceivedFrame]:
        """Frames that were played before, with tokens that came since."""
        found = []
        while (frame := self._depacketizer.pop()) is not None:
            found.append(as_received(frame))
        return found

    def report(self, now_ns: int) -> bytes | None:
        """A report for the sender, where one is due."""
        loss = self._depacketizer.loss_probability
        if not self._pacer.due(loss, now_ns / 1e6):
            return None
        frames = self._depacketizer.buffered_frames
        report = Report(loss, self._depacketizer.mean_burst, None, frames)
        self._reports_sent += 1
        return encode(report, self._reports_sent - 1, self._link.has_crc)

    def statistics(self) -> dict[str, float]:
        """Counters of packets and frames, by name."""
        made_up = {} if self.concealer is None else self.concealer.statistics()
        return {
            "frames": self.frames,
            "loss_probability": round(self._depacketizer.loss_probability, 4),
            "playout_delay_ms": round(self._depacketizer.playout_delay_ms, 1),
            "frames_made_up": made_up.get("frames_made_up", 0),
            **self._depacketizer.statistics(),
        }


def call_name(sender: str, number: int) -> str:
    """Of a call among all; no other sender's key or address has a stroke in its name."""
    return f"{sender}/{number}" if number else sender


def as_received(frame: object) -> ReceivedFrame:
    """A frame of the depacketizer as concealers take it."""
    following = np.array(frame.following, dtype=np.uint16)
    return ReceivedFrame(
        frame.index,
        np.array(frame.tokens, dtype=np.uint16),
        frame.silence,
        None if np.all(following == ERASED_TOKEN) else following,
        frame.sent if frame.sent >= 0 else None,
    )

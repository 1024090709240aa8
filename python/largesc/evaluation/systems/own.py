# SPDX-License-Identifier: GPL-3.0-or-later
"""Our link, and the paper's layout and policy on the same models.

Packets are those of the real packetizer, and go through the real depacketizer. The sender knows the
channel as it is: what a late or wrong report does is not measured here.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from time import process_time

import numpy as np

from ..._core import (
    ERASED_TOKEN,
    PLAYOUT_MARGIN_MS,
    TOKEN_BITS,
    Depacketizer,
    PacketDecision,
    Packetizer,
)
from ...channel.loss_timeline import LossChannel
from ...codec.load import load_codec
from ...codec.speech_decoder import SpeechDecoder
from ...codec.speech_encoder import EncodedFrame, SpeechEncoder
from ...concealment.concealer import ReceivedFrame, RepeatConcealer
from ...concealment.load import load_concealer
from ...control.load import load_controller
from ...control.policies import Channel, Controller, Decision, Frame
from ...options import LinkOptions
from ...speech.format import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from .system import CRC_BYTES, Decoded, Latency, Packets

LOWEST_BPS, HIGHEST_BPS = 137.5, 2200.0
LAYOUTS = (
    "sequential", "two frames a packet", "pair", "pair in one packet", "parity",
    "parity, two frames a packet",
)  # fmt: skip


@dataclass(frozen=True)
class OwnSystem:
    """One setting of our link.

    Attributes:
        name: for tables.
        policy: as for ``Controller``.
        rate_bps: what is sent on a bare radio frame at most, by the budget that comes nearest.
        tokens: sent and repeated, for the policy ``fixed``; the rate is then what it is.
        concealer: ``context``, ``interpolate``, ``lm``, ``repeat`` or ``silence``.
        samples: drawn of a lost frame by the language model, whose mean is played.
        temperature: of what it draws; 0: the most likely token.
        wait: for copies. Otherwise a lost frame is made up at once, and a copy mends the context.
        deadline_ms: how far copies may lie behind.
        layout: one of :data:`LAYOUTS`; the last puts both packets of a pair into one. Copies of
            two frames a packet ask for a deadline of 160 ms, parity for one of 12 packets.
        codec, lm, controller: model sources; ``int8`` runs the language model in 8 bit.
    """

    name: str
    policy: str = "exact"
    rate_bps: float = 1500.0
    tokens: tuple[int, int] = (8, 0)
    concealer: str = "interpolate"
    samples: int = 8
    temperature: float = 0.7
    wait: bool = True
    deadline_ms: int = FRAME_MS
    layout: str = "sequential"
    codec: str = "embedded"
    lm: str = "embedded"
    int8: bool = False
    controller: str = "embedded"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS or (self.layout != LAYOUTS[0] and not self.wait):
            raise ValueError(
                f"layout {self.layout!r}, wait {self.wait}: use one of {', '.join(LAYOUTS)}, and "
                "wait with those of pairs"
            )

    @property
    def latency(self) -> Latency:
        ahead = look_ahead_ms(self.codec)
        if kind_of(self.layout) != "pair":
            framing = frames_of(self.layout) * FRAME_MS
            return Latency(framing + ahead, self.deadline_ms if self.wait else 0.0)
        # A pair is complete after two frames; its second packet leaves 80 ms behind the first.
        return Latency(2 * FRAME_MS + ahead, float(FRAME_MS) if self.layout == "pair" else 0.0)

    def missing(self) -> str:
        return ""

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        hits = encoded.cache_info().hits
        frames, encode_ms = encoded(self.codec, speech.tobytes())
        apart_ms = FRAME_MS * frames_of(self.layout)
        known = Channel(channel.loss, channel.mean_burst_packets(apart_ms))
        decisions = self._decide_at_rate(frames, [known] * len(frames))
        data = packed(frames, decisions, self.layout)
        count = len(data)
        leave = apart_ms * (1.0 + np.arange(count))
        if self.layout == "pair":
            leave = leave + FRAME_MS
        elif self.layout == "pair in one packet":
            leave = 2 * FRAME_MS * (1.0 + np.arange(count))
        sizes = np.array([size_of(d) for d in data])
        tokens = sum(d.tokens_sent + d.tokens_repeated for d in decisions)
        facts = {"frames": frames, "decisions": decisions, "encode_ms": encode_ms}
        if encoded.cache_info().hits > hits:
            facts["saved_s"] = encode_ms.sum() / 1000.0
        return Packets(leave, sizes, float(tokens * TOKEN_BITS), data, facts)

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        frames = packets.facts["frames"]
        received = arrived(packets.data, lost, self.layout, len(frames), self.wait)
        return self.play(packets, received, samples)

    def play(self, packets: Packets, received: list[ReceivedFrame], samples: int) -> Decoded:
        """Speech of what was ``received``; a frame that comes again is a repair."""
        frames = packets.facts["frames"]
        concealer, decoder = self._concealer(), decoder_of(self.codec)
        decoder.reset()
        out, made, played = [], [], set()
        times = packets.facts["encode_ms"].copy()
        for frame in received:
            # A repair is computed along with the frame that its packet carries, which comes next.
            begin, now = process_time(), len(played)
            if frame.index in played:
                concealer.repair(frame)
            else:
                played.add(frame.index)
                done = concealer.step(frame)
                made.append(done.tokens)
                out.append(decoder.decode(done.tokens, done.gain, done.latent))
            times[now] += milliseconds_since(begin)
        delay = decoder.codec.delay_samples
        speech = np.concatenate(out)[delay : delay + samples]
        sent = np.array([f.tokens for f in frames])
        first = {f.index: f.tokens for f in reversed(received)}
        missing = np.array([first[n] == ERASED_TOKEN for n in range(len(frames))])
        right = (np.array(made) == sent)[missing]
        return Decoded(
            speech,
            {
                "frames_without_tokens": round(float(missing.all(axis=1).mean()), 4),
                "token_accuracy": round(float(right.mean()), 4) if missing.any() else np.nan,
                "compute_ms_p50": round(float(np.percentile(times, 50)), 2),
                "compute_ms_p95": round(float(np.percentile(times, 95)), 2),
            },
        )

    def decide(
        self, frames: list[EncodedFrame], channels: list[Channel], budget: float
    ) -> list[Decision]:
        """What the controller makes of each frame, with a budget in bit/s of payload."""
        network = None
        if self.policy == "learned":
            network = controller_network(self.controller)
            network.reset()
        controller = Controller(
            self.policy,
            budget,
            self.deadline_ms,
            frames_of(self.layout),
            layout=kind_of(self.layout),
            tokens_sent=self.tokens[0],
            tokens_repeated=self.tokens[1],
            network=network,
        )
        known = [Frame(f.latent, f.level_dbfs, f.distortion) for f in frames]
        return [controller.decide(frame, c) for frame, c in zip(known, channels, strict=True)]

    def _decide_at_rate(
        self, frames: list[EncodedFrame], channels: list[Channel]
    ) -> list[Decision]:
        """Decisions with the largest budget whose packets stay within the rate."""
        if self.policy == "fixed" and not self.rate_bps:
            return self.decide(frames, channels, HIGHEST_BPS)
        best, low, high = None, LOWEST_BPS, HIGHEST_BPS
        for _ in range(8):
            budget = 0.5 * (low + high)
            found = self.decide(frames, channels, budget)
            within = radio_bps(frames, found, self.layout) <= self.rate_bps
            if within:
                best = found
            low, high = (budget, high) if within else (low, budget)
        return best or self.decide(frames, channels, LOWEST_BPS)

    def _concealer(self) -> RepeatConcealer:
        concealer = concealer_of(
            self.concealer, self.lm, self.codec, self.samples, self.temperature, self.int8
        )
        concealer.reset()
        return concealer


def kind_of(layout: str) -> str:
    """Returns the packetizer's name of a layout."""
    return next((kind for kind in ("pair", "parity") if layout.startswith(kind)), "sequential")


def frames_of(layout: str) -> int:
    """Returns how many frames a packet of a layout holds."""
    return 2 if layout.endswith("two frames a packet") else 1


def packed(frames: list[EncodedFrame], decisions: list[Decision], layout: str) -> list:
    """Packets as bytes; ``pair in one packet`` gives tuples of two."""
    packetizer = Packetizer(frames_of(layout), kind_of(layout))
    out: list = []
    for frame, d in zip(frames, decisions, strict=True):
        how = PacketDecision(
            d.tokens_sent, d.tokens_repeated, d.copy_distance, tokens_protected=d.tokens_protected
        )
        out += packetizer.push(frame.tokens.tolist(), how)
    out += packetizer.flush()
    if layout == "pair in one packet":
        return list(zip(out[::2], out[1::2], strict=True))
    return out


def size_of(packet: bytes | tuple[bytes, bytes]) -> int:
    """Bytes on a bare radio frame. Two in one share sequence, codes (3 bytes) and CRC."""
    if isinstance(packet, tuple):
        return len(packet[0]) + len(packet[1]) - 3 + CRC_BYTES
    return len(packet) + CRC_BYTES


def radio_bps(frames: list[EncodedFrame], decisions: list[Decision], layout: str) -> float:
    """Returns the bit/s that the packets take on a bare radio frame, while they are sent."""
    packets = packed(frames, decisions, layout)
    # Behind the last frame parity goes on for three packets.
    whole = FRAME_MS * max(len(frames), frames_of(layout) * len(packets))
    return 8000.0 * sum(map(size_of, packets)) / whole


def arrived(
    packets: list, lost: np.ndarray, layout: str, frames: int, wait: bool
) -> list[ReceivedFrame]:
    """What the depacketizer makes of the packets that arrive, in playout order.

    Without waiting, a frame whose copy comes later is there twice: lost, then repaired.
    """
    kind = kind_of(layout)
    found = received(packets, lost, kind, frames_of(layout), frames, wait and kind != "pair")
    return found if wait else mended_later(found, packets, lost)


def received(
    packets: list, lost: np.ndarray, kind: str, per_packet: int, frames: int, behind: bool = True
) -> list[ReceivedFrame]:
    """All frames in playout order, with the packetizer's name of the layout.

    Args:
        packets: bytes, or tuples of them that arrive or are lost together.
        lost: bool, one a packet.
        kind: ``sequential``, ``pair`` or ``parity``.
        per_packet: frames in a packet.
        frames: that were sent.
        behind: tell what of the next frame has come within a packet's time.
    """
    if kind == "parity":
        return played_with_parity(packets, lost, per_packet, frames)
    receiver = Depacketizer(per_packet, kind, hold_packets=10)
    for packet, gone in zip(packets, lost, strict=True):
        for data in packet if isinstance(packet, tuple) else (packet,):
            if not gone:
                receiver.push(data)
    receiver.flush(frames)
    found = []
    while (frame := receiver.pop()) is not None:
        # A packet later the next one has come, but not yet the copies of its frames.
        same, n = frame.index % per_packet < per_packet - 1, frame.index // per_packet + 1
        come = behind and (same or (n < len(lost) and not lost[n]))
        following = np.array(frame.following, np.uint16) if come else None
        tokens = np.array(frame.tokens, np.uint16)
        found.append(ReceivedFrame(frame.index, tokens, frame.silence, following))
    # Of a stream whose packets were all lost not one frame is known.
    return found + unknown(len(found), frames)


def unknown(first: int, end: int) -> list[ReceivedFrame]:
    """Frames of which nothing is known."""
    return [ReceivedFrame(n, np.full(8, ERASED_TOKEN, np.uint16)) for n in range(first, end)]


def played_with_parity(
    packets: list[bytes], lost: np.ndarray, frames_per_packet: int, frames: int
) -> list[ReceivedFrame]:
    """What there is of each frame when it is played, 12 packets behind its own, by the clock.

    Offline a burst would prolong the wait, since nothing tells that time goes by.
    """
    link = LinkOptions(layout="parity", frames_per_packet=frames_per_packet)
    receiver = Depacketizer(frames_per_packet, link.layout, live=True, deadline_ms=link.wait_ms)
    first = int(np.argmin(lost)) if not np.all(lost) else len(lost)
    # Of what lies before the first packet that comes nothing is known, nor made up.
    before = min(first * frames_per_packet, frames)
    found = unknown(0, before)
    due_ms = first * link.packet_ms + link.wait_ms + PLAYOUT_MARGIN_MS
    coming = first
    while len(found) < frames:
        while coming < len(packets) and coming * link.packet_ms <= due_ms:
            if not lost[coming]:
                receiver.push(packets[coming], coming * link.packet_ms * 1_000_000)
            coming += 1
        while receiver.pop() is not None:
            pass
        frame = receiver.pull(due_ms * 1_000_000)
        if frame is None:
            break
        tokens, following = (np.array(t, np.uint16) for t in (frame.tokens, frame.following))
        found.append(ReceivedFrame(before + frame.index, tokens, frame.silence, following))
        due_ms += FRAME_MS
    return found + unknown(len(found), frames)


def mended_later(
    found: list[ReceivedFrame], packets: list, lost: np.ndarray
) -> list[ReceivedFrame]:
    """The same without waiting: each lost frame at once as lost, its copy when that has come."""
    out, due = [], {}
    for n, frame in enumerate(found):
        out += due.pop(n, [])
        if lost[n] and not np.all(frame.tokens == ERASED_TOKEN):
            # The second header byte's low half is the distance that a packet's copies go back.
            carrier = next(
                m
                for m in range(n + 1, len(packets))
                if not lost[m] and m - (packets[m][1] & 15) == n
            )
            due.setdefault(carrier, []).append(frame)
            frame = ReceivedFrame(n, np.full(8, ERASED_TOKEN, np.uint16))
        out.append(frame)
    return out


@lru_cache(maxsize=2)
def encoded(codec: str, speech: bytes) -> tuple[list[EncodedFrame], np.ndarray]:
    """All frames of 24 kHz float32 speech, and the processor time of each in ms.

    There are as many more as the decoder's delay asks for, and an even number.
    """
    samples = np.frombuffer(speech, dtype=np.float32)
    encoder = encoder_of(codec)
    encoder.reset()
    count = -(-(len(samples) + encoder.codec.delay_samples) // FRAME_SAMPLES)
    count += count % 2
    padded = np.zeros(count * FRAME_SAMPLES, dtype=np.float32)
    padded[: len(samples)] = samples
    frames, times = [], []
    for pcm in padded.reshape(count, FRAME_SAMPLES):
        begin = process_time()
        frames += encoder.push(pcm)
        times.append(milliseconds_since(begin))
    return frames, np.array(times)


def milliseconds_since(begin: float) -> float:
    """Returns the ms of processor time that were used since ``begin``."""
    return 1000.0 * (process_time() - begin)


@cache
def encoder_of(codec: str) -> SpeechEncoder:
    """One encoder a process and codec."""
    return SpeechEncoder(load_codec(codec))


@cache
def decoder_of(codec: str) -> SpeechDecoder:
    """One decoder a process and codec."""
    return SpeechDecoder(load_codec(codec))


def look_ahead_ms(codec: str) -> float:
    """By how much a codec lags, beyond the frame itself."""
    return 1000.0 * decoder_of(codec).codec.delay_samples / SAMPLE_RATE_HZ


@cache
def controller_network(source: str) -> object:
    """Loads the network of the controller, once a process and source."""
    return load_controller(source)


@cache
def concealer_of(
    method: str, lm: str, codec: str, samples: int, temperature: float, int8: bool
) -> RepeatConcealer:
    """One concealer a process and setting, for the tokens of ``codec``."""
    return load_concealer(
        method, model=lm, codec=codec, samples=samples, temperature=temperature, int8=int8
    )

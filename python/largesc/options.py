# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of a link, with the one owner of each default.

Blocks, command line and the blocks of GNU Radio Companion have their defaults from here. Nothing
else of the package is needed, so that each of them can.
"""

from dataclasses import dataclass, replace

from .speech.format import FRAME_MS

LAYOUTS = ("sequential", "pair", "parity")
MODES = ("live", "offline")
LOSS_MODELS = ("bernoulli", "gilbert_elliott", "trace")
METHODS = ("context", "interpolate", "lm", "repeat", "silence")
POLICIES = ("learned", "table", "fixed", "exact")
SEGMENT_RULES = ("fixed", "printed", "prose")
TRANSLATION_POLICIES = ("agreement", "segment")
ANALOGUE_PROFILES = ("ssb", "medium", "narrow")
SYMBOL_CHANNELS = ("rayleigh", "awgn", "none")
MOST_DEADLINE_MS = 5000
MOST_REPORT_MS = 600_000
MOST_THREADS = 1024
MOST_TASK_SYMBOLS = 4096
MOST_CALLS = 4096
MOST_SEED = 2**32 - 1
MOST_DOPPLER_HZ = 100.0
# Memory and time of the language model grow with them.
MOST_SAMPLES = 1024
TOKEN_VALUES = 2048
# Packets that parity reaches back, and so what a receiver waits for it.
PARITY_WINDOW = 12
# Over a network the wait may grow to this, where nothing else was asked for.
NETWORK_DEADLINE_MS = 400


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError where ``value`` is none of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} {value!r} is unknown: use one of {', '.join(choices)}")


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Raises ValueError where ``value`` is not between ``least`` and ``most``, or no number."""
    if not least <= value <= most:
        given, low, high = (v if isinstance(v, int) else f"{v:g}" for v in (value, least, most))
        raise ValueError(f"{name} {given} is out of range: use {low} to {high}")


@dataclass(frozen=True)
class LinkOptions:
    """What both ends must agree on.

    Attributes:
        codec: model source.
        frames_per_packet: 1 to 4.
        layout: of what is sent twice: copies, ``sequential`` or ``pair``, or ``parity``.
        crc: a CRC-16 in packets and reports.
        threads: of torch.
        key: file of the key that signs packets and reports; empty: unsigned.
    """

    codec: str = "embedded"
    frames_per_packet: int = 1
    layout: str = "sequential"
    crc: bool = True
    threads: int = 1
    key: str = ""

    @property
    def has_crc(self) -> bool:
        """Whether there is a CRC: the tag of signed packets does what it does."""
        return self.crc and not self.key

    @property
    def packet_ms(self) -> int:
        """Returns the time between two packets in ms."""
        return FRAME_MS * self.frames_per_packet

    @property
    def wait_packets(self) -> int:
        """Packets behind a frame's own that may still bring it back, by default."""
        return PARITY_WINDOW if self.layout == "parity" else 1

    @property
    def wait_ms(self) -> int:
        """Returns what a receiver waits for these, by default, in ms."""
        return self.packet_ms * self.wait_packets

    def checked(self) -> "LinkOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_range("frames_per_packet", self.frames_per_packet, 1, 4)
        check_choice("layout", self.layout, LAYOUTS)
        check_range("threads", self.threads, 1, MOST_THREADS)
        return self


@dataclass(frozen=True)
class SenderOptions:
    """Of the encoder and the controller.

    Attributes:
        policy: ``exact``, ``table``, ``learned`` or ``fixed``.
        budget_bps: payload, 137.5 to 2200.
        loss_probability, mean_burst_packets: of the channel, until the first report.
        deadline_ms: of the receiver, and so the reach of copies and of parity.
        dtx: send nothing in silence.
        tokens_sent, tokens_repeated: for the policy ``fixed``; repeated are copies, or parity.
        controller: source of the network, for the policy ``learned``.
        max_in_flight: from a file, frames under way at most; 0 for a live source.
    """

    policy: str = "exact"
    budget_bps: float = 1100.0
    loss_probability: float = 0.0
    mean_burst_packets: float = 1.0
    deadline_ms: int = FRAME_MS
    dtx: bool = False
    tokens_sent: int = 8
    tokens_repeated: int = 0
    controller: str = "embedded"
    max_in_flight: int = 0

    def checked(self) -> "SenderOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_range("budget_bps", self.budget_bps, 137.5, 2200)
        check_range("loss_probability", self.loss_probability, 0, 1)
        check_range("mean_burst_packets", self.mean_burst_packets, 1, 1e6)
        check_range("deadline_ms", self.deadline_ms, 0, MOST_DEADLINE_MS)
        check_range("tokens_sent", self.tokens_sent, 0, 8)
        check_range("tokens_repeated", self.tokens_repeated, 0, self.tokens_sent)
        return self


@dataclass(frozen=True)
class ReceiverOptions:
    """Of depacketizer, concealer and decoder.

    Attributes:
        method: how lost tokens are filled: ``context``, ``interpolate``, ``lm``,
            ``repeat`` or ``silence``.
        model: source of the context model, the language model and of what interpolates.
        mode: ``live`` (played by the clock) or ``offline`` (nothing is dropped).
        deadline_ms: time that a frame waits for its copies, or for parity.
        max_deadline_ms: live, as far as the wait may grow where packets come late; 0: fixed.
        hold_packets: offline, packets to wait for copies and for reordered packets; for parity
            never less than 13.
        end_with_sender: end when the sender's end packet comes.
        samples, temperature, top_k: of the language model.
        fade_after_frames: lost frames in a row before the fade to comfort noise.
        seed: of all that is random.
        delay_mode: for a model with acoustic delay, ``speculative`` or ``wait``.
        other_streams: what a model of 16 streams hears, ``zero`` or ``silence``.
    """

    method: str = "interpolate"
    model: str = "embedded"
    mode: str = "live"
    deadline_ms: int = FRAME_MS
    max_deadline_ms: int = 0
    hold_packets: int = 10
    end_with_sender: bool = False
    samples: int = 8
    temperature: float = 0.7
    top_k: int = 50
    fade_after_frames: int = 3
    seed: int = 1
    delay_mode: str = "speculative"
    other_streams: str = "zero"

    def checked(self) -> "ReceiverOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_choice("mode", self.mode, MODES)
        check_range("deadline_ms", self.deadline_ms, 0, MOST_DEADLINE_MS)
        if self.max_deadline_ms:
            least = self.deadline_ms
            check_range("max_deadline_ms", self.max_deadline_ms, least, MOST_DEADLINE_MS)
        check_range("hold_packets", self.hold_packets, 1, 32)
        check_range("samples", self.samples, 1, MOST_SAMPLES)
        check_range("temperature", self.temperature, 0, 100)
        check_range("top_k", self.top_k, 1, TOKEN_VALUES)
        check_range("fade_after_frames", self.fade_after_frames, 0, 10**6)
        check_range("seed", self.seed, 0, MOST_SEED)
        return self

    def listening(
        self, wait_ms: int, least_ms: int | None, most_ms: int | None
    ) -> "ReceiverOptions":
        """The same with the waits of a network, where packets do not come evenly.

        Args:
            wait_ms: what the link's copies or parity ask for, ``LinkOptions.wait_ms``.
            least_ms: shortest wait; None: ``wait_ms``.
            most_ms: longest wait; 0: fixed; None: 400, or ``least_ms`` where that is longer.
        """
        least = wait_ms if least_ms is None else least_ms
        most = max(NETWORK_DEADLINE_MS, least) if most_ms is None else most_ms
        return replace(self, deadline_ms=least, max_deadline_ms=most)


@dataclass(frozen=True)
class ChannelOptions:
    """Of a channel of packets: without any of them nothing happens to a packet.

    Attributes:
        model: ``bernoulli``, ``gilbert_elliott`` or ``trace``.
        loss_probability: mean share of lost packets.
        mean_burst: mean run of losses in packets, for ``gilbert_elliott``.
        trace: file of flags 0 and 1, one every 20 ms, for ``trace``.
        packet_ms: time between packets.
        jitter_ms: a packet is late by up to this.
        reorder_probability, duplicate_probability: shares of packets.
        bit_error_rate: share of bits.
        seed: of all that is random.
    """

    model: str = "bernoulli"
    loss_probability: float = 0.0
    mean_burst: float = 1.0
    trace: str = ""
    packet_ms: float = float(FRAME_MS)
    jitter_ms: float = 0.0
    reorder_probability: float = 0.0
    duplicate_probability: float = 0.0
    bit_error_rate: float = 0.0
    seed: int = 1

    def checked(self) -> "ChannelOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_choice("model", self.model, LOSS_MODELS)
        for name in ("loss", "reorder", "duplicate"):
            check_range(f"{name}_probability", getattr(self, f"{name}_probability"), 0, 1)
        check_range("bit_error_rate", self.bit_error_rate, 0, 1)
        check_range("packet_ms", self.packet_ms, 1, 10000)
        check_range("jitter_ms", self.jitter_ms, 0, 10000)
        check_range("seed", self.seed, 0, MOST_SEED)
        return self


@dataclass(frozen=True)
class ReportOptions:
    """Of the reports that come back.

    Attributes:
        interval_ms: at most one in so many ms over a long time; 0: when asked for.
        timeout_ms: after so long without one the sender grows cautious.
        cautious_loss: what p rises to then.
    """

    interval_ms: float = 600.0
    timeout_ms: float = 3000.0
    cautious_loss: float = 0.2

    def checked(self) -> "ReportOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_range("interval_ms", self.interval_ms, 0, MOST_REPORT_MS)
        check_range("timeout_ms", self.timeout_ms, 1, MOST_REPORT_MS)
        check_range("cautious_loss", self.cautious_loss, 0, 1)
        return self


@dataclass(frozen=True)
class TaskOptions:
    """Of the task link, both ends.

    Attributes:
        model: source of the task's model.
        symbols: a command, one of the model's (32, 128 or 512 of the embedded one).
        snr_db: of a symbol, while nothing else is known.
        margin_db: speech lies so far over the noise, 3 to 40.
        confidence: least probability of a command that is understood, 0 to 1.
    """

    model: str = "embedded"
    symbols: int = 128
    snr_db: float = 0.0
    margin_db: float = 10.0
    confidence: float = 0.7

    def checked(self) -> "TaskOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_range("symbols", self.symbols, 1, MOST_TASK_SYMBOLS)
        check_range("snr_db", self.snr_db, -100, 100)
        check_range("margin_db", self.margin_db, 3, 40)
        check_range("confidence", self.confidence, 0, 1)
        return self


@dataclass(frozen=True)
class AnalogueOptions:
    """Of the analogue speech link, both ends.

    Attributes:
        profile: of the modem, ``ssb``, ``medium`` or ``narrow``.
        codec: model source of the codec.
        model: model source of the channel code, trained with this codec.
        threads: of torch.
    """

    profile: str = "ssb"
    codec: str = "embedded"
    model: str = "embedded"
    threads: int = 1

    def checked(self) -> "AnalogueOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_choice("profile", self.profile, ANALOGUE_PROFILES)
        check_range("threads", self.threads, 1, MOST_THREADS)
        return self


@dataclass(frozen=True)
class TranslationOptions:
    """Of the translation link, both ends and the channel between them.

    Attributes:
        language: that is spoken, as the model names it.
        model: Whisper ``base``, a folder of Whisper or SeamlessM4T v2, or ``hf://owner/name``.
        channel_code: ``embedded``; ``linear``, the closed form of it alone; or a folder.
        voice: of Piper, ``joe`` or a path.
        segments: lengths, ``fixed``, or eq. 8 ``printed`` or in its ``prose``.
        segment_s: length of a segment in seconds, 0.1 to 10.
        policy: ``agreement``, or ``segment``: each alone.
        symbols: complex symbols a feature frame, 20 ms with Whisper.
        channel: ``awgn``, ``rayleigh``, or ``none``: features go as they are.
        snr_db: mean SNR of a symbol.
        seed: of the channel.
        radio: profile of the modem that the symbols go through; empty: none, and fading known.
        doppler_hz: behind it, greatest Doppler shift of ``rayleigh``.
    """

    language: str = "fr"
    model: str = "base"
    channel_code: str = "embedded"
    voice: str = "joe"
    segments: str = "fixed"
    segment_s: float = 0.75
    policy: str = "agreement"
    symbols: int = 64
    channel: str = "rayleigh"
    snr_db: float = 10.0
    seed: int = 1
    radio: str = ""
    doppler_hz: float = 1.0

    def checked(self) -> "TranslationOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_choice("segments", self.segments, SEGMENT_RULES)
        check_choice("policy", self.policy, TRANSLATION_POLICIES)
        check_choice("channel", self.channel, SYMBOL_CHANNELS)
        check_range("segment_s", self.segment_s, 0.1, 10.0)
        check_range("symbols", self.symbols, 1, 1024)
        check_range("snr_db", self.snr_db, -40.0, 100.0)
        check_range("seed", self.seed, 0, MOST_SEED)
        check_range("doppler_hz", self.doppler_hz, 0.0, MOST_DOPPLER_HZ)
        return self


@dataclass(frozen=True)
class GatewayOptions:
    """Of a gateway for many calls.

    Attributes:
        calls: at once at most; another one is refused, and told so.
        memory_mib: resident memory above which another one is refused; 0: any.
        idle_s: a call of which nothing was heard for so long ends.
        conference: each listener hears all calls but the own one.
        calls_per_key: at once at most under one sender's key, where senders have keys.
    """

    calls: int = 64
    memory_mib: int = 0
    idle_s: float = 30.0
    conference: bool = False
    calls_per_key: int = 8

    def checked(self) -> "GatewayOptions":
        """Returns itself, or raises ValueError that names the value and the remedy."""
        check_range("calls", self.calls, 1, MOST_CALLS)
        check_range("calls_per_key", self.calls_per_key, 1, MOST_CALLS)
        check_range("memory_mib", self.memory_mib, 0, 2**24)
        check_range("idle_s", self.idle_s, 1.0, 86400.0)
        return self

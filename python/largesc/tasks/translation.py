# SPDX-License-Identifier: GPL-3.0-or-later
"""The translation link: speech at one end, English text at the other, features on the air between.

device A: speech -> segments -> log-mel      edge A: encoder -> features -> channel code -> x
radio:    y = h x + n
edge B:   channel decoder -> decoder -> text                       device B: text -> speech
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from ..channel.symbols import SymbolChannel
from ..channel_codec.linear import BLOCK_FRAMES, LinearCode
from ..channel_codec.load import load_channel_code
from ..features.log_mel import LogMel, as_bytes
from ..features.text import SemanticDecoder, Text
from ..features.voice import Phrases, Voice, length_at
from ..features.whisper import FEATURES_PER_S, Whisper
from ..features.window import Features, SemanticEncoder
from ..options import UNKNOWN_SNR_DB, TranslationOptions, check_range
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.segments import Segmenter

# Numbers of bursts that a receiver holds for repeated ones.
MOST_AHEAD = 1000


@dataclass(frozen=True)
class Burst:
    """What goes over the air at once. All but the symbols is a header of a few bytes.

    Attributes:
        index: counts bursts.
        window: of the features.
        first: frame within the window.
        last: the window is over.
        gain_steps: see :class:`LinearCode`.
        symbols: complex64 ``[n, block_symbols]``; features ``[4 n, width]`` without a channel.
        h: fading of each block; at the sender ones.
        spoken: number of the sample, of 24 kHz speech, behind what it tells of.
    """

    index: int
    window: int
    first: int
    last: bool
    gain_steps: int
    symbols: np.ndarray
    h: np.ndarray
    spoken: int

    @property
    def seconds(self) -> float:
        """Time on the air."""
        blocks = len(self.h)
        return blocks * BLOCK_FRAMES / FEATURES_PER_S


class TranslationSender:
    """Speech to bursts of symbols: device and edge of the speaker.

    Args:
        options: of the link.
        model: the large model.
        code: None: features go as they are.
    """

    def __init__(
        self, options: TranslationOptions, model: Whisper, code: LinearCode | None
    ) -> None:
        self._segmenter = Segmenter(SAMPLE_RATE_HZ, options.segment_s, options.segments)
        self._front = LogMel(SAMPLE_RATE_HZ, model.bands)
        self._encoder = SemanticEncoder(model, options.policy)
        self._code = code
        self.bursts, self.segments = 0, 0

    @property
    def silent_s(self) -> float:
        """Silence that was not sent."""
        return self._segmenter.silent_samples / SAMPLE_RATE_HZ

    def push(self, samples: np.ndarray) -> Iterator[Burst]:
        """Bursts of segments that end within these samples, float ``[n]`` at 24 kHz."""
        for segment in self._segmenter.push(samples):
            yield from self._sent(segment)

    def flush(self) -> Iterator[Burst]:
        """Bursts of the rest."""
        for segment in self._segmenter.flush():
            yield from self._sent(segment)

    def _sent(self, segment: object) -> Iterator[Burst]:
        self.segments += 1
        compressed = as_bytes(self._front.push(segment.samples))
        if segment.last:
            self._front.reset()
        for features in self._encoder.push(compressed, segment.last):
            yield self._burst(features, segment.end)

    def _burst(self, features: Features, spoken: int) -> Burst:
        if self._code is None:
            symbols, gain = features.frames, 0
        else:
            symbols, gain = self._code.encode(features.frames)
        h = np.ones((len(features.frames) // BLOCK_FRAMES, 1), dtype=np.complex64)
        self.bursts += 1
        return Burst(
            self.bursts - 1,
            features.window,
            features.first,
            features.last,
            gain,
            symbols,
            h,
            spoken,
        )


class TranslationReceiver:
    """Bursts of symbols to text: the edge of the listener.

    Args:
        options: of the link.
        model: the large model.
        code: as the sender's.

    Raises:
        ValueError: the model does not know the language.

    Attributes:
        counters: ``lost``, ``late``, ``refused_bursts`` and those of the decoder.
    """

    def __init__(
        self, options: TranslationOptions, model: Whisper, code: LinearCode | None
    ) -> None:
        self._decoder = SemanticDecoder(model, options.language)
        self._code = code
        self._snr_db = options.snr_db if options.snr_known else UNKNOWN_SNR_DB
        self._next, self._counters = 0, {"lost": 0, "late": 0, "refused_bursts": 0}

    def set_snr_db(self, snr_db: float) -> None:
        """SNR that the channel decoder reckons with.

        Raises:
            ValueError: it is out of range.
        """
        check_range("snr_db", snr_db, -40.0, 100.0)
        self._snr_db = float(snr_db)

    @property
    def counters(self) -> dict[str, int]:
        """Of bursts and windows."""
        return self._decoder.counters | self._counters

    def push(self, burst: Burst) -> list[Text]:
        """Text that a burst brings; one that is late or of the wrong size is counted.

        What was lost in between is left out of the window.
        """
        ahead = burst.index - self._next
        if not 0 <= ahead <= MOST_AHEAD:
            self._counters["late"] += 1
            return []
        try:
            frames = burst.symbols
            if self._code is not None:
                frames = self._code.decode(frames, burst.h, self._snr_db, burst.gain_steps)
        except ValueError:
            self._counters["refused_bursts"] += 1
            return []
        self._counters["lost"] += ahead
        self._next = burst.index + 1
        return self._decoder.push(Features(frames, burst.window, burst.first, burst.last))


class Air:
    """y = h x + n of a burst, h one for each block of 80 ms."""

    def __init__(self, options: TranslationOptions) -> None:
        kind = options.channel
        self._channel = None
        if kind != "none":
            self._channel = SymbolChannel(kind, options.snr_db, options.seed)

    def __call__(self, burst: Burst) -> Burst:
        """The burst as it is received."""
        if self._channel is None:
            return burst
        y, h = self._channel(torch.from_numpy(burst.symbols))
        return Burst(**vars(burst) | {"symbols": y.numpy(), "h": h.numpy()})


@dataclass
class Said:
    """A step of a loopback.

    Attributes:
        burst: as received.
        text: what was understood with it.
        text_s: when, in seconds of the stream, computing and air included.
        phrases: what is spoken of it: text, and the seconds when it begins and ends.
    """

    burst: Burst
    text: Text
    text_s: float
    phrases: list[tuple[str, float, float]] = field(default_factory=list)


class TranslationLoopback:
    """Both ends and the channel in one process, on the clock of the speech.

    What takes computing counts as long as it took the processor. Sender, air and receiver
    each do one burst after the other; a burst is on the air as long as the speech that it tells of.

    Args:
        options: of the link.
        voiced: with speech.

    Raises:
        ValueError: an option is out of range, or a model is not there.
    """

    def __init__(self, options: TranslationOptions, voiced: bool = True) -> None:
        options.checked()
        self.options, self.model = options, whisper(options.model)
        self.code = None
        if options.channel != "none":
            self.code = load_channel_code(options.channel_code, options.symbols)
            if self.code.width != self.model.width:
                raise ValueError(
                    f"the channel code {options.channel_code!r} takes {self.code.width} numbers a "
                    f"frame, Whisper {options.model} gives {self.model.width}: fit one with "
                    "`largesc train channel-code`"
                )
        self.sender = TranslationSender(options, self.model, self.code)
        self.receiver = TranslationReceiver(options, self.model, self.code)
        self._air, self._phrases = Air(options), Phrases()
        self._voice = Voice(options.voice) if voiced else None
        if self._voice is not None:
            # The first time takes seconds.
            self._voice.say("one")
        self._free = {"sender": 0.0, "air": 0.0, "receiver": 0.0, "player": 0.0}
        self._speech: list[tuple[float, np.ndarray]] = []
        self.computing_s, self.spoken_s = 0.0, 0.0

    def run(self, pieces: Iterable[np.ndarray]) -> Iterator[Said]:
        """What is understood of speech, float32 at 24 kHz in pieces, as it comes."""
        for piece in pieces:
            self.spoken_s += len(piece) / SAMPLE_RATE_HZ
            yield from self._steps(self.sender.push(piece))
        yield from self._steps(self.sender.flush())

    def _steps(self, bursts: Iterator[Burst]) -> Iterator[Said]:
        while True:
            begin = time.process_time()
            burst = next(bursts, None)
            if burst is None:
                return
            took = time.process_time() - begin
            sent_s = self._done("sender", burst.spoken / SAMPLE_RATE_HZ, took)
            there_s = self._done("air", sent_s, burst.seconds)
            received = self._air(burst)
            begin = time.process_time()
            texts = self.receiver.push(received)
            took += time.process_time() - begin
            text_s = self._done("receiver", there_s, time.process_time() - begin)
            self.computing_s += took
            for text in texts:
                said = Said(received, text, text_s)
                for phrase in self._phrases.push(text.committed, text.last):
                    said.phrases.append(self._spoken(phrase, text_s))
                yield said

    def _done(self, who: str, from_s: float, takes_s: float) -> float:
        """When ``who`` is done with what it could begin at ``from_s``."""
        self._free[who] = max(self._free[who], from_s) + takes_s
        return self._free[who]

    def _spoken(self, phrase: str, text_s: float) -> tuple[str, float, float]:
        if self._voice is None:
            return phrase, text_s, text_s
        begin = time.process_time()
        speech = self._voice.say(phrase, length_at(self._free["player"] - text_s))
        took = time.process_time() - begin
        self.computing_s += took
        ends_s = self._done("player", text_s + took, len(speech) / SAMPLE_RATE_HZ)
        start_s = ends_s - len(speech) / SAMPLE_RATE_HZ
        self._speech.append((start_s, speech))
        return phrase, start_s, ends_s

    def speech(self) -> np.ndarray:
        """What the listener hears, float32 at 24 kHz, on the clock of the speaker."""
        length = max((round(s * SAMPLE_RATE_HZ) + len(x) for s, x in self._speech), default=0)
        out = np.zeros(length, dtype=np.float32)
        for start_s, speech in self._speech:
            first = round(start_s * SAMPLE_RATE_HZ)
            out[first : first + len(speech)] += speech
        return out


def whisper(source: str) -> Whisper:
    """The model of ``source``, loaded once a process."""
    if source not in _MODELS:
        _MODELS[source] = Whisper(source)
    return _MODELS[source]


_MODELS: dict[str, Whisper] = {}


def latency(steps: list[Said]) -> dict[str, float]:
    """How far the listener is behind.

    Returns:
        ``average_latency_s``: eq. 7, mean gap between the ends of adjacent translated segments
        within a window. ``lag_first_s``: median from the end of a source phrase, a window, to its
        first translated sample, below 0 where that is before. ``lag_text_s``: median from there to
        all of its text. NaN where there is nothing.
    """
    gaps, first, whole = [], [], []
    before: dict[int, float] = {}
    heard: dict[int, float] = {}
    for step in steps:
        number = step.burst.window
        if step.text.committed.strip():
            if number in before:
                gaps.append(step.text_s - before[number])
            before[number] = step.text_s
        if step.phrases:
            heard.setdefault(number, step.phrases[0][1])
        if step.text.last and number in heard:
            ends_s = step.burst.spoken / SAMPLE_RATE_HZ
            first.append(heard[number] - ends_s)
            whole.append(step.text_s - ends_s)

    def middle(values: list[float]) -> float:
        return float(np.median(values)) if values else float("nan")

    return {
        "average_latency_s": float(np.mean(gaps)) if gaps else float("nan"),
        "lag_first_s": middle(first),
        "lag_text_s": middle(whole),
    }

# SPDX-License-Identifier: GPL-3.0-or-later
"""The translation link: speech at one end, English text at the other, features on the air between.

device A: speech -> segments -> log-mel      edge A: encoder -> features -> channel code -> x
radio:    y = h x + n
edge B:   channel decoder -> decoder -> text                       device B: text -> speech
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..channel.symbols import SymbolChannel
from ..channel_codec.linear import BLOCK_FRAMES, LinearCode
from ..features.log_mel import LogMel, as_bytes
from ..features.text import SemanticDecoder, Text
from ..features.whisper import FEATURES_PER_S, Whisper
from ..features.window import Features, SemanticEncoder
from ..options import TranslationOptions, check_range
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.segments import Segment, Segmenter

# A receiver takes a burst so many numbers ahead for one behind lost ones. After so many in a row
# that are elsewhere and rise, it goes on from there: the sender began anew.
MOST_AHEAD, RESYNC_BURSTS = 1000, 3
# So long, and twice the last burst, it waits for the next one of a window.
PATIENCE_S = 2.0


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
        spoken: number of the sample, of 24 kHz speech, behind the segment that brought it.
        speech_end: number of the sample behind the last of its window that sounds so far.
    """

    index: int
    window: int
    first: int
    last: bool
    gain_steps: int
    symbols: np.ndarray
    h: np.ndarray
    spoken: int
    speech_end: int

    @property
    def seconds(self) -> float:
        """Time on the air."""
        return len(self.h) * BLOCK_FRAMES / FEATURES_PER_S


def check_width(options: TranslationOptions, model: Whisper, code: LinearCode | None) -> None:
    """Raises :class:`ValueError` for a channel code of another model's features."""
    if code is not None and code.width != model.width:
        raise ValueError(
            f"the channel code {options.channel_code!r} takes {code.width} numbers a frame, "
            f"Whisper {options.model} gives {model.width}: fit one with "
            "`largesc train channel-code`"
        )


class TranslationSender:
    """Speech to bursts of symbols: device and edge of the speaker.

    Args:
        options: of the link.
        model: the large model.
        code: None: features go as they are.

    Raises:
        ValueError: the code is of another model.
    """

    def __init__(
        self, options: TranslationOptions, model: Whisper, code: LinearCode | None
    ) -> None:
        check_width(options, model, code)
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

    def _sent(self, segment: Segment) -> Iterator[Burst]:
        self.segments += 1
        compressed = as_bytes(self._front.push(segment.samples))
        if segment.last:
            self._front.reset()
        for features in self._encoder.push(compressed, segment.last):
            yield self._burst(features, segment)

    def _burst(self, features: Features, segment: Segment) -> Burst:
        if self._code is None:
            symbols, gain = features.frames, 0
        else:
            symbols, gain = self._code.encode(features.frames)
        h = np.ones((len(features.frames) // BLOCK_FRAMES, 1), dtype=np.complex64)
        self.bursts += 1
        window_end = segment.end - round(features.left_s * SAMPLE_RATE_HZ)
        return Burst(
            index=self.bursts - 1,
            window=features.window,
            first=features.first,
            last=features.last,
            gain_steps=gain,
            symbols=symbols,
            h=h,
            spoken=segment.end,
            speech_end=min(segment.speech_end, window_end),
        )


class BurstOrder:
    """Which bursts are new, by their numbers.

    Attributes:
        counters: ``lost`` bursts, ``late`` ones (doubled among them), ``restarts`` of the sender.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._astray: list[int] = []
        self.counters = {"lost": 0, "late": 0, "restarts": 0}

    def take(self, index: int) -> str:
        """``next`` or ``late``; ``anew`` where the sender has begun its numbers elsewhere."""
        # The first one may have any number.
        ahead = 0 if self._next is None else index - self._next
        turn = "next"
        if not 0 <= ahead <= MOST_AHEAD:
            self._astray = [*(i for i in self._astray if i < index), index]
            if len(self._astray) < RESYNC_BURSTS:
                self.counters["late"] += 1
                return "late"
            self.counters["restarts"] += 1
            ahead, turn = 0, "anew"
        self.counters["lost"] += ahead
        self._next, self._astray = index + 1, []
        return turn


class TranslationReceiver:
    """Bursts of symbols to text: the edge of the listener.

    Args:
        options: of the link.
        model: the large model.
        code: as the sender's.

    Raises:
        ValueError: the model does not know the language, or the code is of another model.
    """

    def __init__(
        self, options: TranslationOptions, model: Whisper, code: LinearCode | None
    ) -> None:
        check_width(options, model, code)
        self._decoder = SemanticDecoder(model, options.language)
        self._code, self._snr_db = code, options.snr_db
        self._order, self._refused, self.patience_s = BurstOrder(), 0, PATIENCE_S

    def set_snr_db(self, snr_db: float) -> None:
        """SNR that the channel decoder reckons with.

        Raises:
            ValueError: it is out of range.
        """
        check_range("snr_db", snr_db, -40.0, 100.0)
        self._snr_db = float(snr_db)

    @property
    def counters(self) -> dict[str, int]:
        """``lost``, ``late``, ``restarts`` of the sender, ``refused_bursts``, the decoder's."""
        own = self._order.counters | {"refused_bursts": self._refused}
        return self._decoder.counters | own

    def push(self, burst: Burst) -> list[Text]:
        """Text that a burst brings; one that is late or of the wrong size is counted.

        What was lost in between is left out of the window. The first burst may have any number.
        """
        try:
            frames = burst.symbols
            if self._code is not None:
                frames = self._code.decode(frames, burst.h, self._snr_db, burst.gain_steps)
        except ValueError:
            self._refused += 1
            return []
        turn = self._order.take(burst.index)
        if turn == "late":
            return []
        self.patience_s = PATIENCE_S + 2.0 * burst.seconds
        # Windows of a sender that began anew may have the numbers of old ones.
        texts = self.flush() if turn == "anew" else []
        return texts + self._decoder.push(Features(frames, burst.window, burst.first, burst.last))

    def flush(self) -> list[Text]:
        """Finishes a window whose end does not come.

        For the end of the stream, and where nothing has come for ``patience_s``.
        """
        return self._decoder.flush()


class Air:
    """y = h x + n of a burst, h one for each block of 80 ms.

    Args:
        options: of the link, checked.

    Attributes:
        kind: ``awgn``, ``rayleigh`` or ``none``; may change between bursts.
    """

    def __init__(self, options: TranslationOptions) -> None:
        self.kind = options.channel
        self._channel = SymbolChannel("awgn", options.snr_db, options.seed)

    def set_snr_db(self, snr_db: float) -> None:
        """Mean SNR of a symbol from the next burst on; what is drawn goes on.

        Raises:
            ValueError: it is out of range.
        """
        check_range("snr_db", snr_db, -40.0, 100.0)
        self._channel.snr_db = float(snr_db)

    def __call__(self, burst: Burst) -> Burst:
        """The burst as it is received."""
        if self.kind == "none":
            return burst
        self._channel.kind = self.kind
        y, h = self._channel(torch.from_numpy(burst.symbols))
        return Burst(**vars(burst) | {"symbols": y.numpy(), "h": h.numpy()})


def whisper(source: str) -> Whisper:
    """The model of ``source``, loaded once a process."""
    if source not in _MODELS:
        _MODELS[source] = Whisper(source)
    return _MODELS[source]


_MODELS: dict[str, Whisper] = {}

# SPDX-License-Identifier: GPL-3.0-or-later
"""The translation link: speech at one end, English text at the other, features on the air between.

device A: speech -> segments -> log-mel      edge A: encoder -> features -> channel code -> x
radio:    y = h x + n
edge B:   channel decoder -> decoder -> text                       device B: text -> speech
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..channel.symbols import SymbolChannel
from ..channel_codec.linear import BLOCK_FRAMES, LinearCode
from ..features.fronts import FRONTS, open_front
from ..features.log_mel import as_bytes
from ..features.model import Asking, LargeModel, answered
from ..features.text import MOST_S, SemanticDecoder, Text
from ..features.window import Features, SemanticEncoder
from ..options import TranslationOptions, check_range
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.segments import Segment, Segmenter

# A receiver takes a burst so many numbers ahead for one behind lost ones. After so many in a row
# that are elsewhere and rise, it goes on from there: the sender began anew.
MOST_AHEAD, RESYNC_BURSTS = 1000, 3
# So long, and twice the last burst, it waits for the next one of a window.
PATIENCE_S = 2.0
# What has waited for longer at an edge is left out.
MOST_AGE_S = 4.0


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
        h: fading of each block, ``[n, 1]``, at the sender ones; or of each symbol, as ``symbols``.
        spoken: number of the sample, of 24 kHz speech, behind the segment that brought it.
        speech_end: number of the sample behind the last of its window that sounds so far.
        snr_db: of a symbol, as a receiver with a radio measured it; None: nobody did.
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
    snr_db: float | None = None

    def seconds(self, features_per_s: float) -> float:
        """How long it takes on the air, as long as the speech that so many features tell of."""
        return len(self.h) * BLOCK_FRAMES / features_per_s


def check_width(options: TranslationOptions, model: LargeModel, code: LinearCode | None) -> None:
    """Raises :class:`ValueError` for a channel code of another model's features."""
    if code is not None and code.width != model.width:
        raise ValueError(
            f"the channel code {options.channel_code!r} takes {code.width} numbers a frame, "
            f"{model.kind} {options.model} gives {model.width}: fit one with "
            f"`largesc train channel-code --whisper {options.model}`"
        )


@dataclass(frozen=True)
class Sound:
    """A segment of speech as a device sends it to its edge.

    Attributes:
        frames: of the front in 8 bit, uint8 ``[n, bands]``, see :func:`.log_mel.as_bytes`.
        end: number of the sample, of 24 kHz speech, behind it.
        speech_end: number of the sample behind the last that sounds so far.
        last: a pause follows.
        front: that made them.
    """

    frames: np.ndarray
    end: int
    speech_end: int
    last: bool
    front: str = "whisper"


class SpeakerDevice:
    """Speech to segments for the edge.

    Args:
        options: of the link: lengths of segments.
        front: that the edge's model takes, one of :data:`.fronts.FRONTS`.

    Raises:
        ValueError: the front is unknown.
    """

    def __init__(self, options: TranslationOptions, front: str = "whisper") -> None:
        self._segmenter = Segmenter(SAMPLE_RATE_HZ, options.segment_s, options.segments)
        self._front, self._name = open_front(front, SAMPLE_RATE_HZ), front
        self.segments = 0

    @property
    def silent_s(self) -> float:
        """Returns how many seconds of silence were not sent."""
        return self._segmenter.silent_samples / SAMPLE_RATE_HZ

    def push(self, samples: np.ndarray) -> Iterator[Sound]:
        """Segments that end within these samples, float ``[n]`` at 24 kHz."""
        return map(self._sound, self._segmenter.push(samples))

    def flush(self) -> Iterator[Sound]:
        """Ends the stream and yields the segments that are left."""
        return map(self._sound, self._segmenter.flush())

    def _sound(self, segment: Segment) -> Sound:
        self.segments += 1
        frames = as_bytes(self._front.push(segment.samples))
        if segment.last:
            self._front.reset()
        return Sound(frames, segment.end, segment.speech_end, segment.last, self._name)


class SpeakerEdge:
    """Segments of a device to bursts of symbols.

    Args:
        options: of the link.
        model: the large model.
        code: None: features go as they are.

    Raises:
        ValueError: the code is of another model.
    """

    def __init__(
        self, options: TranslationOptions, model: LargeModel, code: LinearCode | None
    ) -> None:
        check_width(options, model, code)
        self._encoder = SemanticEncoder(model, options.policy)
        self._code, self._front = code, model.front
        nothing = np.zeros((0, FRONTS[model.front]), dtype=np.uint8)
        self._newest = Sound(nothing, 0, 0, True, model.front)
        self.bursts = 0

    def push(self, sound: Sound) -> Iterator[Burst]:
        """Bursts that a segment brings.

        Raises:
            ValueError: it is not as the model takes it; see :meth:`SemanticEncoder.push`.
        """
        if sound.front != self._front:
            raise ValueError(
                f"a segment of the front {sound.front}: the model takes that of "
                f"`largesc translate device --front {self._front}`"
            )
        found = self._encoder.push(sound.frames, sound.last)
        self._newest = sound
        return (self._burst(features, sound) for features in found)

    def flush(self) -> Iterator[Burst]:
        """The end of a window whose end does not come: for a segment that was lost."""
        nothing = np.zeros((0, self._newest.frames.shape[1]), dtype=np.uint8)
        return self.push(replace(self._newest, frames=nothing, last=True))

    def _burst(self, features: Features, sound: Sound) -> Burst:
        if self._code is None:
            symbols, gain = features.frames, 0
        else:
            symbols, gain = self._code.encode(features.frames)
        h = np.ones((len(features.frames) // BLOCK_FRAMES, 1), dtype=np.complex64)
        self.bursts += 1
        window_end = sound.end - round(features.left_s * SAMPLE_RATE_HZ)
        return Burst(
            index=self.bursts - 1,
            window=features.window,
            first=features.first,
            last=features.last,
            gain_steps=gain,
            symbols=symbols,
            h=h,
            spoken=sound.end,
            speech_end=max(0, min(sound.speech_end, window_end)),
        )


class TranslationSender:
    """Speech to bursts of symbols: device and edge of the speaker in one.

    Args:
        options: of the link.
        model: the large model.
        code: None: features go as they are.

    Raises:
        ValueError: the code is of another model.
    """

    def __init__(
        self, options: TranslationOptions, model: LargeModel, code: LinearCode | None
    ) -> None:
        self._device = SpeakerDevice(options, model.front)
        self._edge = SpeakerEdge(options, model, code)

    @property
    def segments(self) -> int:
        """Returns how many segments there have been so far."""
        return self._device.segments

    @property
    def silent_s(self) -> float:
        """Returns how many seconds of silence were not sent."""
        return self._device.silent_s

    def push(self, samples: np.ndarray) -> Iterator[Burst]:
        """Bursts of segments that end within these samples, float ``[n]`` at 24 kHz."""
        for sound in self._device.push(samples):
            yield from self._edge.push(sound)

    def flush(self) -> Iterator[Burst]:
        """Ends the stream and yields the bursts that are left."""
        for sound in self._device.flush():
            yield from self._edge.push(sound)


class BurstOrder:
    """Which bursts are new, by their numbers.

    Attributes:
        counters: ``lost`` bursts, ``late`` ones (doubled among them), ``restarts`` of the sender.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._astray: list[int] = []
        self.counters = {"lost": 0, "late": 0, "restarts": 0}

    def restart(self) -> None:
        """The next burst may have any number."""
        self._next, self._astray = None, []
        self.counters["restarts"] += 1

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
        self, options: TranslationOptions, model: LargeModel, code: LinearCode | None
    ) -> None:
        check_width(options, model, code)
        self._model, self._decoder = model, SemanticDecoder(model, options.language)
        self._code, self._snr_db = code, options.snr_db
        self._features_per_s = model.features_per_s
        self._order, self._refused, self.patience_s = BurstOrder(), 0, PATIENCE_S
        # Of the window that is being heard, what the channel code knows of its blocks.
        self._window, self._heard = -1, []

    def set_snr_db(self, snr_db: float) -> None:
        """SNR that the channel decoder reckons with, where a burst has none of its own.

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
        return answered(self.pushing(burst), self._model)

    def pushing(self, burst: Burst) -> Asking:
        """As :meth:`push`, with its questions to the model left to who carries it out."""
        try:
            frames = burst.symbols
            if self._code is not None:
                snr_db = self._snr_db if burst.snr_db is None else burst.snr_db
                frames = self._code.heard(frames, burst.h, snr_db, burst.gain_steps)
        except ValueError:
            self._refused += 1
            return []
        turn = self._order.take(burst.index)
        if turn == "late":
            return []
        self.patience_s = PATIENCE_S + 2.0 * burst.seconds(self._features_per_s)
        # Windows of a sender that began anew may have the numbers of old ones.
        texts = (yield from self._flushing()) if turn == "anew" else []
        if self._code is not None:
            frames = self._of_window(burst, frames)
        whole = self._code is not None
        features = Features(frames, burst.window, burst.first, burst.last, whole=whole)
        return texts + (yield from self._decoder.pushing(features))

    def _of_window(self, burst: Burst, heard: np.ndarray) -> np.ndarray:
        """Features of all of the burst's window that has come.

        What comes later changes those before, as the channel code may look both ways.
        """
        if burst.window != self._window:
            self._window, self._heard = burst.window, []
        if not len(heard):
            return np.zeros((0, self._code.width), dtype=np.float32)
        found = [*self._heard, heard]
        # The decoder refuses what is too long for a window, and counts it.
        if sum(map(len, found)) * BLOCK_FRAMES <= MOST_S * self._features_per_s:
            self._heard = found
        if burst.last:
            self._heard = []
        return self._code.features(np.concatenate(found))

    def restart(self) -> list[Text]:
        """For a sender that is known to have begun anew; text that its last window still gives."""
        self._order.restart()
        return self.flush()

    def flush(self) -> list[Text]:
        """Finishes a window whose end does not come.

        For the end of the stream, and where nothing has come for ``patience_s``.
        """
        return answered(self._flushing(), self._model)

    def _flushing(self) -> Asking:
        self._window, self._heard = -1, []
        return (yield from self._decoder.flushing())


class Air:
    """y = h x + n of a burst, h one for each block of four frames, with Whisper 80 ms.

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
        """Returns the burst as it is received, with its fading."""
        if self.kind == "none":
            return burst
        self._channel.kind = self.kind
        y, h = self._channel(torch.from_numpy(burst.symbols))
        return Burst(**vars(burst) | {"symbols": y.numpy(), "h": h.numpy()})

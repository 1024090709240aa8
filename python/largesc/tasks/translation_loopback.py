# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of the translation link in one process, and how far the listener is behind."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..channel_codec.load import load_channel_code
from ..features.load import large_model
from ..features.text import Text
from ..features.voice import MOST_SPEECH_AGE_S, Phrases, Voice, length_at
from ..options import TranslationOptions
from ..speech.format import SAMPLE_RATE_HZ
from .translation import Air, Burst, TranslationReceiver, TranslationSender
from .translation_radio import RadioAir


@dataclass
class Said:
    """A step of a loopback.

    Attributes:
        burst: as received.
        text: what was understood with it.
        text_s: when, in seconds of the stream, computing and air included.
        phrases: what is spoken of it: text, and the seconds when it begins and ends. What would be
            said more than 15 s late is left out.
    """

    burst: Burst
    text: Text
    text_s: float
    phrases: list[tuple[str, float, float]] = field(default_factory=list)


class TranslationLoopback:
    """Both ends and the channel in one process, on the clock of the speech.

    What takes computing counts as long as it took the processor. Sender, air and receiver
    each do one burst after the other; a burst is on the air as long as the speech that it tells of,
    or, with a radio, as long as its profile takes. The modem's own computing is not counted.

    Args:
        options: of the link.
        voiced: with speech.

    Raises:
        ValueError: an option is out of range, or a model is not there.

    Attributes:
        model: the large model.
        computing_s: processor time so far.
        spoken_s: speech so far.
        unsaid: phrases that would have been said too late.
    """

    def __init__(self, options: TranslationOptions, voiced: bool = True) -> None:
        options.checked()
        self.options, self.model = options, large_model(options.model)
        self.code = None
        if options.channel != "none" or options.radio:
            self.code = load_channel_code(options.channel_code, options.symbols)
        self.sender = TranslationSender(options, self.model, self.code)
        self.receiver = TranslationReceiver(options, self.model, self.code)
        self._air, self._phrases = Air(options), Phrases()
        self.radio = RadioAir(options, self.model.features_per_s) if options.radio else None
        self._voice = Voice(options.voice) if voiced else None
        if self._voice is not None:
            # The first time takes seconds.
            self._voice.say("one")
        self._free = {"sender": 0.0, "air": 0.0, "receiver": 0.0, "player": 0.0}
        self._speech: list[tuple[float, np.ndarray]] = []
        self.computing_s, self.spoken_s, self.unsaid = 0.0, 0.0, 0

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
            self.computing_s += took
            if self.radio is None:
                received, air_s = [self._air(burst)], burst.seconds(self.model.features_per_s)
            else:
                received, air_s = self.radio(burst, sent_s)
            there_s = self._done("air", sent_s, air_s)
            for one in received:
                yield from self._heard(one, there_s)

    def _heard(self, burst: Burst, there_s: float) -> Iterator[Said]:
        begin = time.process_time()
        texts = self.receiver.push(burst)
        took = time.process_time() - begin
        text_s = self._done("receiver", there_s, took)
        self.computing_s += took
        for text in texts:
            said = Said(burst, text, text_s)
            for phrase in self._phrases.push(text.committed, text.last):
                if self._free["player"] - text_s > MOST_SPEECH_AGE_S:
                    self.unsaid += 1
                else:
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


class Lags:
    """How far the listener is behind. Of a step a few numbers are kept, no symbols."""

    def __init__(self) -> None:
        self._text_s: list[float] = []
        self._ends_s: dict[int, float] = {}
        self._heard_s: dict[int, float] = {}
        self._first: list[float] = []
        self._whole: list[float] = []

    def add(self, step: Said) -> None:
        """Takes the next step of a loopback."""
        window = step.text.window
        self._ends_s[step.burst.window] = step.burst.speech_end / SAMPLE_RATE_HZ
        if step.text.committed.strip():
            self._text_s.append(step.text_s)
        if step.phrases:
            self._heard_s.setdefault(window, step.phrases[0][1])
        if not step.text.last:
            return
        ends_s, heard_s = self._ends_s.pop(window, None), self._heard_s.pop(window, None)
        if ends_s is not None and heard_s is not None:
            self._first.append(heard_s - ends_s)
            self._whole.append(step.text_s - ends_s)

    def figures(self) -> dict[str, float]:
        """What was found so far; NaN where there is nothing.

        Returns:
            ``average_latency_s``: eq. 7, mean gap between the ends of adjacent translated segments,
            those that brought words that stay. The paper does not say what a pause is. Here gaps
            count over the whole stream, from one window to the next as well, with the speaker's
            pauses in them. ``lag_first_s``: median from the last sounding sample of a phrase, a
            window, to the first sample that is said of it, below 0 where that comes before.
            ``lag_text_s``: median from there to all of its text.
        """

        def middle(values: list[float]) -> float:
            return float(np.median(values)) if values else float("nan")

        gaps = np.diff(self._text_s)
        return {
            "average_latency_s": float(np.mean(gaps)) if len(gaps) else float("nan"),
            "lag_first_s": middle(self._first),
            "lag_text_s": middle(self._whole),
        }

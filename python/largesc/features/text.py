# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of features that come bit by bit; what is committed never changes.

With each burst all of the window is decoded again. What two hypotheses in a row agree on is
committed, in whole words, and forced from then on (local agreement). A window that is over is
committed as a whole.
"""

from dataclasses import dataclass, field

import numpy as np

from .model import Asking, LargeModel, Question, answered
from .window import Features

# docs/results/translation/confidence.csv: 4 % of windows lie below without noise, 45 % at -5 dB.
LEAST_CONFIDENCE = -1.55
# Nothing is decoded before so much has come.
FIRST_S = 1.0
# Of a window. The sender's are of up to 22.5 s; Whisper takes 30 s, silence behind among them.
MOST_S = 25.0
LAST_BEAM = 5


@dataclass(frozen=True)
class Text:
    """What was understood with a burst.

    Attributes:
        window: number of the window that it is of.
        committed: new words; they stay.
        tentative: what may follow them, and may change.
        heard_s: of the window, seconds of speech that have come.
        last: the window is over.
        doubtful: something was heard, with too little confidence to say it.
    """

    window: int
    committed: str
    tentative: str
    heard_s: float
    last: bool
    doubtful: bool


@dataclass
class Window:
    """State of the window that is being heard."""

    number: int = -1
    pieces: list[np.ndarray] = field(default_factory=list)
    said: tuple[int, ...] = ()
    before: tuple[int, ...] = ()


class SemanticDecoder:
    """English text of features.

    Args:
        model: the large model.
        language: that is spoken.
        task: ``translate``, or ``transcribe``.
        least_confidence: mean log probability of a token below which nothing is said.

    Raises:
        ValueError: the model does not know the language.

    Attributes:
        counters: of what came and what was refused.
    """

    def __init__(
        self,
        model: LargeModel,
        language: str,
        task: str = "translate",
        least_confidence: float = LEAST_CONFIDENCE,
    ) -> None:
        model.check_language(language)
        self._model, self.language, self._task = model, language, task
        self._least = least_confidence
        self.reset()

    def reset(self) -> None:
        """Begins a new stream, with all counters at 0."""
        self._now = Window()
        self.counters = {"bursts": 0, "windows": 0, "doubtful": 0, "refused": 0, "unfinished": 0}

    def push(self, features: Features) -> list[Text]:
        """Takes a burst of features, of a window that was begun or of a new one.

        A window whose end was lost is finished when the next one begins. Features that are none, or
        too many for a window, are counted as ``refused``.
        """
        return answered(self.pushing(features), self._model)

    def flush(self) -> list[Text]:
        """Finishes the window whose end does not come, if there is one."""
        return answered(self.flushing(), self._model)

    def pushing(self, features: Features) -> Asking:
        """As :meth:`push`, with its questions left to who carries it out."""
        frames = features.frames
        if frames.ndim != 2 or frames.shape[1] != self._model.width or not len(frames):
            self.counters["refused"] += 1
            return []
        found = []
        if features.window != self._now.number:
            found += yield from self.flushing()
            self._now = Window(features.window)
        self.counters["bursts"] += 1
        before = [] if features.whole else self._now.pieces
        heard = sum(map(len, before)) + len(frames)
        if heard > MOST_S * self._model.features_per_s:
            self.counters["refused"] += 1
            return found + ((yield from self.flushing()) if features.last else [])
        self._now.pieces = [*before, np.nan_to_num(frames).astype(np.float32)]
        if features.last or heard >= FIRST_S * self._model.features_per_s:
            found.append((yield from self._decoded(features.last)))
        return found

    def flushing(self) -> Asking:
        """As :meth:`flush`, with its questions left to who carries it out."""
        if not self._now.pieces:
            return []
        self.counters["unfinished"] += 1
        return [(yield from self._decoded(over=True))]

    def _decoded(self, over: bool) -> Asking:
        now = self._now
        speech = np.concatenate(now.pieces)
        found = yield Question(
            np.concatenate([speech, self._model.silence]),
            self.language,
            now.said,
            LAST_BEAM if over else 1,
            self._task,
        )
        doubtful = bool(found.tokens) and found.confidence < self._least
        tokens = () if doubtful else self._once(found.tokens)
        if over:
            agreed = len(tokens)
        else:
            agreed = self._whole_words(tokens, shared(tokens, now.before))
        committed = self._text_behind(now.said, tokens[:agreed])
        heard_s = len(speech) / self._model.features_per_s
        self.counters["doubtful"] += doubtful
        now.said, now.before = now.said + tokens[:agreed], tokens[agreed:]
        tentative = self._text_behind(now.said, now.before)
        if over:
            self.counters["windows"] += 1
            self._now = Window()
        return Text(now.number, committed, tentative, heard_s, over, doubtful)

    def _text_behind(self, said: tuple[int, ...], tokens: tuple[int, ...]) -> str:
        """What tokens add to the text; a letter may be spread over several."""
        before = self._model.text(said)
        return self._model.text(said + tokens)[len(before) :]

    def _whole_words(self, tokens: tuple[int, ...], count: int) -> int:
        """Fewer tokens than ``count``, up to the end of a word."""
        # The last one may go on.
        count = max(0, min(count, len(tokens) - 1))
        while count and not self._begins_word(tokens[count]):
            count -= 1
        return count

    def _begins_word(self, token: int) -> bool:
        text = self._model.text((token,))
        return text[:1].isspace() or not text[:1].isalnum()

    def _once(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Tokens up to a sentence that begins as the one before: Whisper repeats itself."""
        starts, heads = [0], []
        for place, token in enumerate(tokens):
            if self._model.text((token,)).strip() in (".", "!", "?"):
                starts.append(place + 1)
        for start in starts:
            words = self._model.text(tokens[start:]).lower().split()[:2]
            if len(words) == 2 and words in heads:
                return tokens[:start]
            heads.append(words)
        return tokens


def shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens that two hypotheses begin with alike."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count

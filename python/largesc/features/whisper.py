# SPDX-License-Identifier: GPL-3.0-or-later
"""Whisper as the large model of both edges: speech to features, features to English text.

It runs by CTranslate2, on the CPU, in 8 bit.
"""

from functools import cache

import numpy as np

from ..models.store import ModelError, made_by_others
from ..models.whisper import MOST_TOKENS, most_tokens, open_whisper
from .fronts import whisper_front
from .log_mel import FRAMES_PER_S, LEAST, WHISPER_HZ, LogMel, as_whisper
from .model import Hypothesis, LargeModel, Question

INSTALL = "install it: ./bootstrap translate, or as requirements-translation*.txt say"
FEATURES_PER_S = 50
# Log-mel frames a feature frame.
STRIDE = 2
# Speech has silence behind it, or Whisper goes on.
TAIL_FRAMES, TAIL_AFTER_S, TAIL_WINDOW_S = 100, 2.0, 6.0
HUM_HZ = 120.0
NO_REPEAT = 4


class Whisper(LargeModel):
    """A Whisper model of CTranslate2's format.

    Args:
        source: ``base``, or a folder.
        threads: of the processor.

    Raises:
        ModelError: it is not there, or not what it should be.

    Attributes are those of every :class:`LargeModel`; 50 feature frames come a second.
    """

    kind, stride = "Whisper", STRIDE

    def __init__(self, source: str = "base", threads: int = 1) -> None:
        loaded = open_whisper(source, INSTALL, threads)
        from faster_whisper.transcribe import get_suppressed_tokens

        with made_by_others(source):
            self._model, self._words = loaded.model, loaded.hf_tokenizer
            self.name, self.bands = source, self._model.n_mels
            self.front = whisper_front(self.bands)
            self.languages = tuple(sorted(loaded.supported_languages))
            if not self._model.is_multilingual:
                raise ModelError(f"Whisper model {source!r} knows English only: give another")
            self._suppressed = get_suppressed_tokens(self._tokenizer("en", "translate"), [-1])
            quiet = self._silence()
        self.silence, self._pad = quiet[:TAIL_FRAMES], quiet[TAIL_FRAMES:]
        self.width = quiet.shape[1]

    def _silence(self) -> np.ndarray:
        """Features of silence behind a voice, whose words do not matter: a humming one."""
        time_s = np.arange(int(TAIL_AFTER_S * WHISPER_HZ)) / WHISPER_HZ
        hum = 0.2 * (2.0 * (HUM_HZ * time_s % 1.0) - 1.0) * (np.sin(4.0 * np.pi * time_s) > 0.0)
        frames = LogMel(WHISPER_HZ, self.bands).push(hum)
        quiet = np.full((int(TAIL_WINDOW_S * FRAMES_PER_S), self.bands), LEAST, dtype=np.float32)
        return self.encode(np.concatenate([frames, quiet]))[len(frames) // STRIDE :]

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Features ``[n // 2, width]`` of log-mel frames ``[n, bands]``, which end with silence."""
        import ctranslate2

        even = frames[: len(frames) // STRIDE * STRIDE]
        if not len(even):
            return np.zeros((0, self.width), dtype=np.float32)
        window = np.ascontiguousarray(as_whisper(even)[None], dtype=np.float32)
        view = ctranslate2.StorageView.from_array(window)
        return np.array(self._model.encode(view, to_cpu=True))[0].astype(np.float32)

    def decode(
        self,
        features: np.ndarray,
        language: str,
        forced: tuple[int, ...] = (),
        beam: int = 1,
        task: str = "translate",
    ) -> Hypothesis:
        """Text of features, see :meth:`LargeModel.decode`; with 100 frames of silence behind."""
        return self.decode_all([Question(features, language, forced, beam, task)])[0]

    def decode_all(self, questions: list[Question]) -> list[Hypothesis]:
        """Answers of questions, those that are alike at once; see :meth:`LargeModel.decode_all`."""
        groups: dict[tuple[int, bool], list[int]] = {}
        for number, question in enumerate(questions):
            groups.setdefault((question.beam, bool(question.forced)), []).append(number)
        found = {}
        for numbers in groups.values():
            found |= zip(numbers, self._decoded([questions[n] for n in numbers]), strict=True)
        return [found[number] for number in range(len(questions))]

    def _decoded(self, questions: list[Question]) -> list[Hypothesis]:
        """Of questions with one beam, all of them with forced tokens or none."""
        import ctranslate2

        prompts = [[*self.prompt(q.language, q.task), *q.forced] for q in questions]
        bounds = [
            max(2, most_tokens(len(q.features) / FEATURES_PER_S) - len(q.forced)) for q in questions
        ]
        longest = max(len(p) + b for p, b in zip(prompts, bounds, strict=True))
        frames = max(len(question.features) for question in questions)
        features = np.stack([self._padded(question.features, frames) for question in questions])
        found = self._model.generate(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(features, np.float32)),
            prompts,
            beam_size=questions[0].beam,
            max_length=min(MOST_TOKENS, longest),
            no_repeat_ngram_size=NO_REPEAT,
            return_scores=True,
            suppress_blank=not questions[0].forced,
            suppress_tokens=self._suppressed,
        )
        return [
            Hypothesis(behind(tuple(one.sequences_ids[0]), q.forced)[:bound], float(one.scores[0]))
            for one, q, bound in zip(found, questions, bounds, strict=True)
        ]

    def _padded(self, features: np.ndarray, frames: int) -> np.ndarray:
        """Features with so much of silence behind that they are ``frames`` long."""
        return np.concatenate(
            [features, np.resize(self._pad, (frames - len(features), self.width))]
        )

    def text(self, tokens: tuple[int, ...]) -> str:
        """Returns the text that tokens stand for, by its tokenizer."""
        return self._words.decode(list(tokens))

    def prompt(self, language: str, task: str = "translate") -> tuple[int, ...]:
        """Returns the tokens that every text of a language and a task begins with."""
        words = self._tokenizer(language, task)
        return (*words.sot_sequence, words.no_timestamps)

    @property
    def end(self) -> int:
        """Returns the token behind a text."""
        return self._tokenizer("en", "translate").eot

    def _tokenizer(self, language: str, task: str) -> object:
        return tokenizer(self._words, language, task)


def behind(tokens: tuple[int, ...], forced: tuple[int, ...]) -> tuple[int, ...]:
    """Tokens behind the forced ones, which come back as well where there are any."""
    return tokens[len(forced) :] if forced and tokens[: len(forced)] == tuple(forced) else tokens


@cache
def tokenizer(words: object, language: str, task: str) -> object:
    """faster-whisper's tokenizer of a language."""
    from faster_whisper.tokenizer import Tokenizer

    return Tokenizer(words, True, task=task, language=language)

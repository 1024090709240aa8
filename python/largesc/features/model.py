# SPDX-License-Identifier: GPL-3.0-or-later
"""What both edges need of a large model, whatever its kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from .log_mel import BANDS, FRAMES_PER_S


@dataclass(frozen=True)
class Hypothesis:
    """What the decoder makes of features.

    Attributes:
        tokens: behind the forced ones.
        confidence: mean log probability of a token.
    """

    tokens: tuple[int, ...]
    confidence: float


@dataclass(frozen=True)
class Question:
    """What the decoder is asked; attributes are the arguments of :meth:`LargeModel.decode`."""

    features: np.ndarray
    language: str
    forced: tuple[int, ...] = ()
    beam: int = 1
    task: str = "translate"


# Of a model that is asked more at once, each answer takes as long.
MOST_TOGETHER = 8
# Work that stops at each question, goes on with its answer, and returns something in the end.
Asking = Generator[Question, Hypothesis, object]
# Gives the answers of questions, in their order.
Answer = Callable[[list[Question]], list[Hypothesis]]


class LargeModel(ABC):
    """Speech to features, and features to English text.

    Attributes:
        kind: what it is called in messages.
        name: its source.
        front: what a device makes of speech for it, one of :data:`.fronts.FRONTS`.
        bands: of a frame of the front, 100 of which come a second.
        stride: frames of the front for a feature frame.
        width: numbers a feature frame.
        languages: that it understands, as it names them.
        silence: features of silence, ``[n, width]``, that belong behind speech before it is
            decoded; n may be 0.
    """

    kind, name, front = "large model", "", "whisper"
    bands, stride, width = BANDS, 2, 0
    languages: tuple[str, ...] = ()
    silence: np.ndarray

    @property
    def features_per_s(self) -> float:
        """How many feature frames come a second."""
        return FRAMES_PER_S / self.stride

    def check_language(self, language: str) -> None:
        """Raises :class:`ValueError` for a language that the model does not know."""
        if language not in self.languages:
            raise ValueError(
                f"language {language!r} is unknown to {self.kind} {self.name}: use one of "
                f"{', '.join(self.languages)}"
            )

    @abstractmethod
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Features ``[m, width]`` of frames ``[n, bands]``, which end with silence.

        The first ``n // stride`` are of these frames; a few more may follow.
        """

    @abstractmethod
    def decode(
        self,
        features: np.ndarray,
        language: str,
        forced: tuple[int, ...] = (),
        beam: int = 1,
        task: str = "translate",
    ) -> Hypothesis:
        """Text of features ``[n, width]``, with :attr:`silence` behind them, as tokens.

        Args:
            features: of at most 30 s.
            language: that is spoken.
            forced: tokens that the text begins with.
            beam: hypotheses that are followed.
            task: ``translate`` into English, or ``transcribe``.
        """

    def decode_all(self, questions: list[Question]) -> list[Hypothesis]:
        """Answers of several questions, as :meth:`decode` gives them, at once where that is faster.

        They may be padded with silence to one length, and so differ in a word.
        """
        return [self.decode(**vars(question)) for question in questions]

    @abstractmethod
    def text(self, tokens: tuple[int, ...]) -> str:
        """The text that tokens stand for; a word has its space in front."""


def answered(asking: Asking, model: LargeModel) -> object:
    """Carries out one piece of work that asks a model; returns what it returns."""
    (found,) = answered_together([asking], model.decode_all)
    if isinstance(found, Exception):
        raise found
    return found


def answered_together(askings: list[Asking], answer: Answer) -> list[object]:
    """Carries out pieces of work at once, so that their questions are answered together.

    Args:
        askings: that have not begun.
        answer: gives the answers of questions, in their order.

    Returns:
        What each returns, or the exception that ended it.
    """
    found: list[object] = [None] * len(askings)
    answers: dict[int, Hypothesis | None] = dict.fromkeys(range(len(askings)))
    while answers:
        questions = {}
        for number, told in answers.items():
            try:
                questions[number] = askings[number].send(told)
            except StopIteration as end:
                found[number] = end.value
            except Exception as error:
                found[number] = error
        if not questions:
            break
        try:
            told = answer([*questions.values()])
        except Exception as error:
            found = [error if n in questions else f for n, f in enumerate(found)]
            break
        answers = dict(zip(questions, told, strict=True))
    return found

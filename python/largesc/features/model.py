# SPDX-License-Identifier: GPL-3.0-or-later
"""What both edges need of a large model, whatever its kind."""

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


class LargeModel:
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

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Features ``[m, width]`` of frames ``[n, bands]``, which end with silence.

        The first ``n // stride`` are of these frames; a few more may follow.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def text(self, tokens: tuple[int, ...]) -> str:
        """The text that tokens stand for; a word has its space in front."""
        raise NotImplementedError

# SPDX-License-Identifier: GPL-3.0-or-later
"""Single words out of speech whose text is known, by what Whisper's decoder attends to."""

from dataclasses import dataclass

import numpy as np

from ..evaluation.recogniser import RATE_HZ, Recogniser
from ..speech.files import resampled
from ..speech.format import FRAME_S, SAMPLE_RATE_HZ
from .commands import words_of

LONGEST_S = 28.0
# Whisper's places are those of its words' ends, to a tenth of a second.
BEFORE_S, BEHIND_S = 0.10, 0.12
# No shorter than a frame.
LEAST_S, MOST_S = FRAME_S, 1.3
FRAMES_PER_S, SILENT_FRAMES = 100, 50


@dataclass(frozen=True)
class Word:
    """A word of an utterance.

    Attributes:
        text: in lower case, letters and apostrophes.
        start_s, end_s: in the utterance.
    """

    text: str
    start_s: float
    end_s: float


class WordPlaces:
    """Finds where each word of a text is said.

    Args:
        name: see :func:`gnuradio.largesc.evaluation.recogniser.weights_folder`.

    Raises:
        ModelError: the recogniser is not installed.
    """

    def __init__(self, name: str) -> None:
        found = Recogniser(name)
        self._whisper, self._tokenizer = found._whisper, found._tokenizer

    def __call__(self, speech: np.ndarray, text: str) -> list[Word]:
        """Words of speech ``[n]`` at 24 kHz, at most 28 s of it."""
        heard = resampled(speech, SAMPLE_RATE_HZ, RATE_HZ).astype(np.float32)
        hop = RATE_HZ // FRAMES_PER_S
        frames = (len(heard) // hop + SILENT_FRAMES) // 2 * 2
        whole = np.zeros(frames * hop, dtype=np.float32)
        whole[: len(heard)] = heard[: len(whole)]
        mel = self._whisper.feature_extractor(whole, padding=0)[:, :frames]
        tokens = self._tokenizer.encode(" " + " ".join(words_of(text)))
        found = self._whisper.find_alignment(
            self._tokenizer, [tokens], self._whisper.encode(mel), frames
        )[0]
        return [Word(w["word"].strip().lower(), w["start"], w["end"]) for w in found]


def cut(speech: np.ndarray, word: Word) -> np.ndarray:
    """The word's samples with a little about them; none where it is too short or long for one."""
    if not LEAST_S <= word.end_s - word.start_s <= MOST_S:
        return speech[:0]
    first = max(0, int((word.start_s - BEFORE_S) * SAMPLE_RATE_HZ))
    return speech[first : int((word.end_s + BEHIND_S) * SAMPLE_RATE_HZ)]

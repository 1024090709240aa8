# SPDX-License-Identifier: GPL-3.0-or-later
"""Words with times as Moshi's text stream: the text token that stands beside each frame.

Beside an utterance ``a.wav`` lies ``a.words`` with a line for each word: start and end in seconds,
and the word, between spaces or tabs. Label tracks of Audacity have this form.

The tokens of a word begin at the frame in which it starts, one a frame. Where those of the word
before are not done, they follow these; what does not fit before the utterance ends is left out. All
other frames are padding, and the last one of padding before a word says that a word comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from .speech import Utterance

SUFFIX = ".words"
# In place of tokens: padding, its last frame before a word, and no word times at all.
PADDING, WORD_NEXT, UNKNOWN = -1, -2, -3
FRAMES_PER_S = SAMPLE_RATE_HZ / FRAME_SAMPLES


@dataclass(frozen=True)
class Word:
    """A word and when it starts, in seconds from the start of the utterance."""

    start_s: float
    text: str


class TextTokenizer:
    """A SentencePiece model.

    Args:
        path: of the model, as ``tokenizer_spm_32k_3.model`` beside Moshi's weights.

    Raises:
        ValueError: the library or the model is missing, or it is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise ValueError("text needs sentencepiece: pip install sentencepiece") from error
        if not path.is_file():
            raise ValueError(f"text tokenizer {path} is missing: give a SentencePiece model")
        try:
            self._model = SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{path} is no SentencePiece model: {error}") from error
        self.pieces = self._model.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """Tokens of a word; what the model does not know is left out."""
        return [token for token in self._model.encode(text) if token != self._model.unk_id()]


def read_words(path: Path) -> list[Word]:
    """Words of a file in the order of their starts; a label without text is silence.

    Raises:
        ValueError: names the line that is wrong.
    """
    found: list[Word] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        start, end, text = [*line.split(maxsplit=2), "", ""][:3]
        try:
            start_s, end_s = float(start), float(end)
        except ValueError:
            start_s = end_s = float("nan")
        if not 0.0 <= start_s <= end_s < float("inf"):
            raise ValueError(
                f"{path}, line {number} is {line!r}: expected start and end in seconds, and a word"
            )
        if text:
            found.append(Word(start_s, text))
    return sorted(found, key=lambda word: word.start_s)


def text_of(words: list[Word], tokenizer: TextTokenizer, frames: int) -> np.ndarray:
    """Text tokens and placeholders of an utterance, int32 ``[frames]``."""
    text, free = np.full(frames, PADDING, dtype=np.int32), 0
    for word in words:
        # 0.24 s times 12.5 must not fall a hair short of frame 3.
        at = max(int(word.start_s * FRAMES_PER_S + 1e-6), free)
        tokens = tokenizer.encode(word.text)[: max(0, frames - at)]
        if not tokens:
            continue
        if at > free:
            text[at - 1] = WORD_NEXT
        free = at + len(tokens)
        text[at:free] = tokens
    return text


def text_beside(
    utterances: Sequence["Utterance"], folder: Path, tokenizer: TextTokenizer
) -> np.ndarray:
    """Text of all whole frames of utterances, one after the other, int32 ``[frames]``.

    Variants of an utterance come behind it in ``utterances``, and last longer or shorter.

    Args:
        utterances: as they are encoded.
        folder: that their paths are relative to.
        tokenizer: of the words.
    """
    original: dict[str, int] = {}
    found, timed = [np.zeros(0, dtype=np.int32)], 0
    for u in utterances:
        frames = u.samples // FRAME_SAMPLES
        path = (folder / u.path).with_suffix(SUFFIX)
        if not path.is_file():
            found.append(np.full(frames, UNKNOWN, dtype=np.int32))
            continue
        stretch = u.samples / original.setdefault(u.path, u.samples)
        words = [Word(word.start_s * stretch, word.text) for word in read_words(path)]
        found.append(text_of(words, tokenizer, frames))
        timed += 1
    print(f"text: {timed} of {len(utterances)} utterances have word times", flush=True)
    return np.concatenate(found)


class TextIds:
    """Text of a token cache as the token ids of a model.

    Args:
        model: moshi ``LMModel``.
        pieces: tokens that the text's tokenizer has.

    Raises:
        ValueError: there is no text, or the model has fewer text tokens than the tokenizer.
    """

    def __init__(self, model: object, pieces: int) -> None:
        if pieces == 0:
            raise ValueError(
                "text_weight is set, but the cached tokens have no text: run `largesc train "
                "tokens` with --text-tokenizer, or set text_weight to 0"
            )
        if pieces > model.text_card:
            raise ValueError(
                f"the text tokenizer has {pieces} tokens, the language model only "
                f"{model.text_card}: take the tokenizer that belongs to the model, or set "
                "text_weight to 0"
            )
        self.padding, self.word_next = model.text_padding_token_id, model.end_of_text_padding_id

    def check(self, text: np.ndarray) -> None:
        """Raises ValueError where a word's token is one of the model's tokens of padding."""
        for token in (self.padding, self.word_next):
            if np.any(text == token):
                raise ValueError(
                    f"text token {token} stands for a word and is the model's padding: take the "
                    "tokenizer that belongs to the model, or make one that leaves it out"
                )

    def of(self, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids of ``text`` (any shape), and where they are known."""
        ids = torch.where(text == WORD_NEXT, self.word_next, text.long())
        return torch.where(
            (text == PADDING) | (text == UNKNOWN), self.padding, ids
        ), text != UNKNOWN

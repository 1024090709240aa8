# SPDX-License-Identifier: GPL-3.0-or-later
"""Whisper models in CTranslate2's format: how they are opened, and how much text they may write."""

from .packaged import absent, whisper_folder
from .store import ModelError, made_by_others

# Tokens a second of what the decoder is given, and some more. Nobody says more; without a bound
# Whisper repeats itself without end where it hears noise.
TOKENS_PER_S, MORE_TOKENS, MOST_TOKENS = 8, 6, 448


def open_whisper(name: str, install: str, threads: int = 1) -> object:
    """A ``faster_whisper.WhisperModel`` on the CPU, in 8 bit.

    Args:
        name: ``tiny.en``, ``base``, or a folder of another model in CTranslate2's format.
        install: how the packages are installed, for messages.
        threads: of the processor.

    Raises:
        ModelError: a package is not installed, a file is not there, or not what it should be.
    """
    if lacking := absent(("ctranslate2", "faster_whisper")):
        raise ModelError(f"{lacking[0]} is not installed; {install}")
    folder = whisper_folder(name, install)
    from faster_whisper import WhisperModel

    with made_by_others(name):
        return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)


def most_tokens(seconds: float) -> int:
    """How many tokens may be written of so many seconds."""
    return int(TOKENS_PER_S * seconds) + MORE_TOKENS

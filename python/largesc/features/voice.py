# SPDX-License-Identifier: GPL-3.0-or-later
"""The speech predictor: text to speech by Piper, and when each phrase is said."""

from pathlib import Path

import numpy as np

from ..models.packaged import MODELS, absent, packaged
from ..models.store import ModelError, made_by_others
from ..speech.files import resampled
from ..speech.format import SAMPLE_RATE_HZ
from .whisper import INSTALL

# Piper speaks faster where it is behind: its length at so many seconds, between them in a line.
IN_TIME, BEHIND = (0.5, 1.0), (4.0, 0.65)
FEW_WORDS = 4
# What came longer ago is shown, and not said: the text of a long window is said for so long.
MOST_SPEECH_AGE_S = 15.0
ENDS = (".", "!", "?", ",", ";", ":")


class Voice:
    """Piper's English voice.

    Args:
        source: ``joe``, or the path of a voice's ``.onnx``.

    Raises:
        ModelError: it is not there.
    """

    def __init__(self, source: str = "joe") -> None:
        if lacking := absent(("piper",)):
            raise ModelError(f"{lacking[0]}-tts is not installed; {INSTALL}")
        if source == "joe":
            path = packaged(source, INSTALL) / MODELS[source].file
        else:
            path = Path(source).expanduser()
            if not path.is_file():
                raise ModelError(f"voice {source!r} is missing: give joe, or a voice of Piper")
        from piper import PiperVoice

        with made_by_others(source):
            self._voice = PiperVoice.load(path)

    def say(self, text: str, length: float = 1.0) -> np.ndarray:
        """Speech of ``text``, float32 at 24 kHz; empty where there is nothing to say.

        Args:
            text: English.
            length: of the speech, 1 as the voice is, less for faster.
        """
        if not any(c.isalnum() for c in text):
            return np.zeros(0, dtype=np.float32)
        from piper import SynthesisConfig

        chunks = list(self._voice.synthesize(text.strip(), SynthesisConfig(length_scale=length)))
        if not chunks:
            return np.zeros(0, dtype=np.float32)
        speech = np.concatenate([chunk.audio_float_array for chunk in chunks])
        return resampled(speech, chunks[0].sample_rate, SAMPLE_RATE_HZ).astype(np.float32)


class Phrases:
    """Committed text in phrases that can be said: up to a mark, or four words, or the end."""

    def __init__(self) -> None:
        self._waiting = ""

    @property
    def waiting(self) -> str:
        """Text that is no whole phrase yet."""
        return self._waiting

    def push(self, text: str, last: bool) -> list[str]:
        """Phrases that are whole with ``text``."""
        self._waiting += text
        whole = last or self._waiting.rstrip().endswith(ENDS)
        if not whole and len(self._waiting.split()) < FEW_WORDS:
            return []
        # A mark that came late stays with the phrase before, which was said.
        said, self._waiting = self._waiting.strip().lstrip("".join(ENDS)).strip(), ""
        return [said] if said else []


def length_at(behind_s: float) -> float:
    """How long Piper's speech is to be where playing is ``behind_s`` behind the text."""
    return float(np.interp(behind_s, (IN_TIME[0], BEHIND[0]), (IN_TIME[1], BEHIND[1])))

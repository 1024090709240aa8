# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech from and to files: reading, writing, resampling, and tables of recordings.

16-bit samples have one scale everywhere, that of libsndfile: full scale is 32768, and what lies
above the largest sample, 32767, is clipped to it.
"""

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from scipy.signal import resample_poly

from ..tables import read_tsv
from .conditioning import Mixer
from .format import SAMPLE_RATE_HZ

FULL_SCALE = 32768
RATES_HZ = (4000, 384000)
# Of a ratio of two rates: rates that no filter of this size holds are off by less than 1 ppm.
MOST_STEPS = 1000
# What is decoded at a time: nothing that a header counts is believed before it is there.
PIECE_FRAMES = 65536
AUDIO_SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")


class AudioError(ValueError):
    """Speech that cannot be read, or not be written; the message says what to do."""


def to_pcm16(samples: np.ndarray) -> np.ndarray:
    """Float samples within -1 to 1 as int16 of the same shape; what lies beyond is clipped."""
    return np.clip(np.round(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def from_pcm16(pcm: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Int16 samples as floats within -1 to 1."""
    return pcm.astype(dtype) / dtype(FULL_SCALE)


def resampling_steps(rate_hz: int, to_hz: int) -> tuple[int, int]:
    """By how much a resampler goes up and down.

    Raises:
        ValueError: no speech has such a rate.
    """
    for rate in (rate_hz, to_hz):
        if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
            raise ValueError(
                f"a rate of {rate} Hz is out of range: use {RATES_HZ[0]} to {RATES_HZ[1]}"
            )
    ratio = Fraction(to_hz, rate_hz).limit_denominator(MOST_STEPS)
    return ratio.numerator, ratio.denominator


def resampled(samples: np.ndarray, rate_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """``samples`` (float ``[n]``) at ``rate_hz``, at ``to_hz``; as they are where the two agree.

    Raises:
        ValueError: no speech has such a rate.
    """
    if rate_hz == to_hz:
        return samples
    return resample_poly(samples, *resampling_steps(rate_hz, to_hz))


class Resampler:
    """:func:`resampled` for a stream at ``rate_hz``: the same samples, piece by piece.

    Raises:
        ValueError: no speech has such a rate.
    """

    def __init__(self, rate_hz: int) -> None:
        self._up, self._down = resampling_steps(rate_hz, SAMPLE_RATE_HZ)
        # The filter of resample_poly reaches so far to both sides, in whole steps of the ratio.
        reach = 10 * max(self._up, self._down) / self._up + 1
        self._context = self._down * math.ceil(reach / self._down)
        self._samples = np.zeros(self._context, dtype=np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """What can be resampled with these samples behind those of before."""
        self._samples = np.concatenate([self._samples, samples])
        count = (len(self._samples) - 2 * self._context) // self._down * self._down
        if count <= 0:
            return self._samples[:0]
        out = self._resampled(count + 2 * self._context)[: count // self._down * self._up]
        self._samples = self._samples[count:]
        return out

    def flush(self) -> np.ndarray:
        """Returns the rest of the stream, which then is over."""
        return self._resampled(len(self._samples))

    def _resampled(self, count: int) -> np.ndarray:
        before = self._context // self._down * self._up
        return resample_poly(self._samples[:count], self._up, self._down)[before:]


def encoded_path(source: Path | str | BinaryIO) -> bytes | BinaryIO:
    """A path for libsndfile, in whatever encoding its name is; another source as it is."""
    return os.fsencode(source) if isinstance(source, str | Path) else source


def decoded(source: Path | str | BinaryIO) -> tuple[np.ndarray, int]:
    """Samples and rate in Hz of any file that libsndfile knows, float32 ``[samples, channels]``."""
    with soundfile.SoundFile(encoded_path(source)) as file:
        pieces = [np.zeros((0, file.channels), dtype=np.float32)]
        while len(piece := file.read(PIECE_FRAMES, dtype="float32", always_2d=True)):
            pieces.append(piece)
        return np.concatenate(pieces), file.samplerate


def as_speech(audio: np.ndarray, rate_hz: int) -> np.ndarray:
    """``audio`` ``[samples, channels]`` mixed to mono at 24 kHz, float32 ``[samples]``.

    What is no number becomes 0.
    """
    return resampled(Mixer(rate_hz).push(audio), rate_hz).astype(np.float32)


def read_audio(path: Path) -> np.ndarray:
    """Reads any file that libsndfile knows, mixed to mono at 24 kHz, float32 ``[samples]``."""
    return as_speech(*decoded(path))


def write_audio(target: Path | BinaryIO, speech: np.ndarray, form: str | None = None) -> None:
    """Writes 24 kHz speech with 16 bit; what lies beyond -1 to 1 is clipped.

    Args:
        target: file to write; its ending tells the form.
        speech: float ``[samples]``.
        form: ``WAV`` or ``FLAC``, where ``target`` has no ending.
    """
    soundfile.write(target, speech, SAMPLE_RATE_HZ, subtype="PCM_16", format=form)


def rows_of(source: Path) -> tuple[Path, list[dict[str, str]]]:
    """Folder and rows (path, corpus, speaker) of a table, or of a folder of audio files.

    In a folder the speaker of a file is the folder that it lies in, the corpus the whole, and
    ``text`` what :func:`text_beside` finds.

    Raises:
        ValueError: there is no such file or folder, or no speech in it.
    """
    if source.is_dir():
        paths = (p for p in sorted(source.rglob("*")) if p.suffix.lower() in AUDIO_SUFFIXES)
        folder, rows = (
            source,
            [
                {
                    "path": str(path.relative_to(source)),
                    "corpus": source.name,
                    "speaker": str(path.parent.relative_to(source)),
                }
                | ({} if (text := text_beside(path)) is None else {"text": text})
                for path in paths
            ],
        )
    elif source.is_file():
        folder = source.parent
        rows = read_tsv(source)
        if rows and (lacking := {"path", "corpus", "speaker"} - set(rows[0])):
            raise ValueError(f"{source} lacks the column {min(lacking)!r}: path, corpus, speaker")
    else:
        raise ValueError(f"{source} is missing: give a folder of audio files, or a table of them")
    if not rows:
        raise ValueError(
            f"{source} lists no speech: expected tab-separated path, corpus, speaker, or a folder "
            f"of {', '.join(AUDIO_SUFFIXES)} files"
        )
    return folder, rows


def text_beside(path: Path) -> str | None:
    """What is said in the audio file ``path``; None where nothing beside it tells.

    That is the file ``NAME.txt``, or the line that begins with NAME in a ``*.trans.txt``, as
    LibriSpeech has it.
    """
    if (own := path.with_suffix(".txt")).is_file():
        return own.read_text(errors="replace").strip()
    for table in sorted(path.parent.glob("*.trans.txt")):
        for line in table.read_text(errors="replace").splitlines():
            name, _, text = line.partition(" ")
            if name == path.stem:
                return text.strip()
    return None

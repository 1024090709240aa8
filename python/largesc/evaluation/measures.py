# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures of speech quality, each by a package of its own.

All take 24 kHz float signals of one length, the original first. The packages are listed in
``requirements-evaluation.txt``; :func:`missing` says which of them are not there.
"""

import os
import warnings
from functools import cache, lru_cache
from importlib.util import find_spec

import numpy as np

from ..speech.files import resampled
from ..speech.format import SAMPLE_RATE_HZ
from .recogniser import missing as recogniser_lacks
from .words import RECOGNISERS, count_words


def to_16k(samples: np.ndarray) -> np.ndarray:
    """24 kHz to 16 kHz, the rate of ViSQOL's speech mode and of the other measures."""
    return resampled(samples, SAMPLE_RATE_HZ, 16000).astype(np.float64)


@cache
def visqol_api(lattice: bool) -> object:
    """ViSQOL in speech mode with one of its two mappings from similarity to a score."""
    from visqol import VisqolApi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = VisqolApi()
        api.create(mode="speech", use_lattice_model=lattice)
    return api


def visqol(original: np.ndarray, decoded: np.ndarray, lattice: bool = False) -> float:
    """ViSQOL MOS-LQO in speech mode; compares only within one mapping, here the polynomial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        heard = to_16k(original), to_16k(decoded)
        found = visqol_api(lattice).measure_from_arrays(*heard, 16000)
    return float(found.moslqo)


def visqol_lattice(original: np.ndarray, decoded: np.ndarray) -> float:
    """The same with the lattice mapping, the one that Google's program takes by itself."""
    return visqol(original, decoded, lattice=True)


def plcmos(_: np.ndarray, decoded: np.ndarray) -> float:
    """Returns PLCMOS v2, 1 to 5, of the decoded speech alone."""
    from speechmos import plcmos as model

    heard = np.clip(to_16k(decoded), -1.0, 1.0).astype(np.float32)
    # It asks fifteen random raters: the same ones each time.
    state = np.random.get_state()
    np.random.seed(0)
    try:
        return float(model.run(heard, 16000)["plcmos"])
    finally:
        np.random.set_state(state)


def stoi(original: np.ndarray, decoded: np.ndarray) -> float:
    """Short-time objective intelligibility, 0 to 1."""
    from pystoi import stoi as measure

    return float(measure(to_16k(original), to_16k(decoded), 16000))


@cache
def voice_encoder() -> object:
    """Resemblyzer's speaker encoder, on the CPU."""
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def speaker_similarity(original: np.ndarray, decoded: np.ndarray) -> float:
    """Cosine of Resemblyzer's embeddings."""
    encoder = voice_encoder()
    a, b = (encoder.embed_utterance(to_16k(x).astype(np.float32)) for x in (original, decoded))
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def f0_error(original: np.ndarray, decoded: np.ndarray) -> float:
    """RMS of the log of the pitch's error, where both are voiced; NaN where that is under 0.1 s."""
    tracks = [_pitch(x.tobytes()) for x in (original, decoded)]
    count = min(map(len, tracks))
    both = (tracks[0][:count] > 0) & (tracks[1][:count] > 0)
    if both.sum() < 10:
        return float("nan")
    return float(np.sqrt(np.mean(np.log(tracks[1][:count][both] / tracks[0][:count][both]) ** 2)))


@lru_cache(maxsize=8)
def _pitch(samples: bytes) -> np.ndarray:
    """In Hz every 10 ms, 0 where unvoiced."""
    import pyworld

    heard = to_16k(np.frombuffer(samples, dtype=np.float32))
    rough, times = pyworld.dio(heard, 16000, frame_period=10.0)
    return pyworld.stonemask(heard, rough, times, 16000)


# Name, function, package that it needs. Words are counted, see words.py.
MEASURES = {
    "visqol": (visqol, "visqol"),
    "visqol_lattice": (visqol_lattice, "ai_edge_litert"),
    "plcmos": (plcmos, "speechmos"),
    "stoi": (stoi, "pystoi"),
    **{name: (count_words, "faster_whisper") for name in RECOGNISERS},
    "speaker": (speaker_similarity, "resemblyzer"),
    "f0": (f0_error, "pyworld"),
}
# Transcripts are normalised as English.
ENGLISH_MEASURES = tuple(RECOGNISERS)


def missing(names: list[str]) -> list[str]:
    """Of the measures ``names``, those whose package is not installed."""
    return [name for name in names if lacks(name)]


def lacks(name: str) -> bool:
    """Whether something that the measure ``name`` needs is not installed."""
    if name in RECOGNISERS:
        return bool(recogniser_lacks(RECOGNISERS[name]))
    return find_spec(MEASURES[name][1]) is None


def usable(names: list[str]) -> list[str]:
    """Those of ``names`` that are installed; the others are named and left out.

    Raises:
        ValueError: a name is unknown.
    """
    if unknown := [n for n in names if n not in MEASURES]:
        raise ValueError(f"measure {unknown[0]!r} is unknown: use some of {', '.join(MEASURES)}")
    if absent := missing(names):
        print(f"left out, not installed: {', '.join(absent)}: ./bootstrap evaluate installs them")
    return [n for n in names if n not in absent]


def measure(
    names: list[str],
    original: np.ndarray,
    decoded: np.ndarray,
    text: str | None = None,
    recogniser: str = "",
) -> dict[str, float | str]:
    """Values of the measures ``names``, and of words how many they are of.

    Args:
        names: of :data:`MEASURES`.
        original: float32 at 24 kHz, as ``decoded``.
        decoded: speech to judge.
        text: what is said in the original; None: unknown.
        recogniser: that of ``words_given``, see :func:`.recogniser.weights_folder`.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    found = {}
    for name in names:
        if name in RECOGNISERS:
            found |= count_words(name, original, decoded, text, recogniser)
        else:
            found[name] = MEASURES[name][0](original, decoded)
    return found

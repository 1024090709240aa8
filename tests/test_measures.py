# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures: what is identical has the best value, what is worse a worse one, and always the same.

ViSQOL's conformance recordings are not in its package: give their folder in VISQOL_TESTDATA.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from gnuradio.largesc.cli.audio import RECORDINGS
from gnuradio.largesc.evaluation.measures import MEASURES, measure, missing, visqol_api
from gnuradio.largesc.speech.files import read_audio

BEST = {"visqol": 5.0, "visqol_lattice": 4.67, "stoi": 1.0}
BEST |= {"words_tiny": 0.0, "words_base": 0.0, "speaker": 1.0, "f0": 0.0}
RISES = {"visqol": 1, "visqol_lattice": 1, "plcmos": 1, "stoi": 1, "speaker": 1}


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    if not RECORDINGS.exists():
        pytest.skip("the recordings of alsa-utils are not installed")
    found = [read_audio(RECORDINGS / f"{n}.wav") for n in ("Front_Left", "Rear_Right", "Side_Left")]
    return np.concatenate(found)


def installed(name: str) -> str:
    if missing([name]):
        pytest.skip(f"{name}: {MEASURES[name][1]} or its weights are not installed")
    return name


@pytest.mark.parametrize("name", BEST)
def test_identical_speech_has_the_best_value(name, voice):
    assert measure([installed(name)], voice, voice)[name] == pytest.approx(BEST[name], abs=0.05)


@pytest.mark.parametrize("name", RISES)
def test_more_loss_is_worse_and_repeats(name, voice):
    installed(name)
    order = np.random.default_rng(1).permutation(len(voice) // 480)
    values = []
    for loss in (0.0, 0.1, 0.3, 0.6):
        gone = np.zeros(len(voice), dtype=bool)
        for slot in order[: int(loss * len(order))]:
            gone[480 * slot : 480 * (slot + 1)] = True
        damaged = np.where(gone, 0.0, voice).astype(np.float32)
        values.append(RISES[name] * measure([name], voice, damaged)[name])
        assert RISES[name] * measure([name], voice, damaged)[name] == values[-1]
    assert values[0] > values[-1] and np.all(np.diff(values) <= 0.05)


# What Google's program 3.3.3 says of its own recordings, with each mapping.
@pytest.mark.parametrize("lattice, score", [(False, 3.374506), (True, 3.312959)])
def test_visqol_conforms(lattice, score):
    if not (folder := os.environ.get("VISQOL_TESTDATA")):
        pytest.skip("VISQOL_TESTDATA is not set: the folder testdata of github.com/google/visqol")
    installed("visqol")
    pair = [Path(folder) / "clean_speech" / f"{n}CA01_01.wav" for n in ("", "transcoded_")]
    found = visqol_api(lattice).measure(*map(str, pair)).moslqo
    assert found == pytest.approx(score, abs=0.003)

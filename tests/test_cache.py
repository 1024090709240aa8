# SPDX-License-Identifier: GPL-3.0-or-later
"""A run goes on where it was, at whatever byte the one before it was killed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from gnuradio.largesc.control.policies import Channel
from gnuradio.largesc.evaluation.cache import Cache, key_of
from gnuradio.largesc.studies.radio import speech as radio_speech
from gnuradio.largesc.studies.radio.speech import CONTESTANTS, Losses, Point

VALUE = {"system": "ours", "words": 0.25, "lost": [0, 1, 1]}
TEXT = json.dumps(VALUE).encode()


def test_keys_are_those_of_equal_parts():
    assert key_of("a", 1, (0.5,)) == key_of("a", 1, (0.5,)) != key_of("a", 1, (0.6,))
    assert key_of("a/b", 1).isalnum()


@pytest.mark.parametrize("written", range(len(TEXT)))
def test_half_a_file_counts_as_missing(tmp_path, written):
    # As a kill leaves it, and as a power cut does.
    for name in ("one.json.partial", "two.json"):
        (tmp_path / name).write_bytes(TEXT[:written])
    found = Cache(tmp_path)
    assert found.missing(["one", "two", "one"]) == ["one", "two"]
    with pytest.raises(KeyError, match="missing or cannot be read"):
        found["two"]
    for key in ("one", "two"):
        found.add(key, VALUE)
    assert Cache(tmp_path).missing(["one", "two"]) == [] and Cache(tmp_path)["one"] == VALUE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.json", "two.json"]


def test_what_a_killed_writer_leaves_is_whole(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from gnuradio.largesc.evaluation.cache import Cache\n"
        "found = Cache(Path(sys.argv[1]))\n"
        "for n in range(10**9):\n"
        "    found.add(f'k{n}', list(range(2000)))\n"
        "    print(n, flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    for _ in range(20):
        writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    keys = [path.stem for path in tmp_path.glob("*.json")]
    assert len(keys) >= 20 and Cache(tmp_path).missing(keys) == []


def test_study_goes_on_behind_half_a_result(tmp_path, monkeypatch):
    asked = []

    def alone(_: object, points: list[Point]) -> list[Losses]:
        asked.append(len(points))
        return [Losses(np.array([False, True]), p.snr_db, 0.5) for p in points]

    monkeypatch.setattr(radio_speech, "alone", alone)
    points = [
        Point(CONTESTANTS[0], "white noise", float(snr), Channel(0.0), ((25, 25),), seed=1)
        for snr in range(4)
    ]
    first = radio_speech.losses_of(points, Cache(tmp_path))
    file = tmp_path / f"{points[2].key}.json"
    file.write_bytes(file.read_bytes()[:7])
    again = radio_speech.losses_of(points, Cache(tmp_path))
    assert asked == [4, 1]
    assert [found.ebn0_db for found in again] == [found.ebn0_db for found in first] == [0, 1, 2, 3]
    assert all(found.lost.tolist() == [False, True] for found in again)

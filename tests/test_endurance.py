# SPDX-License-Identifier: GPL-3.0-or-later
"""A short run of what runs for an hour, and what its checks would say."""

import csv

import numpy as np
import pytest
import soundfile
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.studies import endurance, restarts
from gnuradio.largesc.studies.probes import FadeTimes, silent_runs
from helpers import PATIENCE_S


@pytest.fixture
def wav(tmp_path, speech) -> str:
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    return str(tmp_path / "in.wav")


@pytest.mark.parametrize("air, minutes", [("packets", 1), ("radio", 1)])
def test_short_run_holds_and_is_written(wav, models, tmp_path, capsys, air, minutes):
    options = ["--speech", wav, "--minutes", str(minutes), "--air", air, "--output", str(tmp_path)]
    small = ["--codec", models, "--model", models, "--concealer", "repeat"]
    # As fast as can be: how many frames are under way is compared over minutes, and this is one.
    command = ["study", "endurance", *options, *small, "--fade-every", "20", "--pace", "1000"]
    assert main(command) == 0, capsys.readouterr().out
    with (tmp_path / f"endurance_{air}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == minutes + 1
    last = rows[-1]
    assert int(last["frames_decoded"]) == 750 * minutes
    # In fades of 2 s in 20, and in between.
    assert 0.1 < int(last["packets_lost"]) / int(last["packets_sent"]) < 0.45
    assert (tmp_path / f"endurance_{air}.png").stat().st_size > 5000


def row(**changes) -> dict:
    good = {
        "resident_mb": 500.0,
        "frames_under_way": 20.0,
        "packets_sent": 100,
        "packets_received": 74,
        "packets_lost": 25,
        "packets_refused": 1,
        "duplicates": 0,
        "late": 0,
        "frames_encoded": 10,
        "samples_out": 19200,
        "invalid_samples": 0,
        "longest_silence_s": 0.1,
    }
    return good | changes


@pytest.mark.parametrize(
    "changes, failing",
    [
        ({}, []),
        ({"resident_mb": 530.0}, ["memory flat"]),
        ({"frames_under_way": 30.0}, ["latency not growing"]),
        ({"packets_lost": 20}, ["packets sent = received + lost + refused"]),
        ({"samples_out": 19199}, ["samples out = in"]),
        ({"invalid_samples": 1}, ["numbers only"]),
        ({"longest_silence_s": 0.7}, ["no long silence"]),
    ],
)
def test_checks_name_what_fails(changes, failing):
    last = row(**changes)
    rows = [row()] * 9 + [last]
    found = endurance.checks(rows, last, np.ones(24000, dtype=np.float32))
    assert [what for what, held, _ in found if not held] == failing


def test_missing_speech_is_named(tmp_path, capsys):
    options = ["--speech", str(tmp_path / "none"), "--output", str(tmp_path)]
    assert main(["study", "endurance", *options]) == 2
    assert "none is missing" in capsys.readouterr().err


def test_silence_is_measured_over_pieces():
    x = np.array([0, 0, 1, 0, 0, 0, 1, 0, np.nan], dtype=np.float32)
    assert silent_runs(x) == (3, 2)
    assert silent_runs(x, before=4) == (6, 2)
    assert silent_runs(np.zeros(5, dtype=np.float32), before=2) == (7, 7)


def test_fades_are_as_long_and_as_many_as_asked():
    fades = FadeTimes(2.0, 10.0, seed=3)
    covered = np.array([fades.covers(n / 100) for n in range(100_00)])
    assert covered.mean() == pytest.approx(0.2, abs=0.01)
    assert np.sum(np.diff(covered.astype(int)) == 1) in (9, 10)
    with pytest.raises(ValueError, match="use shorter ones"):
        FadeTimes(10.0, 10.0, seed=1)


def test_link_goes_on_behind_kills(monkeypatch):
    monkeypatch.setattr(restarts, "PATIENCE_S", PATIENCE_S)
    rows = restarts.run(kills=1, seed=5)
    assert [row["killed"] for row in rows] == ["sender", "receiver"]
    assert all(row["other_ran_on"] for row in rows)
    # On a machine that does other things as well.
    assert all(0.0 < row["resumed_s"] < 2.0 for row in rows)

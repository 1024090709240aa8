# SPDX-License-Identifier: GPL-3.0-or-later
"""Studies: how they are reached, and what the short ones write."""

import argparse
import csv
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.models.packaged import absent
from gnuradio.largesc.studies import STUDIES
from gnuradio.largesc.studies.call_churn import Caller


def table(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_are_listed_with_their_question(capsys):
    assert main(["study"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in STUDIES)
    assert len(listed.splitlines()) == len(STUDIES) + 2
    assert main(["study", "what_is_love"]) == 2
    assert "use one of call_churn, calls, closed_loop" in capsys.readouterr().err


@pytest.mark.parametrize("name", STUDIES)
def test_each_takes_the_common_options(name):
    parser = argparse.ArgumentParser()
    module = import_module(f"gnuradio.largesc.studies.{STUDIES[name]}")
    module.add_options(parser)
    names = {option for action in parser._actions for option in action.option_strings}
    assert {"--output", "--seed"} <= names
    assert f"largesc study {name} " in module.__doc__


def test_output_and_counts_are_checked_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["study", "closed_loop", "--output", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["study", "closed_loop", "--output", str(tmp_path), "--runs", "0"])
    assert "use 1 or more" in capsys.readouterr().err


def test_closed_loop_writes_a_row_a_loop(tmp_path):
    assert main(["study", "closed_loop", "--output", str(tmp_path), "--runs", "2"]) == 0
    rows = table(tmp_path / "closed_loop.csv")
    assert len(rows) == 7 and all(float(row["p_s"]) < 6 for row in rows)
    assert (tmp_path / "closed_loop.png").stat().st_size > 10_000


def test_calls_writes_a_row_a_run(speech, tmp_path):
    path = tmp_path / "speech"
    path.mkdir()
    soundfile.write(path / "a.flac", speech, 24000)
    options = ["--most", "1", "--most-processes", "1", "--seconds", "1", "--kinds", "both"]
    assert main(["study", "calls", "--output", str(tmp_path), "--speech", str(path), *options]) == 0
    one, alone = table(tmp_path / "calls.csv")
    assert (one["way"], alone["way"]) == ("one process", "a process a call")
    assert all(float(row["computing_ms_a_call"]) > 0 for row in (one, alone))
    assert (tmp_path / "calls.png").stat().st_size > 10_000


def test_no_call_of_a_churning_gateway_hears_another(tmp_path):
    options = ["--minutes", "1", "--calls", "2"]
    assert main(["study", "call_churn", "--output", str(tmp_path), *options]) == 0
    (row,) = table(tmp_path / "call_churn.csv")
    assert row["datagrams"] == row["datagrams_counted"] and row["heard_another"] == "0"
    assert int(row["calls_begun"]) >= 2


def test_calls_lose_nothing_to_a_flood(tmp_path):
    options = ["--seconds", "2", "--calls", "2"]
    assert main(["study", "gateway_flood", "--output", str(tmp_path), *options]) == 0
    rows = table(tmp_path / "gateway_flood.csv")
    assert len(rows) == 12 and all(r["calls"] == "2" and r["packets_lost"] == "0" for r in rows)
    assert all(int(row["refused"]) > 1000 for row in rows if row["load"] in ("garbage", "all"))


def test_workers_of_a_gateway_are_counted(tmp_path):
    if absent(["ray"]):
        pytest.skip("ray is not installed: pip install -r requirements-evaluation.txt")
    options = ["--seconds", "2", "--calls", "1,2", "--workers", "2"]
    assert main(["study", "gateway_workers", "--output", str(tmp_path), *options]) == 0
    (row,) = table(tmp_path / "gateway_workers.csv")
    assert (row["workers"], row["calls"], row["ticks"]) == ("2", "2", "25")
    assert float(row["worker_ms_a_call"]) > float(row["first_process_ms_a_call"]) > 0.0


def test_a_call_that_hears_another_is_noticed():
    first, second = (Caller(n, ([], []), np.random.default_rng(n)) for n in range(2))
    for n in range(250):
        # One is heard late, and of the other one the begin was lost.
        first.levels.append(first.keyed(n - 3))
        second.levels.append(first.keyed(n + 10))
    assert first.agreement(first) > 0.9 and first.agreement(second) < 0.5
    assert second.agreement(first) > second.agreement(second)


def test_pictures_of_codec_and_policies(models, speech, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, 24000)
    common = ["--output", str(tmp_path), "--speech"]
    assert main(["study", "codec_pictures", *common, str(path), "--codec", models]) == 0
    assert (tmp_path / "spectrograms.png").stat().st_size > 10_000
    rows = table(tmp_path / "codec_pictures.csv")
    assert [row["coder"] for row in rows] == ["8 tokens", "4 tokens", "2 tokens"]
    assert all(float(row["distance_db"]) > 0 for row in rows)
    assert main(["study", "steps", *common, str(tmp_path), "--policies", "exact"]) == 0
    assert (tmp_path / "steps.png").stat().st_size > 10_000
    rows = table(tmp_path / "steps.csv")
    assert {row["loss"] for row in rows} >= {"0.0", "0.05"}
    kept = [row for row in rows if row["packet_lost"] == "0"]
    assert all(row["tokens_received"] == row["tokens_sent"] for row in kept)

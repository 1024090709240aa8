# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of an evaluation, and the sweep that fills them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gnuradio.largesc.channel.loss_timeline import SLOT_MS, LossChannel, lost_at
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.evaluation import report, sweep
from gnuradio.largesc.evaluation.experiments import (
    EXPERIMENTS,
    Experiment,
    Sources,
    grid,
    share_lost,
)
from gnuradio.largesc.evaluation.plots import LEAST_UTTERANCES
from gnuradio.largesc.evaluation.systems.codec2 import Codec2
from gnuradio.largesc.evaluation.systems.own import OwnSystem
from gnuradio.largesc.evaluation.utterances import spread
from gnuradio.largesc.speech.files import write_audio
from gnuradio.largesc.tables import markdown, mean_half, mean_interval, means, paired, write_csv


def test_losses_in_time_follow_theory():
    for channel in (LossChannel(0.2), LossChannel(0.2, 240.0)):
        shut = channel.draw(20_000.0, seed=3)
        # Of bursts there are fewer independent ones in the same time.
        assert shut.mean() == pytest.approx(0.2, abs=0.015)
        starts = np.count_nonzero(shut[1:] & ~shut[:-1])
        burst_ms = SLOT_MS * shut.sum() / starts
        assert burst_ms == pytest.approx(channel.mean_burst_ms or SLOT_MS / 0.8, rel=0.06)
    assert not LossChannel(0.0).draw(10.0, 1).any()


def test_packets_of_any_length_meet_the_same_channel():
    shut = LossChannel(0.3, 200.0).draw(60.0, seed=1)
    every_20, every_80 = np.arange(1, 2000) * 20.0, np.arange(1, 500) * 80.0
    assert np.array_equal(lost_at(shut, every_20)[3::4], lost_at(shut, every_80))
    # A packet that leaves late still has a state.
    assert lost_at(shut, np.array([1e9])).shape == (1,)


def test_trace_is_told_and_starts_anywhere(tmp_path):
    trace = tmp_path / "t.txt"
    trace.write_text("1\r\n0\r\n0\r\n0\r\n" * 200)
    channel = LossChannel(share_lost(trace), trace=str(trace))
    assert channel.loss == 0.25 and channel.name == "t"
    assert channel.draw(20.0, 1).mean() == pytest.approx(0.25, abs=0.01)
    assert len({tuple(channel.draw(5.0, seed)[:4]) for seed in range(20)}) == 4
    with pytest.raises(ValueError, match="cannot be read"):
        share_lost(tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match="no flags"):
        share_lost(tmp_path / "empty.txt")


def test_means_have_intervals_where_there_are_two_values():
    mean, half = mean_half([1.0, 2.0, 3.0, float("nan")])
    assert mean == pytest.approx(2.0) and 0.3 < half < 1.5
    assert all(np.isnan(mean_half([])))
    mean, half = mean_half([1.5])
    assert mean == 1.5 and np.isnan(half)
    # The published intervals, by hand: the same draws.
    values = np.random.default_rng(4).normal(size=24)
    drawn = np.random.default_rng(0).choice(values, (1000, 24)).mean(axis=1)
    by_hand = values.mean(), *np.quantile(drawn, [0.025, 0.975])
    assert mean_interval(values.tolist()) == pytest.approx(by_hand, abs=1e-12)


def test_means_become_markdown():
    rows = [{"system": "a", "visqol": v} for v in (2.0, 4.0)] + [{"system": "b"}]
    lines = markdown(means(rows, ["system"], ["visqol"])).splitlines()
    assert lines[0] == "| system | utterances | visqol |" and lines[1] == "|---|---|---|"
    assert "0.50 ±" in means([{"s": 1, "v": 0.0}, {"s": 1, "v": 1.0}], ["s"], ["v"])[1][2]
    assert lines[2].startswith("| a | 2 | 3.00 ±") and lines[3] == "| b | 1 | – |"


def test_pairs_see_through_the_spread_of_utterances():
    rows = [
        {"system": s, "channel": "none", "loss": "0.0", "utterance": u, "stoi": base + more}
        for s, more in (("a", 0.0), ("b", 0.1))
        for u, base in (("x", 0.2), ("y", 0.9))
    ]
    mean, low, high = paired(rows, "a", "stoi")["b", "none", "0.0"]
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_utterances_are_spread_over_speakers():
    rows = [
        {"speaker": s, "path": f"{s}{n}"} for s, count in (("a", 3), ("b", 1)) for n in range(count)
    ]
    assert [r["path"] for r in spread(rows, 3)] == ["a0", "b0", "a1"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_settings_have_unique_names_and_their_reference(name):
    setting = EXPERIMENTS[name](Sources(more_lms=(("other", "embedded"),)))
    names = [system.name for system in setting.all_systems]
    assert len(names) == len(set(names)) and setting.reference in names
    assert len({(c.name, c.loss) for c in setting.channels}) == len(setting.channels)
    keys = [c.key() for c in sweep.cells_of(setting, [{"path": "x", "corpus": "c"}], 1)]
    lossy = sum(setting.drawings if channel.loss else 1 for channel in setting.channels)
    assert len(keys) == len(set(keys)) == len(setting.systems) * lossy + len(setting.lossless)


@pytest.fixture
def small(models, speech, tmp_path) -> tuple[Experiment, list[dict]]:
    """Two systems, two channels, two utterances."""
    files = []
    for number, samples in enumerate((speech, speech[::-1].copy())):
        path = tmp_path / f"{number}.flac"
        write_audio(path, samples)
        files.append({"path": path.name, "corpus": "c", "file": str(path)})
    own = OwnSystem("ours", lm=models, codec=models, controller=models, concealer="repeat")
    systems = (own, Codec2("1200"))
    return Experiment(systems, grid([0.0, 0.3], [240.0]), ("stoi",), 2, "ours"), files


def test_sweep_repeats_itself_and_computes_nothing_twice(small, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="requirements-evaluation.txt is not installed")
    setting, files = small
    sweep.run(setting, files, tmp_path / "a", seed=5)
    # A worker dies: its cell is missing, and only that is made again.
    cells = sweep.cells_of(setting, files, 5)
    first = (tmp_path / "a" / "results.csv").read_text()
    assert len(first.splitlines()) == 1 + len(cells)
    lost = tmp_path / "a" / "cells" / f"{cells[3].key()}.json"
    lost.unlink()
    asked = []
    compute = sweep._compute
    monkeypatch.setattr(sweep, "_compute", lambda g, *rest: (asked.append(g), compute(g, *rest)))
    sweep.run(setting, files, tmp_path / "a", seed=5, processes=1)
    assert [len(group) for group in asked[0].values()] == [1]
    assert (tmp_path / "a" / "results.csv").read_text() == first
    monkeypatch.setattr(sweep, "_compute", lambda *_: pytest.fail("computed again"))
    sweep.run(setting, files, tmp_path / "a", seed=5)
    rows = [json.loads(p.read_text()) for p in (tmp_path / "a" / "cells").glob("*.json")]
    lossy = [r for r in rows if r["loss"] and r["system"] == "ours"]
    assert all(r["packets_lost"] > 0 and r["radio_bps"] <= 1500 for r in lossy)

    text = report.write_report(tmp_path / "a", "ours", {}).read_text()
    # Two originals; two utterances, systems and channels each.
    assert text.count("data:audio/flac") == 2 + 2 * 2 * 2 and "bursts of 240 ms, 30 %" in text
    # The seed draws the losses.
    again = sweep.cells_of(setting, files, 6)
    assert not {c.key() for c in again} & {c.key() for c in cells}


def written(folder: Path, utterances: int) -> Path:
    """CSVs of two systems with made-up values, and a sound."""
    rows, times = [], []
    for n in range(utterances):
        for system, more in (("ours", 0.0), ("a < b", 0.1)):
            for channel, loss in (("none", 0.0), ("uniform", 0.2)):
                named = {"system": system, "channel": channel, "loss": loss, "utterance": f"u{n}"}
                facts = {"radio_bps": 1500, "framing_ms": 80.0, "waiting_ms": 80.0}
                score = {"visqol": 3.0 + 0.01 * n + more, "stoi": 0.8 + 0.001 * n}
                rows.append(named | facts | score)
                times.append(named | {"compute_share": 0.1, "compute_ms_p95": 9.0})
    write_csv(rows, folder / "results.csv")
    write_csv(times, folder / "times.csv")
    (folder / "audio").mkdir()
    for name in ("1_original", "1_ours_none_0"):
        write_audio(folder / "audio" / f"{name}.flac", np.zeros(2400))
    return folder


def test_report_has_tables_pictures_and_players(tmp_path):
    absent = {"Other": "its <models>", "ours": "nothing"}
    text = report.write_report(written(tmp_path, 24), "ours", absent).read_text()
    assert "Other: needs its &lt;models&gt;" in text and "ours: needs" not in text
    assert text.count("data:image/png") == len(report.PICTURES)
    assert text.count("data:audio/flac") == 2 and "<td>a &lt; b</td>" in text
    assert "<th>uniform, 20 %</th>" in text and "<td>+0.10 (+0.10 … +0.10)</td>" in text
    lines = (tmp_path / "tables.md").read_text().splitlines()
    assert lines[0] == "| visqol | radio bit/s | no loss | uniform, 20 % |"
    assert lines[1] == "|---|---|---|---|" and lines[2].startswith("| ours | 1500 | 3.1")


def test_few_utterances_have_no_intervals_and_no_verdict(tmp_path):
    folder = written(tmp_path, 2)
    (folder / "differences.png").write_bytes(b"of an earlier run")
    text = report.write_report(folder, "ours", {}).read_text()
    tables = (folder / "tables.md").read_text()
    for said in (text, tables):
        assert "2 utterances are too few" in said
        assert "±" not in said and "…" not in said and "less “" not in said
    assert text.count("data:image/png") == len(report.PICTURES) - 1
    assert not (folder / "differences.png").exists()
    assert "| ours | 1500 | 3.00 | 3.00 |" in tables


def test_quick_setting_claims_nothing():
    assert EXPERIMENTS["quick"](Sources()).utterances < LEAST_UTTERANCES
    assert EXPERIMENTS["sweep"](Sources()).utterances >= LEAST_UTTERANCES


def test_absent_cluster_is_named(small, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="requirements-evaluation.txt is not installed")

    def refuse(**_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ValueError, match="no Ray cluster answers at nowhere:1"):
        sweep.run(*small, tmp_path / "a", address="nowhere:1")
    # Somebody is there, who lets nobody in.
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        at = f"127.0.0.1:{stranger.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"no Ray cluster lets us in at {at}"):
            sweep.run(*small, tmp_path / "b", address=at)


def test_interruption_is_one_line_and_keeps_what_is_finished(small, tmp_path):
    pytest.importorskip("ray", reason="requirements-evaluation.txt is not installed")
    _, files = small
    output = tmp_path / "r"
    speech = Path(files[0]["file"]).parent
    command = [sys.executable, "-m", "gnuradio.largesc.cli", "evaluate", "--quick"]
    command += ["--speech", str(speech), "--systems", "Codec 2 1200;Opus 6 kbit/s, 60 ms"]
    done = subprocess.Popen(
        [*command, "--output", str(output)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while done.poll() is None and not list(output.glob("cells/*.json")):
        time.sleep(0.1)
    # As a terminal does: to all processes of the group.
    os.killpg(done.pid, signal.SIGINT)
    said = done.communicate(timeout=300)[1]
    assert done.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("largesc: interrupted: what is finished is kept in")
    assert list(output.glob("cells/*.json")) and not (output / "results.csv").exists()


def test_command_line_names_what_is_wrong(tmp_path, capsys):
    common = ["evaluate", "--output", str(tmp_path)]
    for more, said in (
        (["--report-only"], "no results.csv"),
        (["--systems", "magic"], "'magic' is not in this setting"),
        (["--more-lm", "x"], "use NAME=SOURCE"),
        (["--traces", str(tmp_path)], "no *.txt"),
        (["--speech", str(tmp_path / "absent"), "--systems", "ours"], "is missing"),
    ):
        assert main([*common, *more]) == 2
        assert said in capsys.readouterr().err

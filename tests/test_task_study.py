# SPDX-License-Identifier: GPL-3.0-or-later
"""What the study `task` counts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gnuradio.largesc.channel.symbols import SymbolChannel
from gnuradio.largesc.evaluation.task_link import Heard, as_detected, over_link, sent_by_number
from gnuradio.largesc.studies import task, task_events, task_teacher
from gnuradio.largesc.tasks.model import load_task

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


@pytest.fixture(scope="module")
def heard() -> Heard:
    speech = [0.1 * np.random.default_rng(n).standard_normal(9000) for n in range(8)]
    return Heard([s.astype(np.float32) for s in speech], np.arange(8) % 3, ["some"] * 8)


def test_a_decided_label_arrives_as_theory_has_it():
    label = torch.arange(22).repeat(100)
    right = sent_by_number(label, 22, SymbolChannel("awgn", 0.0, 1), 32) == label.numpy()
    assert right.mean() > 0.999
    # Orthogonal words at 3.2 of energy over noise: between the union bound and a guess.
    weak = sent_by_number(label, 22, SymbolChannel("awgn", -10.0, 1), 32) == label.numpy()
    bound = 1.0 - 21 * 0.5 * np.exp(-3.2 / 2)
    assert max(bound, 1 / 22) < weak.mean() < 0.9
    faded = sent_by_number(label, 22, SymbolChannel("rayleigh", 0.0, 1), 32) == label.numpy()
    assert weak.mean() < faded.mean() < right.mean()


def test_loudest_utterance_is_what_counts():
    t = np.arange(24000) / 24000
    hum = 0.3 * np.sin(2 * np.pi * 200 * t) * ((t > 0.3) & (t < 0.8))
    cut, nothing = as_detected([hum.astype(np.float32), np.zeros(24000, np.float32)])
    assert 0.5 < len(cut) / 24000 < 0.8 and not len(nothing)


def test_snr_runs_up_and_down():
    at = np.array([0.0, 1.0, 3.0, 4.0, 6.0])
    assert task_events.running_snr(at).tolist() == [-15.0, -5.0, 15.0, 5.0, -15.0]
    steps = np.diff(task_events.running_snr(np.arange(0.0, 30.0, 0.01)))
    assert np.abs(steps).max() == pytest.approx(0.1)


def test_senders_are_compared_on_the_same_channel(models, heard):
    model = load_task(models)
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    rows = task_events.following(model, logits, heard, 1)
    assert len(rows) == 2 * 2 * 3 and all(0.0 <= r["right"] <= 1.0 for r in rows)
    exact = over_link(model, logits, SymbolChannel("awgn", 5.0, 1), 32)
    again = over_link(model, logits, SymbolChannel("awgn", 5.0, 1), 32, 5.0)
    assert torch.equal(exact, again)


def test_false_commands_are_counted(models, monkeypatch):
    monkeypatch.setattr(task_events, "NOISE_S", 4)
    monkeypatch.setattr(task_events, "PIECE_S", 2)
    monkeypatch.setattr(task_events.TaskOptions, "symbols", 32)
    rows = task_events.false_commands(load_task(models), None, 1)
    assert [r["what"] for r in rows[-1:]] == ["noise on the air, ssb"]
    assert all(r["seconds"] == 4 for r in rows) and len(rows) == 2 * 4 + 1
    assert sum(r["detected"] for r in rows if "white" in r["what"]) == 0


def test_packets_are_lost_as_the_modem_loses_them():
    curve = task_teacher.lost_at(RESULTS / "radio_per.csv")
    rng = np.random.default_rng(0)
    shares = [task_teacher.packet_loss("awgn", db, curve, rng) for db in (-5.0, 2.5, 20.0)]
    assert shares[0] == 1.0 and 0.0 < shares[1] < 1.0 and shares[2] == 0.0
    faded = np.mean([task_teacher.packet_loss("rayleigh", 10.0, curve, rng) for _ in range(500)])
    assert 0.05 < faded < 0.4


def test_rows_to_judge_are_those_kept_apart(tmp_path):
    table = tmp_path / "table.tsv"
    lines = [
        "path\tlabel\tcorpus\tsplit",
        "a\ton\tx\ttrain",
        "b\ton\tx\teval",
        "c\tz\tbarista\teval",
    ]
    table.write_text("\n".join(lines) + "\n")
    assert [r["path"] for r in task.rows_to_judge(table)] == ["b"]
    table.write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(ValueError, match="no rows of the split eval"):
        task.rows_to_judge(table)

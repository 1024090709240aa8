# SPDX-License-Identifier: GPL-3.0-or-later
"""What the study `task` counts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gnuradio.largesc.channel.symbols import SymbolChannel
from gnuradio.largesc.evaluation.task_link import Heard, as_detected, over_link, sent_by_number
from gnuradio.largesc.studies import study, task, task_events, task_teacher
from gnuradio.largesc.tasks.model import load_task
from scipy.integrate import quad
from scipy.stats import norm

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


@pytest.fixture(scope="module")
def heard() -> Heard:
    speech = [0.1 * np.random.default_rng(n).standard_normal(9000) for n in range(8)]
    return Heard([s.astype(np.float32) for s in speech], np.arange(8) % 3)


def right_in_theory(classes: int, symbols: int, snr_db: float) -> float:
    """Share that is right of equally likely words (Proakis, Digital Communications, 4.4)."""
    at = np.sqrt(2.0 * symbols * 10.0 ** (snr_db / 10.0))
    if classes <= 2 * symbols:
        # Orthogonal: the right one is greater than all others.
        return quad(lambda x: norm.pdf(x - at) * norm.cdf(x) ** (classes - 1), -10, at + 10)[0]
    # Biorthogonal and full: greater than the amounts of all others.
    pairs = classes // 2 - 1
    return quad(lambda x: norm.pdf(x - at) * (2 * norm.cdf(x) - 1) ** pairs, 0, at + 10)[0]


@pytest.mark.parametrize(
    ("classes", "symbols", "snr_db"),
    [(22, 32, -15.0), (22, 32, -10.0), (22, 32, -5.0), (22, 128, -15.0), (32, 8, 0.0)],
)
def test_a_decided_label_arrives_as_theory_has_it(classes, symbols, snr_db):
    label = torch.arange(classes).repeat(20_000 // classes)
    channel = SymbolChannel("awgn", snr_db, 1)
    right = (sent_by_number(label, classes, channel, symbols) == label.numpy()).mean()
    expected = right_in_theory(classes, symbols, snr_db)
    deviation = np.sqrt(expected * (1.0 - expected) / len(label))
    assert abs(right - expected) < 4.0 * deviation
    # Errors lie below the union bound of pairs, and near it where they are few.
    energy = symbols * 10.0 ** (snr_db / 10.0)
    bound = (classes - 1) * norm.sf(np.sqrt(energy))
    assert 1.0 - right < bound + 4.0 * deviation
    if bound < 0.05:
        assert 1.0 - right > 0.7 * bound


def test_a_decided_label_fades_with_the_channel():
    label = torch.arange(22).repeat(200)
    weak, faded, good = (
        (sent_by_number(label, 22, SymbolChannel(kind, snr_db, 1), 32) == label.numpy()).mean()
        for kind, snr_db in (("awgn", -10.0), ("rayleigh", 0.0), ("awgn", 0.0))
    )
    assert weak < faded < good and good > 0.999


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


def test_senders_are_compared_on_the_same_channel(models, heard, monkeypatch):
    model = load_task(models)
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    rows = task_events.following(model, logits, heard, 1)
    assert len(rows) == 2 * 2 * 3 and all(0.0 <= r["right"] <= 1.0 for r in rows)
    # Where the sender knows the SNR, the same as over a link that has it.
    at_s = np.random.default_rng(1).uniform(0.0, 60.0, 8)
    calls = []

    def noted(model, logits, channel, symbols, believed_db):
        calls.append((channel.snr_db, believed_db))
        return over_link(model, logits, channel, symbols, believed_db)

    monkeypatch.setattr(task_events, "over_link", noted)
    task_events.following(model, logits, heard, 1)
    calls = np.array(calls).reshape(4, 3, 8, 2)
    now, late = task_events.running_snr(at_s), task_events.running_snr(at_s - 0.5)
    assert np.allclose(calls[..., 0], now)
    assert np.allclose(calls[:, 0, :, 1], now) and np.allclose(calls[:, 1, :, 1], late)
    assert not calls[:, 2, :, 1].any() and not np.allclose(now, late)
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


def test_a_higher_confidence_understands_less(models, heard, monkeypatch):
    monkeypatch.setattr(task_events.TaskOptions, "symbols", 32)
    # Labels 0 and 1 are commands; one of these is not found, one is taken for the other.
    likely = torch.tensor([[4.0, 0.0, 0, 0], [0, 9.0, 0, 0], [0, 0, 9.0, 0], [9.0, 0, 0, 0]])
    some = Heard(heard.speech[:5], np.array([0, 1, 1, 0, 2]))
    cut = [*heard.speech[:3], np.zeros(0, np.float32), heard.speech[4]]

    def logits(model: object, speech: list) -> torch.Tensor:
        assert len(speech) == 4
        return likely

    monkeypatch.setattr(task_events, "logits_of", logits)
    monkeypatch.setattr(task_events, "over_link", lambda model, logits, channel, symbols: logits)
    rows = task_events.thresholds(load_task(models), some, cut, 1)
    found = {row["confidence"]: (row["commands"], row["right"], row["wrong"]) for row in rows}
    assert found[0.5] == (4, 0.5, 0.0) and found[0.95] == (4, 0.25, 0.0)
    some.label[1] = 0
    rows = task_events.thresholds(load_task(models), some, cut, 1)
    assert (rows[0]["right"], rows[0]["wrong"]) == (0.25, 0.25)


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--commands", "nowhere.tsv"], "nowhere.tsv is missing"),
        (["--models", "nowhere"], "--models nowhere is no folder"),
        (["--talk", "nowhere"], "nowhere is missing"),
        (["--radio-per", "nowhere.csv"], "nowhere.csv has no rows of the profile ssb"),
        (["--work", "nowhere"], "run `largesc train task-teacher` first"),
        (["--clips", "0"], "--clips 0 is out of range"),
        (["--output", "table.tsv"], "table.tsv"),
    ],
)
def test_options_are_looked_at_before_the_work(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.tsv").write_text("path\tlabel\tcorpus\tsplit\nb\ton\tx\teval\n")

    def computes(*_: object) -> None:
        raise AssertionError("this is work")

    for name in ("heard_of", "logits_of", "model_rows"):
        monkeypatch.setattr(task, name, computes)
    given = dict(zip(["--commands", "--output"], ["table.tsv", "out"], strict=True))
    given |= dict([options])
    with pytest.raises(ValueError, match=said):
        study.run("task", [part for pair in given.items() for part in pair])

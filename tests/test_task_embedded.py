# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped model of spoken commands: size, time, and the recordings of Debian's asterisk."""

import json
from pathlib import Path

import numpy as np
import pytest
from gnuradio.largesc.cli import task as cli
from gnuradio.largesc.cli import task_demo
from gnuradio.largesc.models.store import EMBEDDED
from gnuradio.largesc.tables import read_csv
from gnuradio.largesc.tasks.commands import Command, CommandDecider, CommandEncoder
from gnuradio.largesc.tasks.model import load_task


def test_it_is_small_and_knows_its_words():
    assert (EMBEDDED / "task.safetensors").stat().st_size <= 4 * 2**20
    model = load_task()
    assert model.config.labels[:3] == ("zero", "one", "two") and len(model.config.labels) == 22
    assert model.config.codec.symbols == (32, 128, 512)
    listed = json.loads((EMBEDDED / "sha256.json").read_text())
    assert "task.safetensors" in listed
    assert "task.safetensors" in (EMBEDDED / "README.md").read_text()


def test_noise_is_no_command():
    model, rng = load_task(), np.random.default_rng(3)
    decider = CommandDecider(model)
    for symbols in model.config.codec.symbols:
        for snr_db in (-30.0, -20.0, -10.0, 0.0, 10.0):
            noise = rng.standard_normal((20, 2, symbols)) * np.sqrt(0.5 * 10 ** (-snr_db / 10))
            found = [decider.decide(n[0] + 1j * n[1], snr_db).understood for n in noise]
            assert sum(found) <= 1, (symbols, snr_db)
    assert not CommandEncoder(model).push(0.01 * rng.standard_normal(240_000))


def certain(label: int) -> Command:
    logits = np.full(22, -9.0, np.float32)
    logits[label] = 9.0
    return Command(0, logits, 0, np.zeros(0, np.float32))


def test_louder_than_told_is_no_command_and_good_bursts_stay():
    model, rng = load_task(), np.random.default_rng(4)
    encoder, decider = CommandEncoder(model), CommandDecider(model)
    for symbols in model.config.codec.symbols:
        for snr_db in (-5.0, 10.0):
            bursts = [encoder.burst(certain(n % 20), snr_db, symbols) for n in range(40)]
            noise = rng.standard_normal((2, 40, symbols)) * np.sqrt(0.5 * 10 ** (-snr_db / 10))
            heard = bursts + noise[0] + 1j * noise[1]
            found = [decider.decide(y, snr_db) for y in heard]
            # 32 symbols at -5 dB are mostly not sure enough.
            least = 38 if symbols > 32 or snr_db > 0 else 20
            assert sum(d.understood for d in found) >= least, (symbols, snr_db)
            # As strong as three of them, and of another command.
            other = np.roll(heard, 1, axis=0) * np.sqrt(3.0 if snr_db > 0 else 10.0)
            assert not any(decider.decide(y, snr_db).understood for y in heard + other)


def test_ten_recorded_commands_are_spoken(tmp_path, capsys):
    if not (task_demo.RECORDINGS / "0.wav").exists():
        pytest.skip("apt-get install asterisk-core-sounds-en-wav")
    assert cli.task(["demo", "--output", str(tmp_path)]) == 0
    rows = read_csv(tmp_path / "task.csv")
    right = [r for r in rows if r["understood"] == "True" and r["label"] == r["said"]]
    wrong = [r for r in rows if r["understood"] == "True" and r["label"] != r["said"]]
    # One voice, which nobody has trained on.
    assert [r["said"] for r in rows] == list(task_demo.SPOKEN)
    assert len(right) >= 6 and len(wrong) <= 2
    assert (tmp_path / "task.png").stat().st_size > 10_000
    assert "understood" in capsys.readouterr().out


def test_recording_of_the_example_is_understood():
    import gnuradio.largesc
    from gnuradio.largesc.speech.files import read_audio

    path = Path(gnuradio.largesc.__file__).parent / "tasks" / "commands.ogg"
    encoder = CommandEncoder(load_task())
    commands = [*encoder.push(read_audio(path)), *encoder.flush()]
    found = [encoder.model.config.labels[int(c.logits.argmax())] for c in commands]
    words = list(encoder.model.config.labels[:20])
    assert len(found) == 20 and sum(a == b for a, b in zip(found, words, strict=True)) >= 16


def test_demo_without_recordings_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(task_demo, "RECORDINGS", Path("/nowhere"))
    with pytest.raises(
        ValueError, match="apt-get install asterisk-core-sounds-en asterisk-core-sounds-en-wav"
    ):
        cli.task(["demo", "--output", str(tmp_path)])

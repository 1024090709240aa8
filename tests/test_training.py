# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes on a tiny model and a few seconds of made-up speech."""

import csv
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from commands import Command, main_of, set_environment
from gnuradio.largesc.models.store import write_sha256
from gnuradio.largesc.training.augmentation import add_variants, varied
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.recipes import card
from gnuradio.largesc.training.recipes import codec as recipe
from gnuradio.largesc.training.run import Run, read_checkpoint
from gnuradio.largesc.training.speech import open_samples, prepare
from gnuradio.largesc.training.world import continuous

pytestmark = pytest.mark.usefixtures("minutes_of_steps")

TINY = {
    "seed": 1,
    "model": {
        "kind": "source_filter",
        "delay_samples": 480,
        "encoder": {
            "dimension": 8,
            "channels": 8,
            "n_mels": 16,
            "hop": 480,
            "window": 720,
            "blocks": [1, 1],
            "lags": 16,
        },
        "decoder": {"dimension": 8, "channels": 8, "bands": 80, "blocks": [1, 1, 1]},
        "quantizer": {"dimension": 8, "n_q": 8, "bins": 16},
    },
    "stages": {
        "linear": {"crops": 32, "frames": 20},
        "autoencoder": {"minutes": 0.05, "batch": 2, "frames": 20, "rate": 1e-3, "listen": 0.0},
        "codebooks": {"frames": 200},
        "decoder": {"minutes": 0.05, "batch": 2, "frames": 20, "rate": 1e-3, "listen": 1.0},
        "adversarial": {"minutes": 0.05, "batch": 2, "frames": 8, "rate": 1e-3},
    },
    "teacher": None,
    "licences": {"made-up": "none"},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Six speakers with two utterances of 3 s each."""
    folder = tmp_path_factory.mktemp("speech")
    rng, lines = np.random.default_rng(0), ["path\tcorpus\tspeaker"]
    for speaker in range(6):
        for number in range(2):
            t = np.arange(3 * 24000) / 24000
            hertz = 100 + 20 * speaker
            wave = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 9))
            wave = 0.1 * wave * (np.sin(2 * np.pi * 2 * t) > -0.5) + 0.001 * rng.standard_normal(
                len(t)
            )
            name = f"{speaker}_{number}.wav"
            soundfile.write(folder / name, wave, 24000)
            lines.append(f"{name}\tmade-up\ts{speaker}")
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    return folder / "train.tsv"


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def arguments(table: Path, config: Path, work: Path, *more: str) -> list[str]:
    return ["--config", str(config), "--speech", str(table), "--work", str(work), *more]


def test_all_stages_then_export(table, config, tmp_path):
    recipe.main(arguments(table, config, tmp_path, "--threads", "1"))
    for stage in recipe.STAGES:
        assert (tmp_path / f"{stage}.pt").exists()
    assert list((tmp_path / "tensorboard").rglob("events*"))
    from gnuradio.largesc.codec.load import load_codec
    from gnuradio.largesc.training.recipes.export import export_codec

    facts = export_codec(tmp_path, tmp_path / "model", "adversarial")
    assert facts["steps"] > 0
    model = load_codec(str(tmp_path / "model")).model
    assert model.encode(torch.zeros(1, 1, 3840)).shape == (1, 8, 2)
    work, folder = str(tmp_path), str(tmp_path / "model")
    fitted = {"model": "base", "minutes": {"made-up": 2.5, "asterisk-core-sounds-ru": 1.5}}
    (tmp_path / "model" / "channel_code.json").write_text(json.dumps(fitted))
    (tmp_path / "model" / "channel_code.safetensors").write_bytes(b"weights")
    write_sha256(tmp_path / "model")
    options = ["--config", str(config), "--work", work, "--model", folder, "--machine", "two cores"]
    card.main(options)
    text = (tmp_path / "model" / "README.md").read_text()
    assert "| made-up | none |" in text and "two cores" in text
    assert "features of Whisper base" in text and "| made-up | none | 2.5 |" in text
    assert "| asterisk-core-sounds-ru | CC BY 3.0 | 1.5 |" in text
    assert json.loads((tmp_path / "model" / "sha256.json").read_text())["codec.safetensors"] in text
    with (tmp_path / "learning_curves.csv").open() as file:
        assert "linear" in {row["stage"] for row in csv.DictReader(file)}
    # A finished stage is skipped.
    before = read_checkpoint(tmp_path / "autoencoder.pt")
    recipe.main(arguments(table, config, tmp_path, "--stage", "autoencoder"))
    after = read_checkpoint(tmp_path / "autoencoder.pt")
    assert (after["step"], after["seconds"]) == (before["step"], before["seconds"])


def test_variants_are_the_same_each_time(table, tmp_path):
    utterances = prepare(table, tmp_path)
    pcm = [varied(tmp_path, utterances, n) for n in range(len(utterances))]
    assert np.array_equal(pcm[0], varied(tmp_path, utterances, 0))
    lengths = {len(p) for p in pcm}
    assert len(lengths) > 3 and 0.85 * 72_000 < min(lengths) and max(lengths) < 1.16 * 72_000
    for p in pcm:
        assert 28_000 < np.abs(p.astype(int)).max() <= 29_000
    variants = add_variants(utterances, tmp_path, processes=1)
    assert variants == add_variants(utterances, tmp_path)
    samples = open_samples(tmp_path)
    last = variants[-1]
    assert np.array_equal(samples[last.start : last.start + last.samples], pcm[-1])
    # What was there before is still found.
    assert prepare(table, tmp_path) == utterances


def test_killed_run_resumes(table, config, tmp_path):
    recipe.main(arguments(table, config, tmp_path, "--stage", "linear"))
    options = arguments(table, config, tmp_path, "--stage", "autoencoder", "--minutes", "5")
    main = partial(main_of, "gnuradio.largesc.training.recipes.codec")
    prepare = partial(set_environment, LARGESC_SAVE_EVERY_S="1")
    training = Command(tmp_path, *options, prepare=prepare, main=main)
    path = tmp_path / "autoencoder.pt"
    training.writes(path)
    training.process.kill()
    training.process.join()
    before = torch.load(path, weights_only=False)
    assert before["step"] > 0
    minutes = str(before["seconds"] / 60 + 0.03)
    more = ["--stage", "autoencoder", "--minutes", minutes]
    recipe.main(arguments(table, config, tmp_path, *more))
    after = torch.load(path, weights_only=False)
    assert after["step"] > before["step"] and after["seconds"] > before["seconds"]


def test_two_processes_train_together(table, config, tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    command += ["-m", "gnuradio.largesc.training.recipes.codec"]
    more = ["--minutes", "0.01", "--threads", "1"]
    more = arguments(table, config, tmp_path, *more)
    done = subprocess.run([*command, *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for stage in recipe.STAGES:
        assert (tmp_path / f"{stage}.pt").exists()


def test_teacher_shapes_the_latent(tmp_path):
    from gnuradio.largesc.training.teacher import Teacher
    from transformers import HubertConfig, HubertModel

    facts = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    facts |= {"intermediate_size": 16, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16}
    facts |= {"num_conv_pos_embedding_groups": 2}
    HubertModel(HubertConfig(**facts)).save_pretrained(tmp_path)
    teacher = Teacher(tmp_path, 8)
    latent = torch.randn(2, 8, 10, requires_grad=True)
    loss = teacher(latent, 0.1 * torch.randn(2, 19200))
    loss.backward()
    assert 0 < loss.item() < 2 and latent.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="no model folder"):
        Teacher(tmp_path / "nothing", 8)


def test_bad_input_is_named(table, config, tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.yaml is missing"):
        read_config(tmp_path / "nothing.yaml", ("seed",))
    (tmp_path / "other.yaml").write_text("speed: 3\n")
    with pytest.raises(ValueError, match="speed"):
        read_config(tmp_path / "other.yaml", ("seed",))
    with pytest.raises(ValueError, match="run the stage 'linear' first"):
        recipe.main(arguments(table, config, tmp_path, "--stage", "autoencoder"))
    run = Run(tmp_path / "x.pt", {"a": 1}, 1.0)
    run.save()
    with pytest.raises(ValueError, match="another config"):
        Run(tmp_path / "x.pt", {"a": 2}, 1.0)
    empty = tmp_path / "empty.tsv"
    empty.write_text("path\tcorpus\tspeaker\n")
    with pytest.raises(ValueError, match="lists no speech"):
        recipe.main(arguments(empty, config, tmp_path / "w"))
    with pytest.raises(ValueError, match="nowhere is missing"):
        recipe.main(arguments(tmp_path / "nowhere", config, tmp_path / "w"))
    empty.write_text("path\tcorpus\nx.wav\ta\n")
    with pytest.raises(ValueError, match="lacks the column 'speaker'"):
        recipe.main(arguments(empty, config, tmp_path / "w"))


def test_folder_of_speech_with_bad_files(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "speech"
    for number, rate in enumerate((8000, 16000, 48000)):
        (folder / f"s{number}").mkdir(parents=True)
        soundfile.write(folder / f"s{number}" / "a.wav", 0.1 * rng.standard_normal(rate), rate)
    soundfile.write(folder / "s0" / "silence.flac", np.zeros(8000), 8000)
    (folder / "s0" / "broken.wav").write_bytes(b"no audio at all")
    found = prepare(folder, tmp_path / "cache")
    assert [(u.speaker, u.samples) for u in found] == [(f"s{n}", 24000) for n in range(3)]
    assert "1 unreadable, 1 silent" in capsys.readouterr().out
    for path in folder.rglob("a.wav"):
        path.unlink()
    with pytest.raises(ValueError, match="1 unreadable, 1 silent"):
        prepare(folder, tmp_path / "other")


def test_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    run = Run(tmp_path / "x.pt", {"a": 1}, 1.0)
    run.step = 7
    run.save()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    run.step = 8
    with pytest.raises(OSError, match="No space"):
        run.save()
    monkeypatch.undo()
    assert Run(tmp_path / "x.pt", {"a": 1}, 1.0).step == 7


def test_pitch_gaps_are_bridged():
    log_pitch, voiced = continuous(np.array([[0, 120, 0, 0, 240, 0], [0] * 6], dtype=np.float32))
    assert np.allclose(log_pitch[0], [0, 0, 1 / 3, 2 / 3, 1, 1], atol=1e-6)
    assert np.all(log_pitch[1] == 0) and voiced.sum() == 2


def test_regression_finds_the_linear_part():
    from gnuradio.largesc.codec.build import build_codec
    from gnuradio.largesc.training.linear import FREE, fit_linear

    torch.manual_seed(0)
    model = build_codec(TINY["model"])
    # What WORLD would find depends linearly on what the front ends find.
    batches = []
    mix = 0.02 * torch.randn(4 * (2 * 16 + 16), 8 * 80)
    for _ in range(12):
        speech = 0.1 * torch.randn(4, 20 * 1920) * torch.rand(4, 1)
        with torch.no_grad():
            features = model.encoder.within_frames(model.encoder.features(speech[:, None]))
        envelope = (features @ mix).reshape(4, 160, 80).roll(-1, dims=1)
        flat = torch.zeros(4, 160)
        batches.append((speech, (flat, flat, envelope, torch.full_like(envelope, 0.5))))
    left = fit_linear(model, batches)
    assert 0.0 <= left < 0.7
    assert not model.encoder.linear.weight[-FREE:].any()
    speech, (_, _, envelope, _) = batches[0]
    with torch.no_grad():
        _, pulses, noise = model.decoder.parameters_of(model.encoder(speech[:, None]))
    power = torch.exp(2 * pulses[:, 9:]) + torch.exp(2 * noise[:, 9:])
    error = (torch.log(power) - envelope[:, 8:-1]).abs().mean()
    assert error < 0.5 * (envelope - envelope.mean()).abs().mean() + 0.05

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the recipes say of speech, work folders and disks that they cannot use; nothing is lost."""

import errno
import importlib
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.concealment.load import load_language_model
from gnuradio.largesc.training import token_sets
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.recipes import channel_code, tokens
from gnuradio.largesc.training.run import descend
from gnuradio.largesc.training.speech import Utterance, prepare, split
from gnuradio.largesc.training.token_sets import TokenSet, save
from helpers import SMALL_LM

pytestmark = pytest.mark.usefixtures("minutes_of_steps")
RECIPES = ("lm", "lora", "interpolation", "controller")
TRAINED = ("lm", "lora", "controller", "controller_joint")


def noise(path: Path, rate: int, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal(int(seconds * rate)), rate)


@pytest.fixture
def work(tmp_path) -> Path:
    """A work folder with made-up tokens."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 400), ("dev", 100)):
        codes = rng.integers(0, 2048, (count, 8)).astype(np.uint16)
        latents = rng.standard_normal((count, 16)).astype(np.float16)
        save(TokenSet(codes, latents, np.array([0, count])), tmp_path / f"tokens_{name}.npz")
    return tmp_path


def options(recipe: str, work: Path, models: str, minutes: float, **changes: object) -> list[str]:
    """Arguments of a recipe for a run of ``minutes``, with other values in its config."""
    module = importlib.import_module(f"gnuradio.largesc.training.recipes.{recipe.split('_')[0]}")
    config = read_config(module.DEFAULT_CONFIG, module.CONFIG_KEYS)
    more = ["--output", str(work / "output"), "--threads", "1"]
    if recipe == "lm":
        config["model"] |= SMALL_LM | {"num_layers": 1}
        config["training"] |= {"minutes": minutes, "batch": 2, "frames": 20}
        more += ["--codec", models]
    elif recipe == "lora":
        config["training"] = {"minutes": minutes, "batch": 2, "frames": 20, "rate": 1e-3}
        more += ["--base", models]
    elif recipe == "interpolation":
        config |= {"frames": 300, "lm_frames": 30, "samples": 1}
        more += ["--lm", models, "--codec", models]
    else:
        joint = recipe == "controller_joint"
        config["stages"]["frozen"] |= {"minutes": 0.003 if joint else minutes, "batch": 4}
        config["stages"]["joint"] |= {"minutes": minutes if joint else 0, "batch": 2}
        more += ["--lm", models, "--adapter", str(work / "adapter")]
    path = work / "config.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return [recipe.split("_")[0], "--config", str(path), "--work", str(work), *more]


def run(arguments: list[str]) -> None:
    module = importlib.import_module(f"gnuradio.largesc.training.recipes.{arguments[0]}")
    module.main(arguments[1:])


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def half_saved(state: object, path: Path) -> None:
    """As torch.save on a disk that fills up."""
    whole = io.BytesIO()
    torch.serialization.save(state, whole)
    Path(path).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    no_room()


def test_tokens_of_mixed_speech_of_one_speaker(tmp_path, models, capsys):
    folder, options = tmp_path / "speech", ["--codec", models, "--threads", "1"]
    for rate in (8000, 16000, 24000, 44100):
        noise(folder / f"{rate}.wav", rate)
    noise(folder / "short.wav", 24000, 0.05)
    soundfile.write(folder / "silence.wav", np.zeros(8000), 8000)
    (folder / "broken.flac").write_bytes(b"no audio at all")
    options += ["--speech", str(folder), "--work", str(tmp_path / "w")]
    tokens.main(options)
    assert "decoded 5 files, left out: 0 missing, 1 unreadable, 1 silent" in capsys.readouterr().out
    train, dev = (
        token_sets.load(tmp_path / "w" / f"tokens_{name}.npz") for name in ("train", "dev")
    )
    # A second is twelve frames and a half at any rate; the second file is kept from training.
    assert len(train.tokens) == 36 and len(dev.tokens) == 12
    noise(folder / "more.wav", 8000)
    with pytest.raises(ValueError, match="holds other speech"):
        tokens.main(options)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "lists no speech"),
        ({"a.wav": 0, "b.wav": 0}, "2 silent"),
        ({"a.wav": None}, "1 unreadable"),
        ({"a.wav": 1}, "one utterance is too few"),
        ({"a.wav": 0.05, "b.wav": 0.05}, "as long as a frame of 80 ms"),
    ],
)
def test_speech_without_use_is_named(tmp_path, models, files, said, capsys):
    (tmp_path / "speech").mkdir()
    for name, seconds in files.items():
        path = tmp_path / "speech" / name
        if seconds:
            noise(path, 24000, seconds)
        elif seconds is None:
            path.write_bytes(b"RIFF")
        else:
            soundfile.write(path, np.zeros(8000), 8000)
    common = ["--speech", str(tmp_path / "speech"), "--work", str(tmp_path / "w")]
    assert main(["train", "tokens", *common, "--codec", models]) == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "w").glob("tokens_*"))


def test_variants_are_split_as_their_originals():
    rows = [Utterance(f"{n}.wav", "one", "one", 0, 9) for n in range(120)]
    train, dev = split(rows)
    assert [u.path for u in dev] == ["1.wav", "51.wav", "101.wav"]
    assert not set(train) & set(dev) and len(train) + len(dev) == 120


@pytest.mark.parametrize("recipe", RECIPES)
def test_tokens_that_are_missing_or_damaged_are_named(recipe, work, models, capsys):
    arguments = options(recipe, work, models, 0.01)
    whole = (work / "tokens_train.npz").read_bytes()
    (work / "tokens_train.npz").write_bytes(whole[: len(whole) // 2])
    assert main(["train", *arguments]) == 2
    assert "tokens_train.npz holds no tokens that can be read" in capsys.readouterr().err
    (work / "tokens_train.npz").unlink()
    assert main(["train", *arguments]) == 2
    assert "tokens_train.npz is missing: run `largesc train tokens`" in capsys.readouterr().err
    few = TokenSet(np.zeros((5, 8), np.uint16), np.zeros((5, 16), np.float16), np.array([0, 5]))
    save(few, work / "tokens_train.npz")
    assert main(["train", *arguments]) == 2
    assert "5 frames of tokens are" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", RECIPES)
def test_output_that_cannot_be_written_is_said_before_the_work(recipe, work, models, capsys):
    (work / "tokens_train.npz").unlink()
    (work / "output").write_text("a file where the folder should be")
    assert main(["train", *options(recipe, work, models, 1.0)]) == 2
    said = capsys.readouterr().err
    assert "output cannot be written (File exists): give another" in said, said


@pytest.mark.parametrize("recipe", TRAINED)
def test_full_disk_leaves_the_old_checkpoint(recipe, work, models, monkeypatch, capsys):
    path = work / f"{recipe}.pt"
    run(options(recipe, work, models, 0.003))
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half_saved)
        assert main(["train", *options(recipe, work, models, 0.03)]) == 2
    said = capsys.readouterr().err
    assert f"{path} could not be written" in said and "No space left on device" in said
    assert path.read_bytes() == before and not list(work.glob("*.partial"))
    step = torch.load(path, weights_only=False)["step"]
    run(options(recipe, work, models, 0.03))
    assert torch.load(path, weights_only=False)["step"] > step


def test_full_disk_leaves_the_old_tokens(work, monkeypatch):
    path = work / "tokens_train.npz"
    before = token_sets.load(path)
    monkeypatch.setattr(np, "savez", lambda file, **_: (file.write(b"PK"), no_room()))
    with pytest.raises(OSError, match=r"tokens_train\.npz could not be written"):
        save(TokenSet(before.tokens[:9], before.latents[:9], before.starts), path)
    assert np.array_equal(token_sets.load(path).tokens, before.tokens)


def test_full_disk_leaves_the_old_models(work, models, monkeypatch, capsys):
    """The last files that recipes write: a model folder, and the estimator's matrices."""
    arguments = options("lm", work, models, 0.003)
    run(arguments)
    before = load_language_model(str(work / "output")).model.state_dict()
    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", no_room)
        assert main(["train", *arguments]) == 2
    after = load_language_model(str(work / "output")).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    arguments = options("interpolation", work, models, 0.0)
    run(arguments)
    matrices = (work / "output" / "estimator.safetensors").read_bytes()
    monkeypatch.setattr("gnuradio.largesc.training.recipes.interpolation.save_file", no_room)
    assert main(["train", *arguments]) == 2
    assert "estimator.safetensors could not be written" in capsys.readouterr().err
    assert (work / "output" / "estimator.safetensors").read_bytes() == matrices


@pytest.mark.parametrize("recipe", TRAINED)
def test_checkpoint_of_another_config_is_refused(recipe, work, models, capsys):
    path = work / f"{recipe}.pt"
    run(options(recipe, work, models, 0.003))
    before, config = path.read_bytes(), yaml.safe_load((work / "config.yaml").read_text())
    if recipe == "lm":
        other = {"model": config["model"] | {"dim": 64}}
    else:
        other = {"lora": config["lora"] | {"rank": 4}}
    if recipe == "controller":
        other = {"gamma": 0.5}
    changed = options(recipe, work, models, 0.1)
    config = yaml.safe_load((work / "config.yaml").read_text())
    (work / "config.yaml").write_text(yaml.safe_dump(config | other))
    assert main(["train", *changed]) == 2
    assert f"{path} was made with another config" in capsys.readouterr().err
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    assert main(["train", *changed]) == 2
    assert f"{path} is no checkpoint that can be read" in capsys.readouterr().err


def test_adapter_of_another_model_is_refused(work, models, tmp_path, capsys):
    arguments = options("lora", work, models, 0.003)
    run(arguments)
    (work / "base").symlink_to(models)
    (work / "copy").mkdir()
    for file in Path(models).iterdir():
        (work / "copy" / file.name).write_bytes(file.read_bytes())
    # The same folder by another name is the same model.
    run([str(work / "base") if a == models else a for a in arguments])
    assert main(["train", *[str(work / "copy") if a == models else a for a in arguments]]) == 2
    assert "another config" in capsys.readouterr().err


def test_cache_of_other_speech_is_refused(tmp_path):
    for name in ("a", "b"):
        noise(tmp_path / name / "1.wav", 8000)
        noise(tmp_path / name / f"{name}.wav", 8000)
    found = prepare(tmp_path / "a", tmp_path / "cache")
    assert prepare(tmp_path / "a", tmp_path / "cache") == found
    with pytest.raises(ValueError, match="holds other speech"):
        prepare(tmp_path / "b", tmp_path / "cache")
    # A cache from before there was such a check stays usable.
    (tmp_path / "cache" / "listed.sha256").unlink()
    assert prepare(tmp_path / "b", tmp_path / "cache") == found


def test_loss_that_is_not_finite_is_not_learnt():
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(ValueError, match="the loss became nan"):
        descend(optimiser, (weight * float("nan")).sum())
    assert torch.equal(weight.detach(), torch.ones(2))


def test_channel_code_looks_at_its_output_before_the_work(tmp_path, monkeypatch):
    def works(*_: object) -> None:
        raise AssertionError("this is work")

    monkeypatch.setattr(channel_code, "train", works)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file"):
        channel_code.main(["--speech", str(tmp_path), "--output", str(tmp_path / "file")])

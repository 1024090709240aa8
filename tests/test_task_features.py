# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of the task link's encoder, taught by what a large model hears in any speech."""

import json

import numpy as np
import pytest
import torch
import yaml
from gnuradio.largesc.evaluation.recogniser import JUDGE
from gnuradio.largesc.speech.format import SAMPLE_RATE_HZ
from gnuradio.largesc.tasks.model import load_task
from gnuradio.largesc.training import heard_speech
from gnuradio.largesc.training.heard_speech import Heard, piece_of
from gnuradio.largesc.training.recipes import task as task_recipe
from gnuradio.largesc.training.recipes import task_features
from gnuradio.largesc.training.recipes.card import task_section
from test_task_recipes import STUDENT, config_of, learned, recordings  # noqa: F401


class Listener:
    """In the place of Whisper: levels of the speech, in twenty steps."""

    def __init__(self, name: str, window_frames: int, steps: int) -> None:
        assert (window_frames, steps) == (160, 20)
        self.sum, self.heard = "0" * 64, 0

    def __call__(self, speech: np.ndarray) -> np.ndarray:
        self.heard += len(speech)
        parts = np.abs(np.fft.rfft(speech.reshape(len(speech), 20, -1), axis=2))
        return np.log(parts[:, :, :16] + 1e-3).astype(np.float32)


def featured(recordings, work, monkeypatch, *more: str, **changes: object):  # noqa: F811
    """Trains the layers; returns how many pieces were heard."""
    listeners = []

    def listener(*args: object) -> Listener:
        listeners.append(Listener(*args))
        return listeners[-1]

    monkeypatch.setattr(task_features, "WhisperFeatures", listener)
    small = {"steps": 3, "batch": 8, "rate": 1.0e-3}
    facts = {"student": STUDENT, "pieces": 20, "directions": 4, "training": small} | changes
    config = config_of(task_features, work, **facts)
    where = ("--speech", str(recordings), "--commands", str(recordings), "--work", str(work))
    task_features.main(["--config", str(config), *where, "--threads", "1", *more])
    return listeners[-1].heard


@pytest.fixture
def layers(recordings, tmp_path, monkeypatch):  # noqa: F811
    featured(recordings, tmp_path, monkeypatch)
    return tmp_path / "task_features.pt"


def test_layers_are_trained_and_a_model_begins_with_them(recordings, layers):  # noqa: F811
    work = layers.parent
    heard = Heard(work)
    # Of twelve files twenty pieces, and two views of each.
    assert heard.mel.shape == (20 + 24, 40, 160) and heard.features.shape == (44, 20, 16)
    assert heard.kept.dtype == bool and np.isfinite(heard.mel).all()
    where = ("--commands", str(recordings), "--all-labels")
    own = where + ("--layers", str(layers))
    still = {"layers_rate": 0.0}
    model = load_task(str(learned(work, "own", own, training=still)))
    state = torch.load(layers, weights_only=True)["layers"]
    convolutions = [name for name in state if name.endswith("convolution.weight")]
    assert len(convolutions) == 5
    # Models are kept in half precision.
    for name in convolutions:
        assert torch.equal(model.student.layers.state_dict()[name], state[name].half().float())
    (work / "task_teacher.json").write_text(json.dumps({"unseen_all_as_it_is": 0.9}))
    said = " ".join(task_section(work, work / "own", "own.pt"))
    corpora = f"44 of {recordings.name}" if not heard.kept.any() else recordings.name
    assert "Its layers began with what Whisper base hears, 3 steps" in said and corpora in said
    # Without them it begins elsewhere, and each is a run of its own.
    other = load_task(str(learned(work, "other", where, training=still)))
    assert not torch.equal(other.student.layers[0].convolution.weight, state[convolutions[0]])
    with pytest.raises(ValueError, match="made with another config"):
        learned(work, "own", where, training=still)


def test_pieces_are_heard_once_and_go_on_where_they_were_stopped(
    recordings,  # noqa: F811
    layers,
    monkeypatch,
):
    work = layers.parent
    # One frame of nothing, by which the shape is known.
    assert featured(recordings, work, monkeypatch) == 1
    first = (work / "heard_features.f16").read_bytes()
    (work / "heard.json").unlink()
    monkeypatch.setattr(heard_speech, "PIECE", 16)
    partial = json.loads((work / "heard.partial").read_text())
    (work / "heard.partial").write_text(json.dumps(partial | {"done": 32}))
    assert featured(recordings, work, monkeypatch) == 1 + 44 - 32
    assert (work / "heard_features.f16").read_bytes() == first
    with pytest.raises(ValueError, match="holds pieces of other speech or settings"):
        featured(recordings, work, monkeypatch, pieces=19)
    (work / "heard.json").unlink()
    (work / "heard.partial").write_text(json.dumps({"sum": "0" * 64, "done": 32}))
    (work / "task_features_run.pt").unlink()
    assert featured(recordings, work, monkeypatch) == 1 + 44


def test_what_does_not_fit_is_refused_by_name(recordings, layers, tmp_path, capsys):  # noqa: F811
    where = ("--commands", str(recordings), "--all-labels")
    with pytest.raises(ValueError, match="has sizes .* the config"):
        student = STUDENT | {"steps": 3}
        learned(tmp_path, "a", (*where, "--layers", str(layers)), student=student)
    with pytest.raises(ValueError, match=r"nowhere.pt is missing: run `largesc train task-fea"):
        learned(tmp_path, "a", (*where, "--layers", str(tmp_path / "nowhere.pt")))
    for name, data in (("cut.pt", layers.read_bytes()[:1000]), ("text.pt", b"no weights")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name} is no file of task-features"):
            learned(tmp_path, "a", (*where, "--layers", str(tmp_path / name)))
    own = layers.parent / "task_features_run.pt"
    with pytest.raises(ValueError, match="task_features_run.pt is no file of task-features"):
        learned(tmp_path, "a", (*where, "--layers", str(own)))
    with pytest.raises(ValueError, match="other bands or fft"):
        learned(tmp_path, "a", where, student=STUDENT | {"fft": 1024})
    with pytest.raises(ValueError, match="holds no speech that a large model has heard"):
        Heard(tmp_path / "empty")
    with pytest.raises(SystemExit):
        task_features.main(
            ["--speech", "x", "--commands", "x", "--work", "x", "--recogniser", JUDGE]
        )
    assert "judges and must not teach" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_silence(recordings, tmp_path, monkeypatch, capsys):  # noqa: F811
    speech = tmp_path / "speech"
    speech.mkdir()
    (speech / "broken.wav").write_bytes(b"no speech at all")
    monkeypatch.setattr(task_features, "WhisperFeatures", Listener)
    config = config_of(
        task_features, tmp_path, student=STUDENT, pieces=3, directions=2,
        training={"steps": 1, "batch": 8, "rate": 1.0e-3},
    )  # fmt: skip
    where = ["--commands", str(recordings), "--work", str(tmp_path / "w"), "--threads", "1"]
    task_features.main(["--config", str(config), "--speech", str(speech), *where])
    assert capsys.readouterr().out.count("broken.wav cannot be read") == 3


def test_a_model_of_ones_own_begins_with_the_layers_of_another(recordings, tmp_path):  # noqa: F811
    where = ("--commands", str(recordings), "--all-labels")
    still = {"layers_rate": 0.0}
    first = learned(tmp_path, "first", where)
    theirs = load_task(str(first)).student.layers.state_dict()
    found = load_task(
        str(learned(tmp_path, "own", (*where, "--layers", str(first)), training=still))
    )
    name = "0.convolution.weight"
    assert torch.equal(found.student.layers.state_dict()[name], theirs[name])
    # The shipped one has the sizes of the config as it comes.
    sizes = yaml.safe_load(task_recipe.DEFAULT_CONFIG.read_text())["student"]
    own = learned(tmp_path, "own2", (*where, "--layers", "embedded"), training=still, student=sizes)
    shipped = load_task().student.layers.state_dict()
    assert torch.equal(load_task(str(own)).student.layers.state_dict()[name], shipped[name])
    with pytest.raises(ValueError, match="--layers embedded has sizes"):
        learned(tmp_path, "own3", (*where, "--layers", "embedded"))


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.3, 1.0, 60.0])
def test_a_piece_is_short_whatever_the_speech(seconds):
    rng = np.random.default_rng(1)
    for speech in (
        0.1 * rng.standard_normal(int(seconds * SAMPLE_RATE_HZ)).astype(np.float32),
        np.zeros(int(seconds * SAMPLE_RATE_HZ), dtype=np.float32),
    ):
        for _ in range(20):
            piece = piece_of(speech, rng)
            assert 0.5 < len(piece) / SAMPLE_RATE_HZ < 0.5 + 1.6
            assert np.isfinite(piece).all()

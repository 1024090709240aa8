# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of the task link: recordings, views, stored logits, and a model at the end."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
import yaml
from gnuradio.largesc.tasks.model import load_task
from gnuradio.largesc.training.commands import checked_labels, clips_of
from gnuradio.largesc.training.recipes import task as task_recipe
from gnuradio.largesc.training.recipes import task_logits, task_teacher
from gnuradio.largesc.training.teacher_logits import LogitsOf, TeacherLogits, store

OF = LogitsOf("some", ("a", "b", "c", "d"), "sum", 2, 1.0)


class Listener:
    """In the place of Whisper: levels of the speech."""

    def __init__(self, name: str) -> None:
        self.sum = "0" * 64

    def __call__(self, speech: np.ndarray) -> np.ndarray:
        parts = np.abs(np.fft.rfft(speech[:, :24000].reshape(len(speech), 8, -1), axis=2))
        return np.log(parts[:, :, :64] + 1e-3).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Three labels of four voices: tones of a pitch each."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    t = np.arange(12000) / 16000
    for label, hz in (("low", 300), ("high", 1500), ("other", 700)):
        (folder / label).mkdir()
        for speaker in range(4):
            tone = 0.3 * np.sin(2 * np.pi * hz * (1 + 0.03 * speaker) * t) * np.hanning(len(t))
            noisy = tone + 1e-3 * rng.standard_normal(len(t))
            soundfile.write(folder / label / f"s{speaker}_nohash_0.wav", noisy, 16000)
    return folder


def config_of(recipe: object, folder, **changes: object):
    """The default config with changes, as a file."""
    config = yaml.safe_load(recipe.DEFAULT_CONFIG.read_text()) | changes
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


VIEWS = {"views": 3, "other_views": 2, "other": 4, "noise": 6, "taught_views": 2}
SMALL = {"epochs": 20, "batch": 16, "rate": 2.0e-3, "smoothing": 0.05}
STUDENT = {"bands": 40, "channels": [8, 8, 8, 8, 8], "steps": 2}
CODEC = {"symbols": [8, 32], "hidden": 8, "adaptive": True}


def taught(recordings, work, monkeypatch, labels=("low", "high")):
    monkeypatch.setattr(task_teacher, "WhisperFeatures", Listener)
    config = config_of(task_teacher, work, labels=list(labels), views=VIEWS, training=SMALL)
    where = ["--commands", str(recordings), "--work", str(work), "--threads", "1"]
    task_teacher.main(["--config", str(config), *where])


def learned(work, name: str = "task", more: tuple[str, ...] = (), **changes: object):
    training = yaml.safe_load(task_recipe.DEFAULT_CONFIG.read_text())["training"]
    training |= {"steps": 4, "batch": 16, "groups": 4} | changes.pop("training", {})
    taught = {"teacher": {"weight": 0.7, "k": 0}}
    changes = taught | {"student": STUDENT, "codec": CODEC, "training": training} | changes
    config = config_of(task_recipe, work, **changes)
    output = work / name
    task_recipe.main(
        ["--config", str(config), "--work", str(work), "--output", str(output), "--threads", "1",
         "--name", name, *more]
    )  # fmt: skip
    return output


@pytest.fixture(scope="module")
def work(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        taught(recordings, folder, patch)
    task_logits.main(["--work", str(folder), "--k", "2"])
    return folder


def test_a_folder_of_recordings_becomes_a_model(work):
    model = load_task(str(learned(work)))
    assert model.config.labels == ("low", "high", "_unknown_", "_silence_")
    assert (work / "task_teacher.json").exists()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("without_teacher", {"teacher": {"weight": 0.0, "k": 0}}),
        ("k1", {"teacher": {"weight": 0.7, "k": 1}}),
        ("not_adaptive", {"codec": CODEC | {"adaptive": False}}),
        ("no_bottleneck", {"training": {"bottleneck": 0.0}}),
    ],
)
def test_settings_train(work, name, changes):
    assert load_task(str(learned(work, name, **changes)))


def test_one_command_trains_from_a_folder_without_a_teacher(recordings, tmp_path):
    where = ("--commands", str(recordings), "--other", str(recordings), "--all-labels")
    output = learned(tmp_path, "own", where, teacher={"weight": 0.0, "k": 0})
    assert load_task(str(output)).config.labels[:-2] == ("high", "low", "other")


def test_an_encoder_is_taken_as_it_is(work):
    first = learned(work, "first")
    second = load_task(str(learned(work, "second", ("--encoder", str(first)))))
    theirs = load_task(str(first)).student.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in second.student.state_dict().items())
    with pytest.raises(ValueError, match="other labels or sizes"):
        student = STUDENT | {"channels": [4, 4, 4, 4, 4]}
        learned(work, "third", ("--encoder", str(first)), student=student)


def test_training_goes_on_where_it_was_stopped(work):
    learned(work, "resumed", training={"steps": 3})
    before = torch.load(work / "resumed.pt", weights_only=False)
    assert before["step"] == 3
    learned(work, "resumed", training={"steps": 3})
    assert torch.load(work / "resumed.pt", weights_only=False)["step"] == 3
    with pytest.raises(ValueError, match="made with another config"):
        learned(work, "resumed", training={"steps": 5})


def test_views_go_on_where_they_were_stopped(recordings, tmp_path, monkeypatch, work):
    taught(recordings, tmp_path, monkeypatch)
    first = (tmp_path / "views.f16").read_bytes()
    (tmp_path / "views.json").unlink()
    (tmp_path / "views.partial").write_text("16")
    taught(recordings, tmp_path, monkeypatch)
    assert (tmp_path / "views.f16").read_bytes() == first
    with pytest.raises(ValueError, match="other recordings, labels or settings"):
        taught(recordings, tmp_path, monkeypatch, ["low"])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "list of labels is empty"),
        (["on", "off", "on"], "label 'on' is there 2 times"),
        ([True], "YAML wants yes, no"),
        (["_silence_"], "cannot be used"),
        (["two words"], "cannot be used"),
    ],
)
def test_lists_of_labels_that_cannot_be_are_named(labels, said):
    with pytest.raises(ValueError, match=said):
        checked_labels(labels)


def test_a_label_without_recordings_is_named(recordings, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="label 'middle' has no recording"):
        taught(recordings, tmp_path, monkeypatch, ["low", "middle"])
    with pytest.raises(ValueError, match="nowhere is missing"):
        clips_of(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no recordings"):
        clips_of(tmp_path / "empty")
    (tmp_path / "table.tsv").write_text("path\tspeaker\na.wav\tb\n")
    with pytest.raises(ValueError, match="lacks the column 'label'"):
        clips_of(tmp_path / "table.tsv")


def test_stored_logits_are_the_top_and_a_shared_rest(tmp_path):
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0], [0.0, 0.0, 5.0, 1.0]])
    assert store(tmp_path / "l.bin", OF, 4, [logits]) == 2 * 2 * 4
    whole = torch.softmax(logits, 1)
    found = TeacherLogits(tmp_path / "l.bin", OF).probabilities(np.array([0, 1]))
    assert torch.allclose(found.sum(1), torch.ones(2))
    top = whole.topk(2, 1)
    assert torch.allclose(found.gather(1, top.indices), top.values, atol=1e-3)
    rest = (1.0 - top.values.sum(1)) / 2
    assert torch.allclose(found[0, 2:], rest[0].expand(2), atol=1e-3)
    one = TeacherLogits(tmp_path / "l.bin", OF).probabilities(np.array([0]), 1)
    assert torch.allclose(one[0, 1:], ((1.0 - whole[0, 0]) / 3).expand(3), atol=1e-3)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (LogitsOf("other", OF.classes, "sum", 2, 1.0), "another teacher"),
        (LogitsOf("some", ("a", "b"), "sum", 2, 1.0), "another classes"),
        (LogitsOf("some", OF.classes, "x", 2, 1.0), "another examples"),
        (LogitsOf("some", OF.classes, "sum", 2, 2.0), "another temperature"),
    ],
)
def test_logits_of_something_else_are_refused_by_name(tmp_path, of, said):
    store(tmp_path / "l.bin", OF, 4, [torch.zeros(3, 4)])
    with pytest.raises(ValueError, match=said):
        TeacherLogits(tmp_path / "l.bin", of)


def test_bad_stores_are_named(tmp_path):
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k {k} is out of range: use 1 to 4"):
            store(tmp_path / "l.bin", LogitsOf("some", OF.classes, "sum", k, 1.0), 4, [])
    with pytest.raises(ValueError, match="no logits of a teacher"):
        TeacherLogits(tmp_path / "l.bin")
    store(tmp_path / "l.bin", OF, 4, [torch.zeros(3, 4)])
    with pytest.raises(ValueError, match="2 are stored"):
        TeacherLogits(tmp_path / "l.bin").probabilities(np.array([0]), 3)
    (tmp_path / "l.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="is cut"):
        TeacherLogits(tmp_path / "l.bin")


def test_logits_of_another_teacher_stop_the_training(work, tmp_path):
    shutil.copytree(work, tmp_path / "copy")
    state = torch.load(work / "task_teacher.pt", weights_only=True)
    torch.save(state | {"sum": "f" * 64}, tmp_path / "copy" / "task_teacher.pt")
    with pytest.raises(ValueError, match="another teacher"):
        learned(tmp_path / "copy", "other")
    with pytest.raises(ValueError, match="run `largesc train task-teacher"):
        task_logits.main(["--work", str(tmp_path)])
    with pytest.raises(ValueError, match="k 9 is out of range: use 1 to 4"):
        task_logits.main(["--work", str(work), "--k", "9"])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of the task link: recordings, views, stored logits, and a model at the end."""

import json
import shutil
from pathlib import Path

import gnuradio.largesc
import numpy as np
import pytest
import soundfile
import torch
import yaml
from gnuradio.largesc.evaluation.recogniser import SECOND, missing
from gnuradio.largesc.speech.activity import ActivityDetector
from gnuradio.largesc.speech.files import read_audio
from gnuradio.largesc.tasks.model import load_task
from gnuradio.largesc.training import command_batches, command_views, run
from gnuradio.largesc.training.commands import (
    Clip,
    checked_labels,
    clips_of,
    is_development,
    spoken_parts,
    words_of,
)
from gnuradio.largesc.training.recipes import task as task_recipe
from gnuradio.largesc.training.recipes import task_logits, task_teacher, task_words
from gnuradio.largesc.training.teacher_logits import LogitsOf, TeacherLogits, store
from gnuradio.largesc.training.word_cuts import Word, WordPlaces, cut

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
STUDENT = {"bands": 40, "channels": [8, 8, 8, 8, 8], "steps": 2, "fft": 600}
CODEC = {"symbols": [8, 32], "hidden": 8, "adaptive": True}


def taught(recordings, work, monkeypatch, labels=("low", "high")):
    monkeypatch.setattr(task_teacher, "WhisperFeatures", Listener)
    config = config_of(task_teacher, work, labels=list(labels), views=VIEWS, training=SMALL)
    where = ["--commands", str(recordings), "--work", str(work), "--threads", "1"]
    task_teacher.main(["--config", str(config), *where])


def learned(work, name: str = "task", more: tuple[str, ...] = (), **changes: object):
    training = yaml.safe_load(task_recipe.DEFAULT_CONFIG.read_text())["training"]
    training |= {"steps": 4, "batch": 16, "groups": 4} | changes.pop("training", {})
    taught = {"teacher": {"weight": 0.7, "k": 0, "trust": 0.0}}
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
        ("without_teacher", {"teacher": {"weight": 0.0, "k": 0, "trust": 0.0}}),
        ("k1", {"teacher": {"weight": 0.7, "k": 1, "trust": 0.01}}),
        ("not_adaptive", {"codec": CODEC | {"adaptive": False}}),
        ("no_bottleneck", {"training": {"bottleneck": 0.0}}),
    ],
)
def test_settings_train(work, name, changes):
    assert load_task(str(learned(work, name, **changes)))


def test_one_command_trains_from_a_folder_without_a_teacher(recordings, tmp_path):
    where = ("--commands", str(recordings), "--other", str(recordings), "--all-labels")
    output = learned(tmp_path, "own", where)
    assert torch.load(tmp_path / "own.pt", weights_only=False)["config"]["teacher"]["weight"] == 0.0
    assert load_task(str(output)).config.labels[:-2] == ("high", "low", "other")


def test_an_encoder_is_taken_as_it_is(work):
    first = learned(work, "first")
    second = load_task(str(learned(work, "second", ("--encoder", str(first)))))
    theirs = load_task(str(first)).student.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in second.student.state_dict().items())
    with pytest.raises(ValueError, match="other labels or sizes"):
        student = STUDENT | {"channels": [4, 4, 4, 4, 4]}
        learned(work, "third", ("--encoder", str(first)), student=student)


def test_training_goes_on_where_it_was_stopped(work, monkeypatch):
    steps, descend = [], task_recipe.descend

    def killed(optimiser: object, loss: torch.Tensor) -> None:
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(1)
        descend(optimiser, loss)

    monkeypatch.setattr(run, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(task_recipe, "descend", killed)
    with pytest.raises(KeyboardInterrupt):
        learned(work, "resumed", training={"steps": 5})
    state = torch.load(work / "resumed.pt", weights_only=False)
    # A mark that no fresh start has, and that no step takes away: softmax does not see it.
    state["average"]["student.head.bias"] += 100.0
    state["model"]["student.head.bias"] += 100.0
    torch.save(state, work / "resumed.pt")
    assert state["step"] == 3
    monkeypatch.setattr(task_recipe, "descend", lambda *args: (steps.append(1), descend(*args)))
    model = load_task(str(learned(work, "resumed", training={"steps": 5})))
    after = torch.load(work / "resumed.pt", weights_only=False)
    assert len(steps) == 5 and after["step"] == 5
    assert model.student.head.bias.min() > 90.0
    # What was reported last is in it.
    assert after["curve"][-1]["step"] == 5 and "right" in after["curve"][-1]
    learned(work, "resumed", training={"steps": 5})
    assert len(steps) == 5
    with pytest.raises(ValueError, match="made with another config"):
        learned(work, "resumed", training={"steps": 6})
    with pytest.raises(ValueError, match="made with another config"):
        learned(work, "resumed", ("--encoder", str(work / "resumed")), training={"steps": 5})


def test_views_go_on_where_they_were_stopped(recordings, tmp_path, monkeypatch):
    taught(recordings, tmp_path, monkeypatch)
    mel, features = tmp_path / "views.f16", tmp_path / "features.f16"
    first, row = mel.read_bytes(), 40 * 160 * 2
    partial = json.loads((tmp_path / "views.partial").read_text())

    def stopped_at(done: int, sums: list) -> None:
        """As a kill behind ``done`` rows would leave it; what is there is marked."""
        (tmp_path / "views.json").unlink()
        (tmp_path / "views.partial").write_text(json.dumps({"sums": sums, "done": done}))
        mel.write_bytes(bytes(16 * row) + bytes(len(first) - 16 * row))

    stopped_at(16, partial["sums"])
    heard = np.frombuffer(features.read_bytes(), np.float16)
    taught(recordings, tmp_path, monkeypatch)
    assert mel.read_bytes() == bytes(16 * row) + first[16 * row :]
    assert np.array_equal(np.frombuffer(features.read_bytes(), np.float16), heard)
    with pytest.raises(ValueError, match="other recordings, labels or settings"):
        taught(recordings, tmp_path, monkeypatch, ["low"])
    # A part of other views, or one that no teacher or another one has heard, is not gone on from.
    for sums in (["0" * 64, partial["sums"][1]], [partial["sums"][0], None]):
        stopped_at(16, sums)
        taught(recordings, tmp_path, monkeypatch)
        assert mel.read_bytes() == first


def test_speakers_kept_apart_are_in_no_noise(tmp_path, monkeypatch):
    kept, learned_from = "s21", "s1"
    assert is_development(Clip(tmp_path, "low", kept, ""))
    assert not is_development(Clip(tmp_path, "low", learned_from, ""))
    for label in ("low", "other"):
        (tmp_path / "said" / label).mkdir(parents=True)
        for speaker, samples in ((kept, 8000), (learned_from, 6000)):
            path = tmp_path / "said" / label / f"{speaker}_nohash_0.wav"
            soundfile.write(path, 0.1 * np.sin(np.arange(samples)), 16000)
    soundfile.write(tmp_path / f"{kept}.wav", 0.1 * np.sin(np.arange(8000)), 16000)
    used = []

    class Kept(command_views.Varied):
        def __init__(self, noises: list, babble: list) -> None:
            super().__init__(noises, babble)
            used.append((noises, babble))

    monkeypatch.setattr(command_views, "Varied", Kept)
    config = yaml.safe_load(task_teacher.DEFAULT_CONFIG.read_text()) | {"views": VIEWS}
    command_views.prepare(
        tmp_path / "work", checked_labels(["low"]), [tmp_path / "said"], None, config
    )
    noises, babble = used[0]
    assert [len(samples) for samples in babble] == [9000] and not noises


def test_other_speech_with_a_command_in_its_text_is_not_unknown(tmp_path):
    t = np.arange(48000) / 16000
    hum = 0.3 * np.sin(2 * np.pi * 200 * t) * ((t > 0.8) & (t < 1.4))
    for name, text in (("a", "Low tide"), ("b", "slow, slowly"), ("c", None)):
        soundfile.write(tmp_path / f"{name}.wav", hum, 16000)
        if text is not None:
            (tmp_path / f"{name}.txt").write_text(text)
    clips, speech = spoken_parts(tmp_path, 10, 1, ("low", "_unknown_", "_silence_"))
    assert sorted(c.path.stem for c in clips) == ["b", "c"] and len(speech) == 2


def test_what_is_no_command_is_certain_where_the_teacher_has_not_heard_it(work):
    views = command_views.Views(work)
    logits = TeacherLogits(work / "task_logits.bin")
    heard = views.heard(np.arange(len(views.rows)))
    commands = views.label < 2
    assert set(np.flatnonzero(commands & (views.number < 2))) <= set(heard)
    others = np.flatnonzero(~commands)
    assert 0 < np.isin(others, heard).sum() < len(others)
    never = np.setdiff1d(others, heard)
    never = never[~np.isin(views.clip[never], views.clip[heard])]
    likely = logits.probabilities(never)[np.arange(len(never)), views.label[never]]
    assert len(never) and likely.min() > 0.9


def test_other_voices_have_other_formants_and_tempo(work):
    maps = command_batches.formant_maps(40)
    assert torch.allclose(maps[12], torch.eye(40), atol=1e-5)
    assert torch.allclose(maps.sum(2), torch.ones(len(maps), 40), atol=1e-5)
    peak = torch.zeros(40, 1)
    peak[20] = 1.0
    # What is read at a higher frequency comes to lie lower.
    assert int((maps[-1] @ peak).argmax()) < 20 < int((maps[0] @ peak).argmax())
    views = command_views.Views(work)
    rows = np.arange(len(views.rows))
    mel = torch.full((64, 40, 160), -1.0)
    mel[:, :, :80] = 0.5
    voiced = command_batches.Batches(views, rows, None, 0, 1)._voiced(mel)
    lengths = (voiced[:, 0] > 0.0).sum(1)
    assert lengths.min() < 75 and lengths.max() > 85 and 62 <= lengths.min() <= lengths.max() <= 101
    plain, changed = (
        command_batches.Batches(views, rows, None, 0, 1).draw(8, voices)[0]
        for voices in (False, True)
    )
    assert plain.isfinite().all() and changed.isfinite().all() and not torch.equal(plain, changed)


def test_the_teacher_says_the_label_where_it_is_wrong(work):
    views, logits = command_views.Views(work), TeacherLogits(work / "task_logits.bin")
    batches = command_batches.Batches(views, np.arange(len(views.rows)), logits, 0, 1)
    rows = np.arange(len(views.rows))
    said = logits.probabilities(rows)
    # As if each second row had another label.
    label = torch.where(torch.arange(len(rows)) % 2 == 0, said.argmax(1), (said.argmax(1) + 1) % 4)
    found = batches._taught(rows, label)
    assert torch.equal(found[::2], said[::2]) and torch.equal(found.argmax(1), label)
    assert found[1::2].max(1).values.min() == 1.0


def test_rows_that_the_teacher_does_not_believe_are_left_out(work):
    views = command_views.Views(work)
    logits = TeacherLogits(work / "task_logits.bin")
    rows = np.arange(len(views.rows))
    likely = logits.probabilities(rows)[rows, views.label].numpy()
    kept = task_recipe.trusted(views, rows, logits, float(np.median(likely)))
    assert 0 < len(kept) < len(rows) and likely[kept].min() >= np.median(likely)
    assert np.array_equal(task_recipe.trusted(views, rows, logits, 0.0), rows)


def test_words_are_cut_out_of_speech_whose_text_is_known(tmp_path, monkeypatch):
    heard = []

    class Places:
        def __init__(self, name: str) -> None:
            pass

        def __call__(self, speech: np.ndarray, text: str) -> list[Word]:
            heard.append(text)
            words = words_of(text)
            return [Word(w, 0.5 * n, 0.5 * n + 0.4) for n, w in enumerate(words)]

    monkeypatch.setattr(task_words, "WordPlaces", Places)
    speech = tmp_path / "speech"
    speech.mkdir()
    for name, text in (("a", "Go on, then: a mile"), ("b", "None of it"), ("c", "STOP")):
        soundfile.write(speech / f"{name}.wav", np.full(48000, 0.1), 16000)
        (speech / f"{name}.txt").write_text(text)
    where = ["--speech", str(speech), "--work", str(tmp_path / "words")]
    config = config_of(task_words, tmp_path, labels=["go", "on", "stop"], others=1)
    task_words.main(["--config", str(config), *where])
    found = clips_of(tmp_path / "words" / "words.tsv")
    assert [c.label for c in found if c.label in ("go", "on", "stop")] == ["go", "on", "stop"]
    assert [c.label for c in found if c.label not in ("go", "on", "stop")] in (["then"], ["mile"])
    assert soundfile.info(found[0].path).duration == pytest.approx(0.52, abs=0.01)
    assert soundfile.info(found[1].path).duration == pytest.approx(0.62, abs=0.01)
    assert heard == ["Go on, then: a mile", "STOP"]
    # As a kill behind the first utterance would leave it.
    kept, table = tmp_path / "words" / "words.json", tmp_path / "words" / "words.tsv"
    facts, whole = json.loads(kept.read_text()), table.read_text()
    kept.write_text(json.dumps(facts | {"done": 1, "rows": facts["rows"][:-1]}))
    table.unlink()
    task_words.main(["--config", str(config), *where])
    assert heard[2:] == ["STOP"] and table.read_text() == whole
    with pytest.raises(ValueError, match="other speech or settings"):
        task_words.main(["--config", str(config_of(task_words, tmp_path, others=2)), *where])
    with pytest.raises(ValueError, match="no text of --speech has one of the labels"):
        config = config_of(task_words, tmp_path, labels=["left"])
        task_words.main(["--config", str(config), *where])


def test_words_are_found_where_they_are_said():
    places = real_places()
    speech = read_audio(Path(gnuradio.largesc.__file__).parent / "tasks" / "commands.ogg")
    spoken = [part.samples for part in ActivityDetector().push(speech[: 10 * 24000])][:3]
    found = places(np.concatenate(spoken), "Zero, one; TWO")
    assert [word.text for word in found] == ["zero", "one", "two"]
    ends = np.cumsum([len(samples) for samples in spoken]) / 24000
    assert np.abs(np.array([word.end_s for word in found]) - ends).max() < 0.35
    middle = cut(np.concatenate(spoken), found[1])
    assert 0.5 * len(spoken[1]) < len(middle) < 1.6 * len(spoken[1])


def real_places() -> object:
    if why := missing(SECOND):
        pytest.skip(why)
    return WordPlaces(SECOND)


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

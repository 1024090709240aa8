# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of spoken commands: a table of them, or a folder with a folder a label."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ..speech.activity import PAUSE, ActivityDetector
from ..speech.files import AUDIO_SUFFIXES, read_audio, rows_of
from ..tables import read_tsv
from ..tasks.model import SILENCE, UNKNOWN

# Steps of 10 ms of quiet between two words.
WORD_PAUSE = 7
COLUMNS = {"path", "label", "speaker"}


@dataclass(frozen=True)
class Clip:
    """One recording.

    Attributes:
        path: of the file.
        label: what is said in it; :data:`SILENCE` for noise alone.
        speaker: who says it.
        corpus: where it is from.
    """

    path: Path
    label: str
    speaker: str
    corpus: str


def checked_labels(labels: list[str]) -> tuple[str, ...]:
    """The commands, then :data:`UNKNOWN` and :data:`SILENCE`.

    Raises:
        ValueError: the list is empty, or a name is empty, doubled or reserved.
    """
    if not labels:
        raise ValueError("the list of labels is empty: name the commands, at least one")
    for label in labels:
        if not isinstance(label, str):
            raise ValueError(f"label {label!r} is no word: YAML wants yes, no, on, off in quotes")
    for name, count in Counter(labels).items():
        if count > 1:
            raise ValueError(f"label {name!r} is there {count} times: name each command once")
        if not name or name in (UNKNOWN, SILENCE) or not name.isprintable() or " " in name:
            raise ValueError(f"label {name!r} cannot be used: one word, not {UNKNOWN}, {SILENCE}")
    return (*labels, UNKNOWN, SILENCE)


def clips_of(source: Path, split: str = "train") -> list[Clip]:
    """All recordings of a table (path, label, speaker) or of a folder with a folder a label.

    In a folder, the speaker of ``LABEL/NAME/file.wav`` is NAME, of ``LABEL/ab12_nohash_0.wav``
    ab12, else each file counts as a speaker of its own.

    Args:
        split: rows of a table that has this column are taken where it says so.

    Raises:
        ValueError: there are none, or the table lacks a column.
    """
    if source.is_dir():
        paths = (p for p in sorted(source.rglob("*")) if p.suffix.lower() in AUDIO_SUFFIXES)
        found = [clip_in(source, p) for p in paths if p.parent != source]
    elif source.is_file():
        rows = read_tsv(source)
        if rows and (lacking := COLUMNS - set(rows[0])):
            raise ValueError(f"{source} lacks the column {min(lacking)!r}: path, label, speaker")
        found = [
            Clip(source.parent / r["path"], r["label"], r["speaker"], r.get("corpus", ""))
            for r in rows
            if r.get("split", split) == split
        ]
    else:
        raise ValueError(f"{source} is missing: give a folder with a folder a label, or a table")
    if not found:
        raise ValueError(f"{source} holds no recordings: expected a folder for each label")
    return found


def clip_in(source: Path, path: Path) -> Clip:
    """A recording in a folder of its label."""
    label, *between = path.relative_to(source).parts[:-1]
    own = path.stem.split("_nohash_")[0] if "_nohash_" in path.stem else str(path.name)
    return Clip(path, label, between[0] if between else own, source.name)


def checked_examples(clips: list[Clip], labels: tuple[str, ...]) -> None:
    """Raises :class:`ValueError` for a command that nobody says."""
    said = {clip.label for clip in clips}
    for label in labels[:-2]:
        if label not in said:
            raise ValueError(
                f"label {label!r} has no recording: add a folder of that name, or leave it out"
            )


def label_of(clip: Clip, labels: tuple[str, ...]) -> int:
    """Number of a clip's label; what is no command is unknown."""
    return labels.index(clip.label if clip.label in labels else UNKNOWN)


def bucket(name: str, count: int) -> int:
    """A number below ``count`` that is always the same for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % count


def is_development(clip: Clip) -> bool:
    """Whether a clip's speaker is kept from training; one in ten is."""
    return clip.speaker != "-" and bucket(f"dev {clip.speaker}", 10) == 0


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower())


def decoded_clips(clips: list[Clip]) -> tuple[list[Clip], list[np.ndarray]]:
    """Those that can be read, and their speech at 24 kHz; others are said and left out.

    Raises:
        ValueError: none can be read.
    """
    kept, speech = [], []
    for clip in clips:
        try:
            samples = read_audio(clip.path)
        except (OSError, RuntimeError, soundfile.LibsndfileError) as error:
            print(f"{clip.path} cannot be read: {error}", flush=True)
            continue
        if len(samples) and np.isfinite(samples).all():
            kept.append(clip)
            speech.append(samples)
    if not kept:
        raise ValueError(f"of {len(clips)} recordings none can be read: check the paths")
    return kept, speech


def spoken_parts(
    source: Path, most: int, seed: int, labels: tuple[str, ...] = ()
) -> tuple[list[Clip], list[np.ndarray]]:
    """Utterances of at most 1.6 s out of other speech, cut as they are in use: unknown.

    Files whose text is known and has a label in it are left out: a command would be unknown.

    Args:
        source: table or folder of speech, see :func:`rows_of`.
        most: so many at most, from files drawn by ``seed``.
        labels: of the commands.
    """
    folder, rows = rows_of(source)
    rows = [r for r in rows if not set(words_of(r.get("text") or "")) & set(labels)]
    clips, speech = [], []
    for number in np.random.default_rng(seed).permutation(len(rows)):
        if len(clips) >= most:
            break
        row = rows[number]
        path = folder / row["path"]
        try:
            samples = read_audio(path)
        except (OSError, RuntimeError, soundfile.LibsndfileError):
            continue
        # Every second one ends at a shorter pause: single words, rather than a short sentence.
        detector = ActivityDetector(pause_steps=PAUSE if number % 2 else WORD_PAUSE)
        for spoken in [*detector.push(samples), *detector.flush()][:4]:
            clips.append(Clip(path, UNKNOWN, row["speaker"], row["corpus"]))
            speech.append(spoken.samples)
    return clips, speech

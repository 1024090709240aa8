# SPDX-License-Identifier: GPL-3.0-or-later
"""Each recording of a command as it is, and as it might have been spoken, heard and cut elsewhere.

Made once, from a seed for each view, and kept as log-mel spectra; teacher and student see the same
views, so that what the teacher says of a view can be stored.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import fft
from scipy.signal import fftconvolve

from ..features.student import MOST_SAMPLES, LogMel, padded
from ..files import replacing
from ..speech.activity import MOST_STEPS, STEP_SAMPLES
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.noise import coloured, unit
from .commands import (
    SILENCE,
    Clip,
    bucket,
    checked_examples,
    clips_of,
    decoded_clips,
    is_development,
    label_of,
    spoken_parts,
)

PIECE = 128
FOLDS = 3
# Of what is no command the teacher hears one in so many: of the rest it could only say that.
HEARD_OF_OTHERS = 4
# A recording's own noise lies so far below its loudest 10 ms.
SPEECH_WITHIN_DB = 30.0
# Noise that comes and goes, as wind: so much, so often.
GUSTS_DB, GUSTS_PER_S = 12.0, 6.0


@dataclass(frozen=True)
class View:
    """One row of the views.

    Attributes:
        clip: number of its recording; of noise, -1.
        number: 0 is the recording as it is.
        label: number of its label.
        fold: 0 to 2 by speaker; -1: kept for development.
    """

    clip: int
    number: int
    label: int
    fold: int


def loud_part(speech: np.ndarray) -> tuple[int, int]:
    """First sample and the one behind the last of what is spoken."""
    steps = speech[: len(speech) // STEP_SAMPLES * STEP_SAMPLES].reshape(-1, STEP_SAMPLES)
    if not len(steps):
        return 0, len(speech)
    levels = 10.0 * np.log10(np.square(steps).mean(axis=1) + 1e-10)
    floor = np.quantile(levels, 0.1)
    loud = np.flatnonzero(
        levels > max(levels.max() - SPEECH_WITHIN_DB, min(floor + 8.0, levels.max() - 12.0))
    )
    return int(loud[0]) * STEP_SAMPLES, (int(loud[-1]) + 1) * STEP_SAMPLES


class Varied:
    """Makes views of recordings.

    Args:
        noises: recorded noise, which may be empty.
        babble: speech of others, which may be empty.
    """

    def __init__(self, noises: list[np.ndarray], babble: list[np.ndarray]) -> None:
        self.noises, self.babble = noises, babble

    def noise(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """Of power 1: recorded, of many voices, or coloured."""
        kind = rng.random()
        if self.noises and kind < 0.4:
            chosen = self.noises[rng.integers(len(self.noises))]
            return unit(np.resize(np.roll(chosen, rng.integers(len(chosen))), samples))
        if self.babble and kind < 0.6:
            voices = [self.babble[n] for n in rng.integers(len(self.babble), size=5)]
            mixed = sum(unit(np.resize(np.roll(v, rng.integers(len(v))), samples)) for v in voices)
            return unit(mixed)
        return coloured(rng, samples, -rng.uniform(0.0, 6.0))

    def silence(self, rng: np.random.Generator) -> np.ndarray:
        """Noise alone, 0.2 to 1.6 s; every second one in gusts."""
        samples = int(rng.uniform(0.2, 1.6) * SAMPLE_RATE_HZ)
        found = 10.0 ** rng.uniform(-3.0, -0.5) * self.noise(rng, samples)
        if rng.random() < 0.5:
            knots = rng.standard_normal(2 + int(rng.uniform(1.0, GUSTS_PER_S)))
            level = np.interp(np.linspace(0, len(knots) - 1, samples), np.arange(len(knots)), knots)
            found *= 10.0 ** (GUSTS_DB / 20.0 * level)
        return found.clip(-1, 1)

    def view(self, speech: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
        """View ``number`` of a recording: 0 as it is, 1 cut close, others changed as well."""
        first, end = loud_part(speech)
        if number == 0:
            return speech if len(speech) <= MOST_SAMPLES else speech[max(0, first - 2400) :]
        before, behind = rng.uniform(0.03, 0.25, 2) * SAMPLE_RATE_HZ
        cut = speech[max(0, first - int(before)) : end + int(behind)]
        if number == 1:
            return cut
        if number % 3 == 0:
            shift = int(rng.uniform(0.0, 0.2) * SAMPLE_RATE_HZ)
            cut = speech[min(shift, first) :] if rng.random() < 0.5 else np.pad(speech, (shift, 0))
        speed = rng.uniform(0.85, 1.18)
        places = np.arange(0.0, len(cut) - 1, speed)
        cut = np.interp(places, np.arange(len(cut)), cut)[:MOST_SAMPLES]
        cut = self._filtered(cut, rng)
        if rng.random() < 0.3:
            length = int(rng.uniform(0.05, 0.3) * SAMPLE_RATE_HZ)
            room = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
            echo = unit(fftconvolve(cut, room)[: len(cut)]) * np.sqrt(np.square(cut).mean())
            cut = cut + rng.uniform(0.1, 0.7) * echo
        if rng.random() < 0.8:
            level = 10.0 ** (-rng.uniform(3.0, 35.0) / 20.0)
            loud = np.sqrt(np.square(cut).mean())
            cut = cut + level * loud * self.noise(rng, len(cut))
        peak = max(float(np.abs(cut).max()), 1e-6)
        if rng.random() < 0.1:
            cut = (cut / peak * rng.uniform(1.5, 6.0)).clip(-1.0, 1.0)
            peak = 1.0
        return cut / peak * 10.0 ** rng.uniform(-1.5, 0.0)

    def _filtered(self, speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Through a random microphone, one time in four that of a telephone."""
        size = fft.next_fast_len(len(speech), real=True)
        spectrum = fft.rfft(speech, size)
        hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, len(spectrum))
        at = np.array([0.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 12000.0])
        gain_db = np.interp(hz, at, rng.uniform(-6.0, 6.0, len(at)))
        if rng.random() < 0.25:
            gain_db = np.where((hz < 250.0) | (hz > 3600.0), -60.0, gain_db)
        return fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), size)[: len(speech)]


def corpora_of(clips: list[Clip], rows: list[View]) -> list[dict]:
    """Of each corpus, recordings and speakers that are learned from, and speakers kept."""
    kept = {row.clip for row in rows if row.fold < 0}
    found = {}
    for number, clip in enumerate(clips):
        one = found.setdefault(clip.corpus, {"recordings": 0, "speakers": set(), "kept": set()})
        one["recordings"] += number not in kept
        one["kept" if number in kept else "speakers"].add(clip.speaker)
    return [
        {"corpus": name, "recordings": one["recordings"]}
        | {key: len(one[key] - {"-"}) for key in ("speakers", "kept")}
        for name, one in sorted(found.items())
    ]


class Views:
    """Views on disk: rows, log-mel spectra, and what a teacher found in them.

    Args:
        work: folder of a recipe.
    """

    def __init__(self, work: Path) -> None:
        facts = json.loads((work / "views.json").read_text())
        self.labels, self.sum = tuple(facts["labels"]), facts["sum"]
        self.rows = [View(*row) for row in facts["rows"]]
        self.fft = facts["fft"]
        shape = (len(self.rows), facts["bands"], MOST_STEPS)
        self.mel = np.memmap(work / "views.f16", dtype=np.float16, mode="r", shape=shape)
        self.features = None
        if "features" in facts:
            shape = (len(self.rows), *facts["features"])
            self.features = np.memmap(work / "features.f16", np.float16, mode="r", shape=shape)
        self.taught = facts["taught_views"]
        self.label = np.array([row.label for row in self.rows])
        self.fold = np.array([row.fold for row in self.rows])
        self.number = np.array([row.number for row in self.rows])
        self.clip = np.array([row.clip for row in self.rows])
        self.corpus = np.array([facts["of"][n] if n >= 0 else "noise" for n in self.clip])

    def heard(self, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` that the teacher has heard."""
        commands = self.label[rows] < len(self.labels) - 2
        return rows[is_heard(self.number[rows], self.clip[rows], commands, self.taught)]


def is_heard(number: np.ndarray, clip: np.ndarray, command: np.ndarray, taught: int) -> np.ndarray:
    """Which views the teacher hears: the first ones of each command, and some of what is none."""
    some = np.where(clip < 0, number, clip) % HEARD_OF_OTHERS == 0
    return ((number < taught) | (clip < 0)) & (command | some)


def examples(
    labels: tuple[str, ...], commands: list[Path], other: Path | None, facts: dict, seed: int
) -> tuple[list[Clip], list[np.ndarray], list[View]]:
    """Recordings, their speech, and the rows of all their views.

    Args:
        facts: of the config: ``views`` of a command, ``other_views`` of what is unknown,
            ``other`` such recordings at most, ``noise`` examples, and ``taught_views``: of each
            recording, those that the teacher hears.

    Raises:
        ValueError: a label has no recording, or nothing can be read.
    """
    clips = [clip for source in commands for clip in clips_of(source)]
    checked_examples(clips, labels)
    print(f"reading {len(clips)} recordings", flush=True)
    clips, speech = decoded_clips(clips)
    if other is not None:
        print("cutting utterances out of other speech", flush=True)
        more = spoken_parts(other, facts["other"], seed, labels)
        clips, speech = clips + more[0], speech + more[1]
    alone = all(c.speaker == clips[0].speaker for c in clips)
    rows = []
    for n, clip in enumerate(clips):
        key = str(clip.path) if alone else clip.speaker
        dev = is_development(clip) if not alone else bucket(f"dev {key}", 10) == 0
        fold = -1 if dev else bucket(f"fold {key}", FOLDS)
        label = label_of(clip, labels)
        if clip.label == SILENCE:
            label = len(labels) - 1
        count = facts["other_views"] if clip.label not in labels[:-2] else facts["views"]
        rows += [View(n, v, label, fold) for v in range(2 if dev else count)]
    rows += [View(-1, n, len(labels) - 1, n % FOLDS) for n in range(facts["noise"])]
    return clips, speech, rows


def prepare(
    work: Path,
    labels: tuple[str, ...],
    commands: list[Path],
    other: Path | None,
    config: dict,
    teacher: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Views:
    """Makes the views that are not there yet; a second call goes on where the first one ended.

    Args:
        work: folder to write to.
        labels: of the commands.
        commands: recordings, see :func:`clips_of`.
        other: speech, see :func:`spoken_parts`.
        config: of the recipe.
        teacher: speech ``[n, 38400]`` to features ``[n, steps, width]``, which are kept as well.

    Raises:
        ValueError: the folder holds views of other recordings.
    """
    facts, seed = config["views"], config["seed"]
    bands, fft = config["bands"], config["fft"]
    work.mkdir(parents=True, exist_ok=True)
    clips, speech, rows = examples(labels, commands, other, facts, seed)
    # Of speakers that are learned from: those kept apart must not be heard in any way.
    learned = {row.clip for row in rows if row.fold >= 0}
    heard = [(clips[n], speech[n]) for n in sorted(learned) if n >= 0]
    noises = [samples for clip, samples in heard if clip.label == SILENCE]
    babble = [samples for clip, samples in heard if clip.label not in (*labels[:-2], SILENCE)]
    varied = Varied(noises, babble)
    listed = [[str(c.path), c.label, c.speaker, len(s)] for c, s in zip(clips, speech, strict=True)]
    told = json.dumps([labels, listed, facts, seed, bands, fft]).encode()
    found = {
        "labels": labels,
        "bands": bands,
        "fft": fft,
        "taught_views": facts["taught_views"],
        "sum": hashlib.sha256(told).hexdigest(),
        "corpora": corpora_of(clips, rows),
        "of": [clip.corpus for clip in clips],
    }
    index, partial_path, mel_path = (work / n for n in ("views.json", "views.partial", "views.f16"))
    if index.exists():
        if json.loads(index.read_text())["sum"] != found["sum"]:
            raise ValueError(
                f"{work} holds views of other recordings, labels or settings: take another work "
                "folder, or move this one away"
            )
        return Views(work)
    sums = [found["sum"], getattr(teacher, "sum", None)]
    done = done_of(partial_path, sums)
    mode, spectrum = "r+" if done else "w+", LogMel(bands, fft)
    mel = np.memmap(mel_path, np.float16, mode, shape=(len(rows), bands, MOST_STEPS))
    if teacher is not None:
        found["features"] = list(teacher(np.zeros((1, MOST_SAMPLES), np.float32)).shape[1:])
        shape = (len(rows), *found["features"])
        features = np.memmap(work / "features.f16", np.float16, mode, shape=shape)
    began = time.monotonic()
    for first, pieces in pieces_of(rows, speech, varied, seed, done):
        end = first + len(pieces)
        mel[first:end] = spectrum(torch.from_numpy(pieces)).numpy()
        if teacher is not None:
            part = np.array([(r.number, r.clip, r.label) for r in rows[first:end]]).T
            command = part[2] < len(labels) - 2
            chosen = np.flatnonzero(is_heard(part[0], part[1], command, facts["taught_views"]))
            if len(chosen):
                features[first + chosen] = teacher(pieces[chosen])
        if end == len(rows) or end // PIECE % 10 == 0:
            mel.flush()
            if teacher is not None:
                features.flush()
            partial_path.write_text(json.dumps({"sums": sums, "done": end}))
            left = (time.monotonic() - began) / (end - done) * (len(rows) - end) / 60
            print(f"views: {end} of {len(rows)}, {left:.1f} min left", flush=True)
    with replacing(index) as partial:
        partial.write_text(json.dumps(found | {"rows": [list(asdict(r).values()) for r in rows]}))
    return Views(work)


def done_of(path: Path, sums: list[str | None]) -> int:
    """Rows that a call which was stopped has made; 0 where they are of something else."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return 0
    if not isinstance(facts, dict) or facts.get("sums") != sums:
        print(f"{path.parent} holds a part of other views: they are made anew", flush=True)
        return 0
    return facts["done"]


def pieces_of(
    rows: list[View], speech: list[np.ndarray], varied: Varied, seed: int, first: int = 0
) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first row and speech ``[n, 38400]`` of one piece after the other."""
    for start in range(first, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        yield start, np.stack([padded(speech_of(row, speech, varied, seed)) for row in piece])


def speech_of(row: View, speech: list[np.ndarray], varied: Varied, seed: int) -> np.ndarray:
    """The speech of one row, always the same."""
    rng = np.random.default_rng([seed, row.clip + 1, row.number])
    if row.clip < 0:
        return varied.silence(rng)
    return varied.view(speech[row.clip], row.number, rng)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of speech as a light encoder sees them, and what a large one hears in them, stored once.

Any speech will do, without labels: of many voices more can be learned than commands tell.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..features.student import MOST_SAMPLES, LogMel, padded
from ..files import replacing
from ..speech.activity import MOST_STEPS, STEP_SAMPLES
from ..speech.files import read_audio, rows_of
from ..speech.format import SAMPLE_RATE_HZ
from .command_views import Varied
from .commands import SILENCE, Clip, clips_of, is_development

PIECE = 64
# A piece lasts so long, in steps of 10 ms, and is cut at a quiet place that near.
LEAST_CUT, MOST_CUT, NEAR = 30, 140, 8
QUIET_SAMPLES, FADE_SAMPLES = SAMPLE_RATE_HZ // 4, 120
# Of a file, and views of a command: as it is, cut close.
OF_FILE, OF_COMMAND = 3, 2
# Every fifth piece is cut close, the others are changed as well.
CLOSE_SHARE = 0.2
SAY_EACH = 20


class Heard:
    """Pieces on disk.

    Args:
        work: folder of a recipe.

    Attributes:
        mel: float16 ``[n, bands, 160]``. features: float16 ``[n, steps, width]``.
        kept: whether a piece is of a speaker who is kept for development.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, work: Path) -> None:
        if not (work / "heard.json").exists():
            raise ValueError(f"{work} holds no speech that a large model has heard")
        facts = json.loads((work / "heard.json").read_text())
        self.sum, self.bands, self.fft = facts["sum"], facts["bands"], facts["fft"]
        self.kept = np.array(facts["kept"])
        self.mel, self.features = opened(work, "r", len(self.kept), facts)


def opened(work: Path, mode: str, count: int, facts: dict) -> tuple[np.memmap, np.memmap]:
    """Spectra and features as memory maps."""
    shape = (count, facts["bands"], MOST_STEPS)
    mel = np.memmap(work / "heard_mel.f16", np.float16, mode, shape=shape)
    shape = (count, *facts["features"])
    return mel, np.memmap(work / "heard_features.f16", np.float16, mode, shape=shape)


def piece_of(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """About a word to a few, cut at quiet places, between two silences of 0.25 s."""
    steps = speech[: len(speech) // STEP_SAMPLES * STEP_SAMPLES].reshape(-1, STEP_SAMPLES)
    level = np.square(steps).mean(axis=1)
    length = int(rng.uniform(LEAST_CUT, MOST_CUT))
    first = int(rng.integers(0, max(1, len(level) - length)))

    def quiet(at: int) -> int:
        low = max(0, at - NEAR)
        return low + int(np.argmin(level[low : at + NEAR + 1]))

    first, end = quiet(first), quiet(min(first + length, len(level) - 1))
    end = max(end, first + LEAST_CUT)
    found = speech[first * STEP_SAMPLES : end * STEP_SAMPLES].copy()
    fade = np.linspace(0.0, 1.0, min(FADE_SAMPLES, len(found) // 2), dtype=np.float32)
    found[: len(fade)] *= fade
    found[len(found) - len(fade) :] *= fade[::-1]
    return np.pad(found, QUIET_SAMPLES)


def sources_of(speech: Path, commands: list[Path], most: int, seed: int) -> list[tuple[Clip, int]]:
    """Recordings and the number of the piece or view, in the order in which they are drawn."""
    folder, rows = rows_of(speech)
    clips = [Clip(folder / r["path"], "", r["speaker"], r["corpus"]) for r in rows]
    said = [clip for source in commands for clip in clips_of(source)]
    rng = np.random.default_rng(seed)
    pieces = [(clip, number) for clip in clips for number in range(OF_FILE)]
    chosen = [pieces[n] for n in rng.permutation(len(pieces))[:most]]
    chosen += [(c, n) for c in said for n in range(OF_COMMAND) if c.label != SILENCE]
    return [chosen[n] for n in rng.permutation(len(chosen))]


def prepare_heard(
    work: Path,
    speech: Path,
    commands: list[Path],
    config: dict,
    teacher: Callable[[np.ndarray], np.ndarray],
) -> Heard:
    """Makes the pieces that are not there yet; a second call goes on where the first one ended.

    Args:
        work: folder to write to.
        speech: table or folder of any speech.
        commands: recordings of commands, which are heard as well.
        config: of the recipe: ``seed``, ``bands``, ``fft``, ``pieces`` of speech at most.
        teacher: speech ``[n, 38400]`` to features ``[n, steps, width]``; has a ``sum``.

    Raises:
        ValueError: the folder holds pieces of other speech.
    """
    work.mkdir(parents=True, exist_ok=True)
    sources = sources_of(speech, commands, config["pieces"], config["seed"])
    kept = [is_development(clip) for clip, _ in sources]
    facts = {name: config[name] for name in ("bands", "fft")} | {"kept": kept}
    facts["corpora"] = pieces_of_corpora(sources, kept)
    facts["features"] = list(teacher(np.zeros((1, MOST_SAMPLES), np.float32)).shape[1:])
    told = [[str(clip.path), number] for clip, number in sources]
    told = json.dumps([told, config["seed"], facts["bands"], facts["fft"], teacher.sum])
    facts["sum"] = hashlib.sha256(told.encode()).hexdigest()
    index, partial_path = work / "heard.json", work / "heard.partial"
    if index.exists():
        if Heard(work).sum != facts["sum"]:
            raise ValueError(f"{work} holds pieces of other speech or settings: move it away")
        return Heard(work)
    done = 0
    if partial_path.exists():
        before = json.loads(partial_path.read_text())
        done = before["done"] if before["sum"] == facts["sum"] else 0
    mel, features = opened(work, "r+" if done else "w+", len(sources), facts)
    spectrum, began = LogMel(facts["bands"], facts["fft"]), time.monotonic()
    for first, pieces in pieces_from(sources, done, config["seed"]):
        end = first + len(pieces)
        mel[first:end] = spectrum(torch.from_numpy(pieces)).numpy()
        features[first:end] = teacher(pieces)
        if end == len(sources) or end // PIECE % SAY_EACH == 0:
            mel.flush()
            features.flush()
            partial_path.write_text(json.dumps({"sum": facts["sum"], "done": end}))
            left = (time.monotonic() - began) / (end - done) * (len(sources) - end) / 60
            print(f"heard: {end} of {len(sources)}, {left:.1f} min left", flush=True)
    with replacing(index) as partial:
        partial.write_text(json.dumps(facts))
    return Heard(work)


def pieces_of_corpora(sources: list[tuple[Clip, int]], kept: list[bool]) -> dict[str, int]:
    """How many pieces of each corpus are learned from."""
    learned = Counter(c.corpus for (c, _), k in zip(sources, kept, strict=True) if not k)
    return dict(sorted(learned.items()))


def pieces_from(
    sources: list[tuple[Clip, int]], first: int, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first one and speech ``[n, 38400]``; of a file that cannot be read, silence."""
    varied = Varied([], [])
    for start in range(first, len(sources), PIECE):
        found = []
        for place, (clip, number) in enumerate(sources[start : start + PIECE], start):
            rng = np.random.default_rng([seed, place])
            try:
                speech = read_audio(clip.path)
            except (OSError, RuntimeError, soundfile.LibsndfileError) as error:
                print(f"{clip.path} cannot be read: {error}", flush=True)
                speech = np.zeros(0, dtype=np.float32)
            if len(speech) < STEP_SAMPLES:
                speech = np.zeros(MOST_SAMPLES, dtype=np.float32)
            if not clip.label:
                number = 1 if rng.random() < CLOSE_SHARE else 2
                speech = piece_of(speech, rng)
            found.append(padded(varied.view(speech, number, rng)))
        yield start, np.stack(found)

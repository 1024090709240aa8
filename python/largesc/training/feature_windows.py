# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of speech as a large model's features, with what its decoder makes of them, on disk.

Debian's prompts come first, the half that no study judges, then drawn speech. What is held apart
for development: of the prompts every sixth text, in all languages; of the speech the speakers that
`training/speech.py` keeps.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..channel_codec.linear import BLOCK_FRAMES
from ..features.log_mel import LEAST, LogMel, as_bytes, from_bytes
from ..features.whisper import FEATURES_PER_S, STRIDE, Whisper
from ..features.window import TAIL
from ..files import replacing
from ..speech.files import read_audio, rows_of
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.prompts import PACKAGE, RATE_HZ, Prompt, is_kept, prompts, speech_of
from .speech import Utterance, split

ENGLISH = "en"
# A block in log-mel frames.
BLOCK_STEPS = BLOCK_FRAMES * STRIDE
# Log-mel frames of a window: longer speech is cut where it is quiet, shorter is left out.
MOST_STEPS, CUT_STEPS, LEAST_STEPS = 1100, (500, 1000), 50
QUIET_STEPS, LEAST_REST = 10, 200
SAY_EACH = 100


@dataclass(frozen=True)
class FeatureWindow:
    """A window of speech.

    Attributes:
        source: number of the recording.
        start: its first feature frame among all.
        frames: how many there are, a multiple of 4.
        corpus, language: of the speech.
        kept: for development.
        tokens: prompt of the decoder, what it wrote, and the end.
        prompt: tokens of the prompt.
        confidence: mean log probability of a token.
    """

    source: int
    start: int
    frames: int
    corpus: str
    language: str
    kept: bool
    tokens: tuple[int, ...]
    prompt: int
    confidence: float


class FeatureWindows:
    """What :func:`prepare_windows` wrote.

    Args:
        work: folder of a recipe.

    Attributes:
        learned, kept: windows to learn from, and for development.
        minutes: of speech that is learned from, by corpus.
    """

    def __init__(self, work: Path) -> None:
        self.width = json.loads((work / "windows.json").read_text())["width"]
        rows = read_rows(work / "windows.jsonl")
        self._features = np.memmap(work / "windows.f16", np.float16, "r").reshape(-1, self.width)
        self.learned = [row for row in rows if not row.kept]
        self.kept = [row for row in rows if row.kept]
        frames = Counter()
        for row in self.learned:
            frames[row.corpus] += row.frames
        self.minutes = {c: round(n / FEATURES_PER_S / 60, 1) for c, n in frames.items()}

    def features(self, window: FeatureWindow, first: int = 0, frames: int | None = None):
        """Features of a window from its frame ``first`` on, float32 ``[frames, width]``."""
        begin = window.start + first
        end = window.start + window.frames if frames is None else begin + frames
        return self._features[begin:end].astype(np.float32)


def read_rows(path: Path) -> list[FeatureWindow]:
    """Windows of a list, up to where its writing was interrupted."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        found.append(FeatureWindow(**row | {"tokens": tuple(row["tokens"])}))
    return found


def sources_of(config: dict, speech: Path) -> list[tuple[Prompt | Path, str, str, bool]]:
    """Recordings in their order: where, corpus, language, and whether it is kept."""
    found = []
    for language in config["prompts"]:
        corpus = f"{PACKAGE}-{language}"
        for prompt in prompts(language, fitted=True):
            found.append((prompt, corpus, language, is_kept(prompt.reference)))
    folder, rows = rows_of(speech)
    listed = [Utterance(row["path"], row["corpus"], row["speaker"], 0, 0) for row in rows]
    learned, kept = split(listed)
    apart, every = {u.path for u in kept}, [*learned, *kept]
    for number in np.random.default_rng(config["seed"]).permutation(len(every)):
        u = every[number]
        language = config["languages"].get(u.corpus, ENGLISH)
        found.append((folder / u.path, u.corpus, language, u.path in apart))
    return found


def cut(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Windows of log-mel ``[n, bands]``, cut where it is quiet."""
    while len(frames) > MOST_STEPS:
        first, last = CUT_STEPS[0], min(CUT_STEPS[1], len(frames) - LEAST_REST)
        around = np.convolve(frames.max(axis=1), np.ones(QUIET_STEPS) / QUIET_STEPS, "same")
        place = round((first + int(around[first:last].argmin())) / BLOCK_STEPS) * BLOCK_STEPS
        yield frames[:place]
        frames = frames[place:]
    if len(frames) >= LEAST_STEPS:
        yield frames


def windows_of(model: Whisper, samples: np.ndarray, rate_hz: int) -> Iterator[np.ndarray]:
    """Features ``[4 n, width]`` of each window of a recording, as an edge finds them."""
    quiet = np.full((TAIL, model.bands), LEAST, dtype=np.float32)
    for frames in cut(LogMel(rate_hz, model.bands).push(samples)):
        heard = from_bytes(as_bytes(frames))
        blocks = -(-len(frames) // BLOCK_STEPS)
        found = model.encode(np.concatenate([heard, quiet]))[: blocks * BLOCK_FRAMES]
        yield found[: len(found) // BLOCK_FRAMES * BLOCK_FRAMES]


def prepare_windows(work: Path, speech: Path, config: dict, model: Whisper) -> FeatureWindows:
    """Finds what is not there yet; a second call goes on where the first one ended.

    Args:
        work: folder to write to.
        speech: table or folder of speech.
        config: of the recipe: ``seed``, ``hours``, ``least_s``, ``prompts``, ``languages``.
        model: the large model.

    Raises:
        ValueError: the folder holds windows of other speech, or there is none.
    """
    work.mkdir(parents=True, exist_ok=True)
    sources = sources_of(config, speech)
    told = [[str(getattr(s[0], "path", s[0])), *s[1:]] for s in sources]
    told = json.dumps([told, config["hours"], model.name, model.width])
    facts = {"sum": hashlib.sha256(told.encode()).hexdigest(), "width": model.width}
    index, listed = work / "windows.json", work / "windows.jsonl"
    if index.exists():
        if json.loads(index.read_text())["sum"] != facts["sum"]:
            raise ValueError(f"{work} holds windows of other speech or settings: move it away")
        return FeatureWindows(work)
    # The last recording may not be whole.
    rows = read_rows(listed)
    rows = [row for row in rows if row.source < rows[-1].source]
    listed.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    at = rows[-1].start + rows[-1].frames if rows else 0
    most = round(config["hours"] * 3600 * FEATURES_PER_S)
    with (work / "windows.f16").open("ab") as out, listed.open("a") as lines:
        out.truncate(at * model.width * 2)
        for number in range(rows[-1].source + 1 if rows else 0, len(sources)):
            if at >= most:
                break
            where, corpus, language, kept = sources[number]
            prompt = isinstance(where, Prompt)
            samples = speech_of(where) if prompt else read_audio(where)
            if not prompt and len(samples) < config["least_s"] * SAMPLE_RATE_HZ:
                continue
            for found in windows_of(model, samples, RATE_HZ if prompt else SAMPLE_RATE_HZ):
                tokens, begin, confidence = written(model, found, language)
                row = FeatureWindow(
                    number, at, len(found), corpus, language, kept, tokens, begin, confidence
                )
                found.astype(np.float16).tofile(out)
                out.flush()
                print(json.dumps(asdict(row)), file=lines, flush=True)
                at += len(found)
            if number % SAY_EACH == 0:
                print(f"windows: {at / most:.1%} of {config['hours']} h", flush=True)
    if not at:
        raise ValueError(f"no speech of {config['least_s']} s or more in {speech}: give more")
    with replacing(index) as partial:
        partial.write_text(json.dumps(facts))
    return FeatureWindows(work)


def written(
    model: Whisper, features: np.ndarray, language: str
) -> tuple[tuple[int, ...], int, float]:
    """Tokens of the English text of a window, how many are of the prompt, and the confidence."""
    found = model.decode(np.concatenate([features, model.silence]), language)
    prompt = model.prompt(language)
    return (*prompt, *found.tokens, model.end), len(prompt), found.confidence

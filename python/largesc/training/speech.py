# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of speech as one 24 kHz memory map with an index by utterance."""

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from ..files import replacing
from ..speech.files import FULL_SCALE, read_audio, rows_of, to_pcm16

PITCH_STEP_SAMPLES = 240
SILENT_BELOW = 1e-4
DEV_EVERY = 50
# Columns of the envelope, of which more follow; see world.py.
BANDS = 80
SILENCE_LOG_POWER = -27.6


@dataclass(frozen=True)
class Utterance:
    """Where one utterance lies in the memory map: ``start`` and ``samples`` at 24 kHz."""

    path: str
    corpus: str
    speaker: str
    start: int
    samples: int


def prepare(source: Path, cache: Path) -> list[Utterance]:
    """Decodes all speech of ``source`` (see :func:`rows_of`) once into ``cache``.

    A second call finds the finished cache and only reads its index. Files that are missing, cannot
    be read or hold nothing but silence are left out and counted.

    Raises:
        ValueError: no speech is left, or the cache is of other speech.
    """
    index, (folder, rows) = cache / "index.json", rows_of(source)
    names = [[row[column] for column in ("path", "corpus", "speaker")] for row in rows]
    listed = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    if index.exists():
        before = cache / "listed.sha256"
        if before.exists() and before.read_text() != listed:
            raise ValueError(
                f"{cache} holds other speech than {source} lists: take another work folder, or "
                "move this one away"
            )
        return cached(cache)
    cache.mkdir(parents=True, exist_ok=True)
    found, start, left_out = [], 0, {"missing": 0, "unreadable": 0, "silent": 0}
    with (cache / "speech.i16").open("wb") as out:
        for number, row in enumerate(rows):
            path = folder / row["path"]
            if not path.exists():
                left_out["missing"] += 1
                continue
            try:
                audio = read_audio(path)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                left_out["unreadable"] += 1
                print(f"{path} cannot be read: {error}", flush=True)
                continue
            if not len(audio) or np.abs(audio).max() < SILENT_BELOW:
                left_out["silent"] += 1
                continue
            pcm = to_pcm16(audio)
            out.write(pcm.tobytes())
            found.append(Utterance(row["path"], row["corpus"], row["speaker"], start, len(pcm)))
            start += len(pcm)
            if number % 500 == 0:
                print(f"decoding speech: {number} of {len(rows)} files", flush=True)
    said = ", ".join(f"{count} {why}" for why, count in left_out.items())
    print(f"decoded {len(found)} files, left out: {said}", flush=True)
    if not found:
        raise ValueError(f"no speech in {source}: of {len(rows)} files {said}")
    (cache / "listed.sha256").write_text(listed)
    with replacing(index) as partial:
        partial.write_text(json.dumps([asdict(u) for u in found]))
    return found


def cached(cache: Path) -> list[Utterance]:
    """The index that :func:`prepare` wrote."""
    return [Utterance(**row) for row in json.loads((cache / "index.json").read_text())]


def open_samples(cache: Path) -> np.ndarray:
    """The memory map that :func:`prepare` wrote, int16 ``[all samples]``."""
    return np.memmap(cache / "speech.i16", dtype=np.int16, mode="r")


def split(
    utterances: list[Utterance], held_out_speakers: int = 10, dev_fraction: float = 0.02
) -> tuple[list[Utterance], list[Utterance]]:
    """Splits off the dev speakers; returns ``(train, dev)``.

    The last ``held_out_speakers`` of speechocean762 appear in neither: they stay unseen for the
    figures on non-native English. Where no speaker can be spared, dev has each 50th utterance.

    Raises:
        ValueError: there is only one utterance.
    """
    ocean = sorted({u.speaker for u in utterances if u.corpus == "speechocean762"})
    unseen = set(ocean[-held_out_speakers:]) if held_out_speakers else set()
    speakers = sorted(
        {(u.corpus, u.speaker) for u in utterances} - {("speechocean762", s) for s in unseen}
    )
    dev = set(random.Random(0).sample(speakers, max(1, round(dev_fraction * len(speakers)))))
    # A corpus of one speaker would vanish from training as a whole.
    single = {c for c in {c for c, _ in speakers} if sum(k == c for k, _ in speakers) == 1}
    dev = {(c, s) for c, s in dev if c not in single}
    keep = [u for u in utterances if not (u.corpus == "speechocean762" and u.speaker in unseen)]
    if not dev:
        if len(keep) < 2:
            raise ValueError("one utterance is too few: some of the speech is kept from training")
        dev_set = keep[1::DEV_EVERY]
        return [u for n, u in enumerate(keep) if n % DEV_EVERY != 1], dev_set
    return (
        [u for u in keep if (u.corpus, u.speaker) not in dev],
        [u for u in keep if (u.corpus, u.speaker) in dev],
    )


class Crops:
    """Random crops of a fixed length, with a random level, and their pitch.

    Args:
        samples: memory map of :func:`open_samples`.
        world: pitch and envelope of it, see :func:`.world.prepare_world`.
        utterances: where to crop from, chosen in proportion to their length.
        length: samples a crop, a multiple of 240.
        seed: of the choice.
    """

    def __init__(
        self,
        samples: np.ndarray,
        world: tuple[np.ndarray, np.ndarray],
        utterances: list[Utterance],
        length: int,
        seed: int,
    ) -> None:
        self.samples, self.length = samples, length
        self.pitch, self.envelope = world
        self.utterances = [u for u in utterances if u.samples > length // 2]
        if not self.utterances:
            raise ValueError(f"no utterance is longer than half a crop of {length} samples")
        weights = np.array([u.samples for u in self.utterances], dtype=np.float64)
        self.weights = weights / weights.sum()
        self.rng = np.random.default_rng(seed)

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Float32 speech ``[size, length]``, its pitch in Hz and its envelope, a row each 10 ms.

        Crops peak at -26 to -0.5 dBFS, one in ten lower.
        """
        steps = self.length // PITCH_STEP_SAMPLES
        out = np.zeros((size, self.length), dtype=np.float32)
        pitch = np.zeros((size, steps), dtype=np.float32)
        envelope = np.zeros((size, steps, self.envelope.shape[1]), dtype=np.float32)
        # Past the end of an utterance there is silence, which is noise.
        envelope[:, :, :BANDS] = SILENCE_LOG_POWER
        for row, choice in enumerate(self.rng.choice(len(self.utterances), size, p=self.weights)):
            u = self.utterances[choice]
            most = max(1, (u.samples - self.length) // PITCH_STEP_SAMPLES)
            offset = int(self.rng.integers(0, most))
            start = u.start + offset * PITCH_STEP_SAMPLES
            piece = self.samples[start : min(u.start + u.samples, start + self.length)]
            low, high = (-46.0, -26.0) if self.rng.random() < 0.1 else (-26.0, -0.5)
            peak = max(float(np.abs(piece).max()) / FULL_SCALE, 1e-3)
            gain = 10.0 ** (self.rng.uniform(low, high) / 20.0) / peak
            out[row, : len(piece)] = piece * np.float32(gain / FULL_SCALE)
            first = round(u.start / PITCH_STEP_SAMPLES) + offset
            count = len(piece) // PITCH_STEP_SAMPLES
            pitch[row, :count] = self.pitch[first : first + count]
            envelope[row, :count] = self.envelope[first : first + count]
            envelope[row, :count, :BANDS] += 2.0 * np.log(gain)
        return out, pitch, envelope

# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of speech as one 24 kHz memory map with an index by utterance."""

import csv
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from ..codec.spectral import SAMPLE_RATE_HZ

PITCH_STEP_SAMPLES = 240


@dataclass(frozen=True)
class Utterance:
    """Where one utterance lies in the memory map: ``start`` and ``samples`` at 24 kHz."""

    path: str
    corpus: str
    speaker: str
    start: int
    samples: int


def read_audio(path: Path) -> np.ndarray:
    """Reads any file that libsndfile knows, mixed to mono at 24 kHz, float32 ``[samples]``."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = audio.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        gcd = np.gcd(rate, SAMPLE_RATE_HZ)
        mono = resample_poly(mono, SAMPLE_RATE_HZ // gcd, rate // gcd).astype(np.float32)
    return mono


def prepare(table: Path, cache: Path) -> list[Utterance]:
    """Decodes every row of ``table`` (tsv with path, corpus, speaker) once into ``cache``.

    A second call finds the finished cache and only reads its index.

    Raises:
        ValueError: the table has no rows.
    """
    index = cache / "index.json"
    if index.exists():
        return [Utterance(**row) for row in json.loads(index.read_text())]
    cache.mkdir(parents=True, exist_ok=True)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows:
        raise ValueError(f"{table} lists no speech: expected tab-separated path, corpus, speaker")
    found, start, missing = [], 0, 0
    with (cache / "speech.i16").open("wb") as out:
        for number, row in enumerate(rows):
            if not (table.parent / row["path"]).exists():
                missing += 1
                continue
            audio = read_audio(table.parent / row["path"])
            pcm = np.clip(np.round(audio * 32767), -32768, 32767).astype(np.int16)
            out.write(pcm.tobytes())
            found.append(Utterance(row["path"], row["corpus"], row["speaker"], start, len(pcm)))
            start += len(pcm)
            if number % 500 == 0:
                print(f"decoding speech: {number} of {len(rows)} files", flush=True)
    print(f"decoded {len(found)} files, {missing} listed files are missing", flush=True)
    if not found:
        raise ValueError(f"none of the files that {table} lists exists")
    index.write_text(json.dumps([asdict(u) for u in found]))
    return found


def open_samples(cache: Path) -> np.ndarray:
    """The memory map that :func:`prepare` wrote, int16 ``[all samples]``."""
    return np.memmap(cache / "speech.i16", dtype=np.int16, mode="r")


def split(
    utterances: list[Utterance], held_out_speakers: int = 10, dev_fraction: float = 0.02
) -> tuple[list[Utterance], list[Utterance]]:
    """Splits off the dev speakers; returns ``(train, dev)``.

    The last ``held_out_speakers`` of speechocean762 appear in neither: they stay unseen for the
    figures on non-native English.
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
    return (
        [u for u in keep if (u.corpus, u.speaker) not in dev],
        [u for u in keep if (u.corpus, u.speaker) in dev],
    )


class Crops:
    """Random crops of a fixed length, with a random level, and their pitch.

    Args:
        samples: memory map of :func:`open_samples`.
        pitch: Hz each 240 samples of it, 0 where unvoiced.
        utterances: where to crop from, chosen in proportion to their length.
        length: samples a crop, a multiple of 240.
        seed: of the choice.
    """

    def __init__(
        self,
        samples: np.ndarray,
        pitch: np.ndarray,
        utterances: list[Utterance],
        length: int,
        seed: int,
    ) -> None:
        self.samples, self.pitch, self.length = samples, pitch, length
        self.utterances = [u for u in utterances if u.samples > length // 2]
        if not self.utterances:
            raise ValueError(f"no utterance is longer than half a crop of {length} samples")
        weights = np.array([u.samples for u in self.utterances], dtype=np.float64)
        self.weights = weights / weights.sum()
        self.rng = np.random.default_rng(seed)

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Float32 speech ``[size, length]`` and pitch in Hz ``[size, length / 240]``.

        Crops peak at -26 to -0.5 dBFS, one in ten lower.
        """
        out = np.zeros((size, self.length), dtype=np.float32)
        pitch = np.zeros((size, self.length // PITCH_STEP_SAMPLES), dtype=np.float32)
        for row, choice in enumerate(self.rng.choice(len(self.utterances), size, p=self.weights)):
            u = self.utterances[choice]
            steps = max(1, (u.samples - self.length) // PITCH_STEP_SAMPLES)
            offset = int(self.rng.integers(0, steps)) * PITCH_STEP_SAMPLES
            piece = self.samples[u.start + offset : u.start + min(u.samples, offset + self.length)]
            out[row, : len(piece)] = piece / 32768.0
            first = round(u.start / PITCH_STEP_SAMPLES) + offset // PITCH_STEP_SAMPLES
            known = self.pitch[first : first + len(piece) // PITCH_STEP_SAMPLES]
            pitch[row, : len(known)] = known
            low, high = (-46.0, -26.0) if self.rng.random() < 0.1 else (-26.0, -0.5)
            peak = max(float(np.abs(out[row]).max()), 1e-3)
            out[row] *= 10.0 ** (self.rng.uniform(low, high) / 20.0) / peak
        return out, pitch

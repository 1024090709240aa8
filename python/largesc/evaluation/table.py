# SPDX-License-Identifier: GPL-3.0-or-later
"""Utterances in, rows of measures out: what the tables of results share."""

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from ..speech.files import rows_of
from ..tables import number_of
from .measures import MEASURES, missing

MOST_SECONDS = 12.0


def utterances(source: Path, per_speaker: int) -> list[dict]:
    """The first ``per_speaker`` utterances of each speaker, of at most 12 s.

    Rows of ``source`` (see :func:`..speech.files.rows_of`); ``file`` is added.
    """
    folder, rows = rows_of(source)
    count: dict[str, int] = {}
    chosen = []
    for row in rows:
        file = folder / row["path"]
        count.setdefault(row["speaker"], 0)
        if count[row["speaker"]] >= per_speaker or not file.exists():
            continue
        if float(row.get("seconds") or soundfile.info(file).duration) <= MOST_SECONDS:
            count[row["speaker"]] += 1
            chosen.append(row | {"file": str(file)})
    return chosen


def spread(rows: list[dict], count: int) -> list[dict]:
    """``count`` of the rows, one of each speaker in turn."""
    speakers: dict[str, list[dict]] = {}
    for row in rows:
        speakers.setdefault(row["speaker"], []).append(row)
    turns = itertools.zip_longest(*speakers.values())
    return [row for turn in turns for row in turn if row is not None][:count]


def usable(measures: str) -> list[str]:
    """Names of a comma-separated list; those that are not installed are named and left out.

    Raises:
        ValueError: a name is unknown.
    """
    names = measures.split(",")
    if unknown := [n for n in names if n not in MEASURES]:
        raise ValueError(f"measure {unknown[0]!r} is unknown: use some of {', '.join(MEASURES)}")
    if absent := missing(names):
        print(f"left out, not installed: {', '.join(absent)} (requirements-evaluation.txt)")
    return [n for n in names if n not in absent]


def run_jobs(score: Callable, jobs: list, processes: int) -> list[dict]:
    """All rows that ``score`` returns for ``jobs``, in their order."""
    rows: list[dict] = []
    with ProcessPoolExecutor(processes, initializer=one_thread) as pool:
        for done, found in enumerate(pool.map(score, jobs), 1):
            rows += found
            print(f"{done} of {len(jobs)}", flush=True)
    return rows


def one_thread() -> None:
    """One thread a process: the processes share the cores."""
    import torch

    torch.set_num_threads(1)


class Kept:
    """Results that a run need not make again: a file with a line of JSON for each.

    Args:
        path: of the file, which is there from an earlier run or not.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._found = path, {}
        if path.exists():
            for line in path.read_text().splitlines():
                key, value = json.loads(line)
                self._found[key] = value

    def missing(self, keys: list[str]) -> list[str]:
        """Those that are not there, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self._found]

    def add(self, key: str, value: object) -> None:
        """Writes one result."""
        self._found[key] = value
        with self._path.open("a") as file:
            file.write(json.dumps([key, value]) + "\n")

    def __getitem__(self, key: str) -> object:
        return self._found[key]


def paired(rows: list[dict], reference: str, name: str) -> dict[tuple, tuple[float, float, float]]:
    """Difference of each system to ``reference`` in the measure ``name``, utterance by utterance.

    Returns:
        For each (system, channel, loss): mean difference and its 95 % bootstrap interval.
    """
    place = ("channel", "loss", "utterance")
    base = {
        tuple(r[k] for k in place): number_of(r.get(name)) for r in rows if r["system"] == reference
    }
    apart: dict[tuple, list[float]] = {}
    for row in rows:
        key = tuple(row[k] for k in place)
        if row["system"] != reference and key in base:
            difference = number_of(row.get(name)) - base[key]
            apart.setdefault((row["system"], *key[:2]), []).append(difference)
    found = {}
    for key, values in apart.items():
        known = np.array(values)[~np.isnan(values)]
        if len(known):
            means = np.random.default_rng(0).choice(known, (1000, len(known))).mean(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            found[key] = float(known.mean()), float(low), float(high)
    return found

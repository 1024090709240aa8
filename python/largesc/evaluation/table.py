# SPDX-License-Identifier: GPL-3.0-or-later
"""Utterances in, a CSV and a Markdown table of means out: what the tables of results share."""

import csv
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from .measures import MEASURES, missing


def utterances(table: Path, per_speaker: int) -> list[dict]:
    """The first ``per_speaker`` utterances of each speaker, of at most 12 s.

    Rows of a tab-separated ``table`` with the columns path, corpus, speaker and seconds; ``file``
    is added.
    """
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    count: dict[str, int] = {}
    chosen = []
    for row in rows:
        count.setdefault(row["speaker"], 0)
        if count[row["speaker"]] < per_speaker and float(row.get("seconds") or 0) <= 12.0:
            count[row["speaker"]] += 1
            chosen.append(row | {"file": str(table.parent / row["path"])})
    return chosen


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


def write_csv(rows: list[dict], path: Path) -> None:
    """One line a row; columns are those of all rows, in the order of their appearance."""
    fields = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def bootstrap(values: list[float]) -> tuple[float, float]:
    """Mean of ``values`` and half of its 95 % bootstrap interval; NaN without values."""
    known = np.array(values, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan"), float("nan")
    means = np.random.default_rng(0).choice(known, (1000, len(known))).mean(axis=1)
    half = (np.quantile(means, 0.975) - np.quantile(means, 0.025)) / 2
    return float(known.mean()), float(half)


def number_of(cell: object) -> float:
    """A cell of a table or CSV; NaN where it is empty."""
    return float("nan") if cell is None or cell == "" else float(cell)


def markdown(rows: list[dict], labels: list[str], names: list[str]) -> str:
    """Means of ``names`` for each combination of ``labels``, with 95 % bootstrap intervals."""
    lines = ["| " + " | ".join([*labels, "utterances", *names]) + " |"]
    lines.append("|---" * (1 + len(labels) + len(names)) + "|")
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[label] for label in labels), []).append(row)
    for key in sorted(groups, key=lambda k: k[0]):
        cells = [*map(str, key), str(len(groups[key]))]
        for name in names:
            mean, half = bootstrap([number_of(row.get(name)) for row in groups[key]])
            digits = 0 if abs(mean) >= 100 else 2
            cells.append("–" if np.isnan(mean) else f"{mean:.{digits}f} ± {half:.{digits}f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

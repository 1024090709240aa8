# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of results: as CSV, as means with intervals, as differences, and as Markdown."""

import csv
from pathlib import Path

import numpy as np

from .files import replacing

RESAMPLES = 1000


def write_csv(rows: list[dict], path: Path) -> None:
    """One line a row; columns are those of all rows, in the order of their appearance.

    Raises:
        OSError: it could not be written; ``path`` is as it was before.
    """
    fields = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict]:
    """Rows of a CSV, all cells text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number_of(cell: object) -> float:
    """A cell of a table or CSV; NaN where it is empty."""
    return float("nan") if cell is None or cell == "" else float(cell)


def mean_interval(values: list[float]) -> tuple[float, float, float]:
    """Mean of ``values`` and its 95 % bootstrap interval.

    NaN among the values are left out. Without any value all is NaN; one value has no interval.
    """
    from scipy import stats

    known = np.array(values, dtype=float)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return float(known[0]) if len(known) else float("nan"), float("nan"), float("nan")
    found = stats.bootstrap(
        (known,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(known.mean()), float(found.low), float(found.high)


def mean_half(values: list[float]) -> tuple[float, float]:
    """Mean of ``values`` and half of its 95 % bootstrap interval."""
    mean, low, high = mean_interval(values)
    return mean, (high - low) / 2


def shown(mean: float, half: float, digits: int = 2) -> str:
    """A mean with half of its interval for a table."""
    if np.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")


def means(rows: list[dict], labels: list[str], names: list[str]) -> list[list[str]]:
    """Means of ``names`` for each combination of ``labels``, with 95 % bootstrap intervals.

    Returns:
        Lines of a table, the first its head.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[label] for label in labels), []).append(row)
    lines = [[*labels, "utterances", *names]]
    for key in sorted(groups, key=lambda k: k[0]):
        line = [*map(str, key), str(len(groups[key]))]
        for name in names:
            mean, half = mean_half([number_of(row.get(name)) for row in groups[key]])
            line.append(shown(mean, half, 0 if abs(mean) >= 100 else 2))
        lines.append(line)
    return lines


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
    found = {key: mean_interval(values) for key, values in apart.items()}
    return {key: value for key, value in found.items() if not np.isnan(value[0])}


def markdown(lines: list[list[str]]) -> str:
    """A table whose first line is the head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of results as CSV and as Markdown, with means and bootstrap intervals."""

import csv
from pathlib import Path

import numpy as np


def write_csv(rows: list[dict], path: Path) -> None:
    """One line a row; columns are those of all rows, in the order of their appearance."""
    fields = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
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


def bootstrap(values: list[float]) -> tuple[float, float]:
    """Mean of ``values`` and half of its 95 % bootstrap interval; NaN without values."""
    known = np.array(values, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan"), float("nan")
    means = np.random.default_rng(0).choice(known, (1000, len(known))).mean(axis=1)
    half = (np.quantile(means, 0.975) - np.quantile(means, 0.025)) / 2
    return float(known.mean()), float(half)


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

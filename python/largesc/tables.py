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


def read_tsv(path: Path) -> list[dict]:
    """Rows of a table with tabs between its cells and no quotes, all cells text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def number_of(cell: object) -> float:
    """A cell of a table or CSV; NaN where it is empty."""
    return float("nan") if cell is None or cell == "" else float(cell)


def by_utterance(rows: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of ``name`` over the rows of each utterance, and its weight; NaN are left out.

    Several rows of an utterance are drawings of the losses: together one sample. The weight of a
    row is in its column ``NAME_of``, what a share is of; without it all are equal. A row without
    the column ``utterance`` is an utterance by itself.
    """
    found: dict[object, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows):
        if not np.isnan(value := number_of(row.get(name))):
            weight = number_of(row.get(f"{name}_of", 1.0))
            found.setdefault(row.get("utterance", number), []).append((value, weight))
    pairs = [np.array(of).T for of in found.values()]
    means = np.array([np.average(values, weights=weights) for values, weights in pairs])
    return means, np.array([weights.mean() for _, weights in pairs])


def mean_interval(
    values: list[float], weights: list[float] | None = None
) -> tuple[float, float, float]:
    """Mean of ``values`` and its 95 % bootstrap interval; weighed where there are ``weights``.

    NaN among the values are left out. Without any value all is NaN; one value has no interval.
    """
    known = np.array(values, dtype=float)
    there = ~np.isnan(known)
    of = np.ones(len(known)) if weights is None else np.array(weights, dtype=float)
    return ratio_interval((known * of)[there], of[there])


def ratio_interval(above: np.ndarray, below: np.ndarray) -> tuple[float, float, float]:
    """Ratio of the sums of ``above`` and ``below``, and its 95 % bootstrap interval.

    A number of each belongs to one utterance, and the two are drawn together. Without any all is
    NaN; one has no interval.
    """
    from scipy import stats

    def ratio(above: np.ndarray, below: np.ndarray, axis: int = -1) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return above.sum(axis=axis) / below.sum(axis=axis)

    if len(above) < 2:
        return float(ratio(above, below)), float("nan"), float("nan")
    found = stats.bootstrap(
        (above, below),
        ratio,
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(ratio(above, below)), float(found.low), float(found.high)


def mean_half(values: list[float], weights: list[float] | None = None) -> tuple[float, float]:
    """Mean of ``values`` and half of its 95 % bootstrap interval, see :func:`mean_interval`."""
    mean, low, high = mean_interval(values, weights)
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
            mean, half = mean_half(*by_utterance(groups[key], name))
            line.append(shown(mean, half, 0 if abs(mean) >= 100 else 2))
        lines.append(line)
    return lines


def paired(rows: list[dict], reference: str, name: str) -> dict[tuple, tuple[float, float, float]]:
    """Difference of each system to ``reference`` in the measure ``name``, utterance by utterance.

    Returns:
        For each (system, channel, loss): mean difference and its 95 % bootstrap interval.
    """

    def place_of(row: dict) -> tuple:
        return row["channel"], row["loss"], row["utterance"], row.get("drawing")

    base = {place_of(r): number_of(r.get(name)) for r in rows if r["system"] == reference}
    apart: dict[tuple, list[dict]] = {}
    for row in rows:
        place = place_of(row)
        if row["system"] != reference and place in base:
            difference = row | {name: number_of(row.get(name)) - base[place]}
            apart.setdefault((row["system"], *place[:2]), []).append(difference)
    found = {key: mean_interval(*by_utterance(of, name)) for key, of in apart.items()}
    return {key: value for key, value in found.items() if not np.isnan(value[0])}


def markdown(lines: list[list[str]]) -> str:
    """A table whose first line is the head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which utterances of a table or folder are sent."""

import itertools
from pathlib import Path

import soundfile

from ..speech.files import rows_of

LEAST_SECONDS, MOST_SECONDS = 0.5, 12.0


def utterances(source: Path, per_speaker: int, most_seconds: float = MOST_SECONDS) -> list[dict]:
    """The first ``per_speaker`` utterances of each speaker, of 0.5 s to ``most_seconds``.

    Rows of ``source`` (see :func:`..speech.files.rows_of`); ``file`` is added. What is shorter,
    longer or not there is counted and said.
    """
    folder, rows = rows_of(source)
    count: dict[str, int] = {}
    chosen, left_out = [], {"missing": 0, "shorter": 0, "longer": 0}
    for row in rows:
        file = folder / row["path"]
        count.setdefault(row["speaker"], 0)
        if count[row["speaker"]] >= per_speaker:
            continue
        if not file.exists():
            left_out["missing"] += 1
            continue
        seconds = float(row.get("seconds") or soundfile.info(file).duration)
        if not LEAST_SECONDS <= seconds <= most_seconds:
            left_out["shorter" if seconds < LEAST_SECONDS else "longer"] += 1
            continue
        count[row["speaker"]] += 1
        chosen.append(row | {"file": str(file)})
    if any(left_out.values()):
        said = ", ".join(f"{n} {why}" for why, n in left_out.items() if n)
        print(f"left out of {source}, wanted {LEAST_SECONDS:g} to {most_seconds:g} s: {said}")
    return chosen


def spread(rows: list[dict], count: int) -> list[dict]:
    """``count`` of the rows, one of each speaker in turn."""
    speakers: dict[str, list[dict]] = {}
    for row in rows:
        speakers.setdefault(row["speaker"], []).append(row)
    turns = itertools.zip_longest(*speakers.values())
    return [row for turn in turns for row in turn if row is not None][:count]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which utterances of a table or folder are sent."""

import itertools
from pathlib import Path

import soundfile

from ..speech.files import rows_of

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

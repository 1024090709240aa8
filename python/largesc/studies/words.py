# SPDX-License-Identifier: GPL-3.0-or-later
r"""Counts words again in the audio that an evaluation kept, and compares with an earlier one.

    largesc study words --results FOLDER --speech eval.tsv --output FOLDER [--before FOLDER]

FOLDER is that of ``largesc evaluate --keep-audio``, the speech the same. Writes ``words.csv``: the
rows of ``results.csv`` with the words as they are heard now; where both folders are one,
``results.csv`` gets them too. Prints the tables. With ``--before`` the systems of an earlier
``words.csv`` or ``results.csv`` stand beside them, utterance by utterance.
"""

import argparse
from pathlib import Path

from ..evaluation.measures import usable
from ..evaluation.report import lost_tables, paper_table
from ..evaluation.sweep import audio_name
from ..evaluation.systems.original import Original
from ..evaluation.words import RECOGNISERS, count_words
from ..speech.files import read_audio, rows_of
from ..tables import markdown, read_csv, write_csv
from .processes import results_of
from .study import add_common, at_least_one, save_rows


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser)
    parser.add_argument("--results", type=Path, required=True, help="of evaluate --keep-audio")
    parser.add_argument("--before", type=Path, help="folder of an earlier words.csv or results.csv")
    parser.add_argument("--reference", default="ours", help="that others are compared with [ours]")
    parser.add_argument("--recogniser", default="", help="folder of one more Whisper model")
    parser.add_argument("--processes", type=at_least_one, default=2)


def count(job: tuple[Path, int, str | None, list[str], str, list[dict]]) -> list[dict]:
    """Rows of one utterance with the words that are heard now; those without audio as they are."""
    folder, number, text, measures, recogniser, rows = job
    original = folder / f"{number}_original.flac"
    found = []
    for row in rows:
        path = folder / audio_name(row, number)
        if original.exists() and path.exists():
            row = {k: v for k, v in row.items() if not k.startswith("words_")}
            heard = read_audio(original), read_audio(path)
            for name in measures:
                row |= count_words(name, *heard, text, recogniser)
        found.append(row)
    return found


def jobs_of(args: argparse.Namespace, rows: list[dict], measures: list[str]) -> list[tuple]:
    """A job an utterance that is English; numbers are those of its audio."""
    _, speech = rows_of(args.speech)
    about = {row["path"]: row for row in speech}
    with_text = any(row.get("text") for row in speech)
    jobs = []
    for number, utterance in enumerate(dict.fromkeys(row["utterance"] for row in rows), 1):
        if utterance not in about:
            raise ValueError(f"{args.speech} has no {utterance}: give the speech of {args.results}")
        row = about[utterance]
        text = (row.get("text") or "") if with_text else None
        english = not row["corpus"].endswith("-de")
        own = [r for r in rows if r["utterance"] == utterance]
        folder = args.results / "audio"
        jobs.append((folder, number, text, measures if english else [], args.recogniser, own))
    return jobs


def earlier(folder: Path) -> list[dict]:
    """Rows of an earlier evaluation, the names of its systems marked.

    Raises:
        ValueError: there is no table in ``folder``.
    """
    for name in ("words.csv", "results.csv"):
        if (folder / name).exists():
            rows = read_csv(folder / name)
            return [
                row | {"system": f"{row['system']}, before"}
                for row in rows
                if row["system"] != Original.name
            ]
    raise ValueError(f"{folder} holds neither words.csv nor results.csv")


def study(args: argparse.Namespace) -> None:
    """Counts wrong words, writes the rows and prints their means."""
    source = args.results / "results.csv"
    if not source.exists():
        raise ValueError(f"{args.results} holds no results.csv: give a folder of largesc evaluate")
    before = earlier(args.before) if args.before else []
    names = [name for name in RECOGNISERS if RECOGNISERS[name] or args.recogniser]
    measures = usable(names)
    jobs = jobs_of(args, read_csv(source), measures)
    rows = [row for found in results_of(count, jobs, args.processes) for row in found]
    silent = [
        row for job in jobs for row in job[-1] if not (job[0] / audio_name(row, job[1])).exists()
    ]
    if silent:
        print(f"{len(silent)} of {len(rows)} rows have no audio and stay as they were")
    save_rows(args, "words", rows)
    if args.output.resolve() == args.results.resolve():
        write_csv(rows, source)
    for name in measures:
        tables = [paper_table(rows, name), *lost_tables(rows + before, args.reference, name)]
        print("\n\n".join(map(markdown, tables)) + "\n")

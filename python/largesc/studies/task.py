# SPDX-License-Identifier: GPL-3.0-or-later
"""Spoken commands over few symbols: what is right against SNR, beside other ways to send them.

    largesc study task --commands TABLE --work WORK --models FOLDER --output FOLDER [--talk TABLE]

TABLE has path, label, speaker, corpus, split: rows whose split is `eval` are judged. WORK is that
of ``largesc train task-teacher``; FOLDER holds one model a setting, by its name. Writes
``accuracy.csv``, ``models.csv``, ``following.csv``, ``confidence.csv``, ``false_commands.csv`` and
``accuracy.png``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from ..channel.symbols import KINDS, SymbolChannel
from ..evaluation.task_link import (
    Heard,
    as_detected,
    heard_of,
    logits_of,
    over_link,
    sent_by_number,
)
from ..features.student import padded
from ..speech.files import rows_of
from ..tables import read_tsv
from ..tasks.commands import recorded
from ..tasks.model import TaskModel, load_task
from .study import add_common, plt, save_figure, save_rows
from .task_events import false_commands, following, thresholds
from .task_teacher import Teacher, lost_at, through_speech_links

SNRS_DB = (-15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
# Draws of the channel for each recording.
DRAWS = 3
SHIPPED = "embedded"
# How the picture names what it shows, and the line of each.
LINES = {
    "embedded": ("task link, as it comes", "C0-"),
    "alone": ("the same student without a teacher", "C1--"),
    "number, student": ("label decided by the same encoder, biorthogonal", "C3-."),
    "number, teacher": ("label decided by the teacher, biorthogonal", "C4-."),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    add = parser.add_argument
    add("--commands", type=Path, required=True, help="table: path, label, speaker, corpus, split")
    add("--work", type=Path, help="of task-teacher; without it no teacher is judged")
    add("--models", type=Path, help="folder of other models, one a setting")
    add("--talk", type=Path, help="table of conversation or other speech, for false commands")
    add("--radio-per", type=Path, help="radio_per.csv, for speech links at the same SNR")
    add("--clips", type=int, default=40, help="recordings that go through speech links [40]")


def rows_to_judge(table: Path) -> list[dict]:
    """Rows of the split `eval`; those without a word of their own, as slots of orders, are not."""
    if not table.is_file():
        raise ValueError(f"--commands {table} is missing: give a table of recordings")
    rows = read_tsv(table)
    if rows and (lacking := {"path", "label", "corpus", "split"} - set(rows[0])):
        raise ValueError(f"{table} lacks the column {min(lacking)!r}")
    found = [r for r in rows if r["split"] == "eval" and r["corpus"] != "barista"]
    if not found:
        raise ValueError(f"{table} has no rows of the split eval")
    return found


def models_of(folder: Path | None) -> dict[str, TaskModel]:
    """The embedded model, and those of ``folder`` by their names."""
    found = {SHIPPED: load_task()}
    if folder is not None and not folder.is_dir():
        raise ValueError(f"--models {folder} is no folder: give one with a folder a model")
    for path in sorted(folder.iterdir()) if folder else []:
        if (path / "task.json").exists():
            found[path.name] = load_task(str(path))
            if found[path.name].config.labels != found[SHIPPED].config.labels:
                raise ValueError(f"{path} has other labels than the embedded model")
    return found


def right(decided: np.ndarray, heard: Heard) -> float:
    """Share of the recordings whose label was found."""
    return round(float((decided == heard.label).mean()), 4)


def checked(args: argparse.Namespace, labels: tuple[str, ...]) -> tuple[list[dict], Teacher | None]:
    """Rows to judge and the teacher, after a look at all that the options name.

    Raises:
        ValueError: something is missing or does not fit, before anything is computed.
    """
    rows = rows_to_judge(args.commands)
    if args.clips < 1:
        raise ValueError(f"--clips {args.clips} is out of range: use 1 or more")
    if args.talk is not None:
        rows_of(args.talk)
    if args.radio_per is not None:
        lost_at(args.radio_per)
    return rows, Teacher(args.work, labels) if args.work else None


def seeds_of(args: argparse.Namespace) -> range:
    """Returns a seed for each draw of the channel."""
    return range(args.seed, args.seed + DRAWS)


def accuracy_rows(
    args: argparse.Namespace,
    heard: Heard,
    models: dict[str, TaskModel],
    logits: dict[str, torch.Tensor],
    teacher: torch.Tensor | None,
) -> list[dict]:
    """One row a system, channel, SNR and number of symbols: means over the draws."""
    rows = []
    symbols_of = models[SHIPPED].config.codec.symbols
    classes = len(models[SHIPPED].config.labels)
    for kind in KINDS:
        for snr_db in SNRS_DB:
            for symbols in symbols_of:
                at = {"channel": kind, "snr_db": snr_db, "symbols": symbols}

                def mean(decide: object, at: dict = at) -> float:
                    channels = [
                        SymbolChannel(at["channel"], at["snr_db"], s) for s in seeds_of(args)
                    ]
                    return round(float(np.mean([right(decide(c), heard) for c in channels])), 4)

                for name, model in models.items():
                    found = mean(
                        lambda c, m=model, n=name, k=symbols: (
                            over_link(m, logits[n], c, k).argmax(1).numpy()
                        )
                    )
                    rows.append({"system": name} | at | {"right": found})
                decided = {"number, student": logits[SHIPPED].argmax(1)}
                if teacher is not None:
                    decided["number, teacher"] = teacher.argmax(1)
                for name, label in decided.items():
                    found = mean(lambda c, d=label, k=symbols: sent_by_number(d, classes, c, k))
                    rows.append({"system": name} | at | {"right": found})
    return rows


def encoder_ms(model: TaskModel, speech: list[np.ndarray]) -> float:
    """Processor time of the encoder for one command, the median over recordings, one thread."""
    encode, times = recorded(model), []
    for samples in speech[:100]:
        began = time.thread_time()
        with torch.no_grad():
            encode(torch.from_numpy(padded(samples))[None])
        times.append(1e3 * (time.thread_time() - began))
    return round(float(np.median(times)), 2)


def model_rows(
    judged: list[dict],
    heard: Heard,
    models: dict[str, TaskModel],
    logits: dict[str, torch.Tensor],
) -> list[dict]:
    """Size, time a command, and what is right on clean speech, before any channel."""
    speakers = len({row.get("speaker", "?") for row in judged} - {"-", "?"})
    cut = as_detected(heard.speech)
    found = np.array([len(samples) > 0 for samples in cut])
    spoken = heard.label != len(models[SHIPPED].config.labels) - 1
    rows = []
    for name, model in models.items():
        of_cut = logits_of(model, cut).argmax(1).numpy()
        rows.append(
            {
                "system": name,
                "recordings": len(judged),
                "speakers": speakers,
                "weights": sum(p.numel() for p in model.parameters()),
                "encoder_ms": encoder_ms(model, heard.speech),
                "right": right(logits[name].argmax(1).numpy(), heard),
                # As in use: only what voice activity has cut out, and nothing else is said.
                "detected": round(float(found[spoken].mean()), 4),
                "right_as_detected": round(
                    float((found & (of_cut == heard.label))[spoken].mean()), 4
                ),
            }
        )
    return rows


def teacher_row(teacher: Teacher, logits: torch.Tensor, heard: Heard) -> dict:
    """Returns the row of the table for the teacher."""
    return {
        "system": f"teacher, {teacher.name}",
        "weights": teacher.weights,
        "encoder_ms": teacher.encoder_ms(heard.speech[:30]),
        "right": right(logits.argmax(1).numpy(), heard),
    }


def draw(rows: list[dict], clean: dict[str, float], others: list[dict]) -> plt.Figure:
    """Share that is right against SNR, a line a channel, a column a number of symbols."""
    columns = sorted({row["symbols"] for row in rows})
    figure, grid = plt.subplots(
        len(KINDS), len(columns), figsize=(4.4 * len(columns), 7.2), sharex=True, sharey=True
    )
    for line, kind in zip(grid, KINDS, strict=True):
        for axis, symbols in zip(line, columns, strict=True):
            for name, (label, style) in LINES.items():
                at = [
                    (r["snr_db"], 100 * r["right"])
                    for r in rows
                    if (r["system"], r["channel"], r["symbols"]) == (name, kind, symbols)
                ]
                if at:
                    axis.plot(*zip(*at, strict=True), style, label=label)
            for name, share in clean.items():
                axis.axhline(100 * share, color="grey", linestyle=":", linewidth=1, label=name)
            for system, mark in (("our speech link", "C5o-"), ("Codec 2 700C", "C6s-")):
                at = [
                    (r["snr_db"], 100 * r["right"])
                    for r in others
                    if (r["system"], r["channel"]) == (system, kind)
                ]
                if at:
                    axis.plot(*zip(*at, strict=True), mark, label=f"{system}, then the teacher")
            axis.set_title(f"{kind}, {symbols} symbols a command", fontsize=10)
            axis.grid(True, alpha=0.3)
            axis.set_ylim(0, 100)
        line[0].set_ylabel("right (%)")
    for axis in grid[-1]:
        axis.set_xlabel("SNR of a symbol (dB)")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


@torch.no_grad()
def study(args: argparse.Namespace) -> None:
    """Measures, writes, draws and prints."""
    torch.set_num_threads(1)
    models = models_of(args.models)
    labels = models[SHIPPED].config.labels
    judged, teacher = checked(args, labels)
    heard = heard_of(judged, args.commands.parent, labels)
    logits = {name: logits_of(model, heard.speech) for name, model in models.items()}
    of_teacher = teacher(heard.speech) if teacher else None
    table = model_rows(judged, heard, models, logits)
    if teacher:
        table.append(teacher_row(teacher, of_teacher, heard))
    save_rows(args, "models", table)
    for row in table:
        print(row, flush=True)
    rows = accuracy_rows(args, heard, models, logits, of_teacher)
    save_rows(args, "accuracy", rows)
    clean = {"teacher, clean speech": table[-1]["right"]} if teacher else {}
    save_figure(args, "accuracy", draw(rows, clean, []))
    save_rows(args, "following", following(models[SHIPPED], logits[SHIPPED], heard, args.seed))
    cut = as_detected(heard.speech)
    save_rows(args, "confidence", thresholds(models[SHIPPED], heard, cut, args.seed))
    save_rows(args, "false_commands", false_commands(models[SHIPPED], args.talk, args.seed))
    others = []
    if teacher and args.radio_per:
        others = through_speech_links(teacher, heard, args.clips, args.radio_per, args.seed)
        save_rows(args, "speech_links", others)
        save_figure(args, "accuracy", draw(rows, clean, others))

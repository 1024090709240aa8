# SPDX-License-Identifier: GPL-3.0-or-later
"""``largesc evaluate``: our link and others on the same speech and losses."""

import argparse
from dataclasses import replace
from pathlib import Path

from ..files import writable_folder
from ..speech.files import write_audio
from .audio import default_speech
from .say import say

# Those of evaluation/experiments.py, which loads torch.
SETTINGS = (
    "quick",
    "sweep",
    "words",
    "network",
    "alone",
    "ablation",
    "concealment",
    "prefixes",
    "full",
)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``largesc evaluate``."""
    parser.add_argument("--output", type=Path, required=True, help="folder for tables and report")
    parser.add_argument("--setting", choices=SETTINGS, default="sweep", help="[%(default)s]")
    parser.add_argument("--quick", action="store_true", help="the same as --setting quick")
    parser.add_argument(
        "--speech", type=Path, help="folder, or tsv: path, corpus, speaker and, for words, text"
    )
    parser.add_argument("--utterances", type=int, help="at most, in place of the setting's")
    parser.add_argument("--systems", help="only these of the setting, separated by ;")
    parser.add_argument("--seed", type=int, default=1, help="of the losses [1]")
    parser.add_argument("--processes", type=int, default=2, help="cells at a time [2]")
    parser.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster that computes")
    parser.add_argument("--lyra", type=Path, help="folder of Lyra v2's TFLite models")
    parser.add_argument("--tplcnet", type=Path, help="tPLCnet's TFLite file")
    parser.add_argument("--traces", type=Path, help="folder of loss traces, *.txt")
    parser.add_argument(
        "--recogniser", default="", help="folder of one more Whisper model in CTranslate2's format"
    )
    parser.add_argument("--keep-audio", action="store_true", help="of all utterances")
    parser.add_argument("--codec", default="embedded", help="model source [embedded]")
    parser.add_argument("--lm", default="embedded", help="model source [embedded]")
    parser.add_argument("--controller", default="embedded", help="model source [embedded]")
    parser.add_argument(
        "--more-lm",
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="one more language model in the settings ablation and concealment",
    )
    parser.add_argument("--report-only", action="store_true", help="from the CSVs in --output")


def sources_of(args: argparse.Namespace) -> object:
    """Models and folders that were given.

    Raises:
        ValueError: ``--more-lm`` without a name, or no traces in their folder.
    """
    from ..evaluation.experiments import Sources

    if wrong := [text for text in args.more_lm if "=" not in text]:
        raise ValueError(f"--more-lm {wrong[0]!r} has no name: use NAME=SOURCE")
    traces = tuple(sorted(args.traces.glob("*.txt"))) if args.traces else ()
    if args.traces and not traces:
        raise ValueError(f"no *.txt in {args.traces}: give a folder of loss traces")
    more = tuple(tuple(text.split("=", 1)) for text in args.more_lm)
    return Sources(args.codec, args.lm, args.controller, args.lyra, args.tplcnet, traces, more)


def speech_rows(args: argparse.Namespace, count: int, most_seconds: float) -> list[dict]:
    """Utterances to send: of ``--speech``, or the recordings of alsa-utils in two parts."""
    from ..evaluation.utterances import spread, utterances

    if args.speech:
        rows = spread(utterances(args.speech, count, most_seconds), count)
        if not rows:
            raise ValueError(
                f"{args.speech} holds no utterance of 0.5 to {most_seconds:g} s that is there"
            )
        return rows
    speech, rows = default_speech(), []
    (args.output / "speech").mkdir(parents=True, exist_ok=True)
    for number in range(2):
        path = args.output / "speech" / f"alsa_{number + 1}.wav"
        write_audio(path, speech[number * len(speech) // 2 :][: len(speech) // 2])
        rows.append({"path": path.name, "corpus": "alsa-utils", "file": str(path)})
    return rows[:count]


def evaluate(args: argparse.Namespace) -> int:
    """Runs a setting and writes CSVs, plots, tables and ``report.html`` to ``args.output``."""
    from ..evaluation import experiments
    from ..evaluation.report import write_report
    from ..evaluation.sweep import run

    writable_folder(args.output)
    name = "quick" if args.quick else args.setting
    setting = getattr(experiments, name)(sources_of(args))
    known = {s.name: s for s in setting.all_systems}
    wanted = args.systems.split(";") if args.systems else list(known)
    if unknown := set(wanted) - set(known):
        raise ValueError(f"system {min(unknown)!r} is not in this setting: {'; '.join(known)}")
    absent = {name: known[name].missing() for name in wanted if known[name].missing()}
    for name, why in absent.items():
        say(f"left out: {name}, needs {why}")

    def here(systems: tuple) -> tuple:
        return tuple(s for s in systems if s.name in wanted and s.name not in absent)

    setting = replace(setting, systems=here(setting.systems), lossless=here(setting.lossless))
    if not setting.all_systems:
        raise ValueError("none of the systems can run: install what they need")
    if not args.report_only:
        setting = replace(setting, **judged(setting.measures, args.recogniser))
        rows = speech_rows(args, args.utterances or setting.utterances, setting.most_seconds)
        found = run(
            setting, rows, args.output, args.seed, args.ray, args.processes, args.keep_audio
        )
        say_uncounted(rows, found)
    reference = setting.reference if setting.reference in wanted else setting.all_systems[0].name
    report = write_report(args.output, reference, absent)
    print((args.output / "tables.md").read_text())
    say(f"{report} has the plots and the speech, {args.output}/results.csv all values")
    return 0


def judged(measures: tuple[str, ...], recogniser: str) -> dict[str, object]:
    """Measures of a setting that are installed, and the recogniser that was given.

    Raises:
        ValueError: none is installed, or the weights of a recogniser are not what they should be.
    """
    from ..evaluation.measures import usable
    from ..evaluation.recogniser import missing, weights_folder
    from ..evaluation.words import RECOGNISERS

    more = ("words_given",) if recogniser else ()
    names = tuple(usable(list(measures))) + more
    if not names:
        raise ValueError(f"none of {', '.join(measures)} is installed; {missing()}")
    for name in names:
        if name in RECOGNISERS:
            weights_folder(RECOGNISERS[name] or recogniser)
    return {"measures": names, "recogniser": recogniser}


def say_uncounted(utterances: list[dict], rows: list[dict]) -> None:
    """A line for each reason why words of some utterances are not counted."""
    notes: dict[str, set[str]] = {}
    for row in rows:
        if note := row.get("words_note"):
            notes.setdefault(note, set()).add(row["utterance"])
    if german := {u["path"] for u in utterances if u["corpus"].endswith("-de")}:
        notes["not English"] = german
    for note, of in notes.items():
        say(f"words of {len(of)} of {len(utterances)} utterances are not counted: {note}")

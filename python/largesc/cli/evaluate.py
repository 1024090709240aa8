# SPDX-License-Identifier: GPL-3.0-or-later
"""``largesc evaluate``: our link and others on the same speech and losses."""

import argparse
from dataclasses import replace
from pathlib import Path

from ..evaluation.experiments import EXPERIMENTS, Experiment, Sources
from ..evaluation.measures import usable
from ..evaluation.recogniser import missing, weights_folder
from ..evaluation.report import write_report
from ..evaluation.sweep import run
from ..evaluation.utterances import spread, utterances
from ..evaluation.words import RECOGNISERS
from ..files import writable_folder
from ..speech.files import write_audio
from .audio import default_speech
from .process import ending
from .say import say


def parser() -> argparse.ArgumentParser:
    """The options of ``largesc evaluate``."""
    parser = argparse.ArgumentParser(
        prog="largesc evaluate", description="Our link and others on the same speech and losses."
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for tables and report")
    parser.add_argument("--setting", choices=EXPERIMENTS, default="sweep", help="[%(default)s]")
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
    return parser


def sources_of(args: argparse.Namespace) -> Sources:
    """Models and folders that were given.

    Raises:
        ValueError: ``--more-lm`` without a name, or no traces in their folder.
    """
    if wrong := [text for text in args.more_lm if "=" not in text]:
        raise ValueError(f"--more-lm {wrong[0]!r} has no name: use NAME=SOURCE")
    traces = tuple(sorted(args.traces.glob("*.txt"))) if args.traces else ()
    if args.traces and not traces:
        raise ValueError(f"no *.txt in {args.traces}: give a folder of loss traces")
    more = tuple(tuple(text.split("=", 1)) for text in args.more_lm)
    return Sources(args.codec, args.lm, args.controller, args.lyra, args.tplcnet, traces, more)


def speech_rows(args: argparse.Namespace, count: int, most_seconds: float) -> list[dict]:
    """Utterances to send: of ``--speech``, or the recordings of alsa-utils in two parts."""
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


def chosen(args: argparse.Namespace) -> tuple[Experiment, dict[str, str]]:
    """The experiment with the systems that were asked for and can run; what the others need.

    Raises:
        ValueError: a system is unknown, or none can run.
    """
    experiment = EXPERIMENTS["quick" if args.quick else args.setting](sources_of(args))
    known = {system.name: system for system in experiment.all_systems}
    wanted = args.systems.split(";") if args.systems else list(known)
    if unknown := set(wanted) - set(known):
        raise ValueError(f"system {min(unknown)!r} is not in this setting: {'; '.join(known)}")
    absent = {name: why for name in wanted if (why := known[name].missing())}

    def here(systems: tuple) -> tuple:
        return tuple(s for s in systems if s.name in wanted and s.name not in absent)

    left = {"systems": here(experiment.systems), "lossless": here(experiment.lossless)}
    experiment = replace(experiment, **left)
    if not experiment.all_systems:
        raise ValueError("none of the systems can run: install what they need")
    if experiment.reference not in wanted:
        experiment = replace(experiment, reference=experiment.all_systems[0].name)
    return experiment, absent


def evaluate(arguments: list[str]) -> int:
    """Runs an experiment and writes CSVs, plots, tables and ``report.html`` to ``--output``."""
    args = parser().parse_args(arguments)
    writable_folder(args.output)
    experiment, absent = chosen(args)
    for name, why in absent.items():
        say(f"left out: {name}, needs {why}")
    if not args.report_only:
        experiment = replace(experiment, **judged(experiment.measures, args.recogniser))
        count = args.utterances or experiment.utterances
        rows = speech_rows(args, count, experiment.most_seconds)
        how = args.seed, args.ray, args.processes, args.keep_audio
        try:
            found = run(experiment, rows, args.output, *how)
        except KeyboardInterrupt:
            say(f"interrupted: what is finished is kept in {args.output}, run it again to go on")
            return ending.status()
        say_uncounted(rows, found)
    report = write_report(args.output, experiment.reference, absent)
    print((args.output / "tables.md").read_text())
    say(f"{report} has the plots and the speech, {args.output}/results.csv all values")
    return 0


def judged(measures: tuple[str, ...], recogniser: str) -> dict[str, object]:
    """Measures of a setting that are installed, and the recogniser that was given.

    Raises:
        ValueError: none is installed, or the weights of a recogniser are not what they should be.
    """
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

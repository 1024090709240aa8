# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the model card of the embedded models, and the learning curves as CSV.

largesc train card --work DIR --model FOLDER --machine "two cores of ..." --figures codec_table.csv
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import torch

from ...speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from ...speech.prompts import PACKAGE
from ...tables import markdown, means, read_csv, write_csv
from ..channel_lessons import teaches
from ..config import read_config
from ..feature_windows import FeatureWindows
from ..speech import cached, split
from .codec import CONFIG_KEYS, DEFAULT_CONFIG
from .codec import STAGES as CODEC_STAGES
from .interpolation import CONFIG_KEYS as ESTIMATOR_KEYS
from .interpolation import DEFAULT_CONFIG as ESTIMATOR_CONFIG

STAGES = (*CODEC_STAGES, "lm", "lora", "context_latent", "context_words", "controller")
HEAD = """\
# Embedded models

Trained by this project from nothing; `docs/training.md` has the commands. They are of the same
kind as Mimi and Moshi and go through moshi's classes, and are neither: nothing measured with them
says anything about the official weights. Written by `largesc train card`.
"""
TASK_LICENCES = {
    "speech_commands_v1": "CC BY 4.0",
    "speech_commands_v2": "CC BY 4.0",
    "fsdd": "CC BY-SA 4.0",
    "librispeech": "CC BY 4.0",
    "ljspeech": "public domain",
    "kerstin-de": "CC0",
    "speechocean762": "CC BY 4.0",
    "an4": "free for any use",
}
PROMPT_LICENCES = {f"{PACKAGE}-{x}": "CC BY-SA 3.0" for x in ("fr", "es", "it", "en")} | {
    f"{PACKAGE}-ru": "CC BY 3.0"
}
LIMITS = """\
## Limits

Mostly English read speech of 8 kHz bandwidth, so little above 8 kHz comes out. One voice at a time:
music and several speakers become one pitch. Hoarse voices sound a little buzzy, since pulses are
regular.
"""


def stage_rows(work: Path, config: dict) -> tuple[list[str], list[dict]]:
    """A line of the card for each stage that was run, and all points of the learning curves."""
    lines, points = [], []
    for name in STAGES:
        path = work / f"{name}.pt"
        if not path.exists():
            continue
        state = torch.load(path, weights_only=False, map_location="cpu")
        seen = "–"
        if "crops" in (facts := config["stages"].get(name, {})):
            seconds = facts["crops"] * facts["frames"] * FRAME_SAMPLES / SAMPLE_RATE_HZ
            seen = f"{seconds / 3600:.1f}"
        elif "batch" in facts:
            seconds = facts["batch"] * facts["frames"] * FRAME_SAMPLES / SAMPLE_RATE_HZ
            seen = f"{state['step'] * seconds / 3600:.1f}"
        elif "frames" in facts:
            seen = f"{facts['frames'] * FRAME_SAMPLES / SAMPLE_RATE_HZ / 3600:.1f}"
        minutes = f"{state['seconds'] / 60:.0f}" if state["seconds"] else "–"
        lines.append(f"| {name} | {state['step'] or '–'} | {minutes} | {seen} |")
        points += [{"stage": name} | point for point in state["curve"]]
    return lines, points


def speech_rows(cache: Path, licences: dict[str, str]) -> list[str]:
    """A line of the card for each corpus."""
    train, dev = split(cached(cache))
    hours: Counter = Counter()
    for u in train:
        hours[u.corpus] += u.samples / SAMPLE_RATE_HZ / 3600
    rows = []
    for corpus in sorted(hours):
        speakers = {u.speaker for u in train if u.corpus == corpus}
        unseen = {u.speaker for u in dev if u.corpus == corpus}
        licence = licences.get(corpus, "not stated")
        rows.append(
            f"| {corpus} | {licence} | {hours[corpus]:.1f} | {len(speakers)} | {len(unseen)} |"
        )
    return rows


def task_section(work: Path, model: Path, name: str = "task.pt") -> list[str]:
    """What the card says of the model of spoken commands, with its checkpoint in ``work``."""
    labels = json.loads((model / "task.json").read_text())["labels"]
    teacher = json.loads((work / "task_teacher.json").read_text())
    state = torch.load(work / name, weights_only=False, map_location="cpu")
    taught = state["config"]["teacher"]["weight"] > 0
    parts = ["## Spoken commands", "", f"`task` knows {', '.join(labels[:-2])}."]
    parts += [
        f"Trained on labels{' and the stored logits of a teacher' if taught else ' alone'}; "
        f"{state['step']} steps, {state['seconds'] / 60:.0f} minutes on one core beside others.",
        *([features_said(work)] if str(state["config"].get("layers")).endswith(".pt") else []),
        "Whisper base's encoder with a head is right in "
        f"{100 * teacher['unseen_all_as_it_is']:.1f} % of the recordings kept for development.",
        "",
        "| corpus | licence | recordings | speakers | speakers kept for development |",
        "|---|---|---|---|---|",
    ]
    for row in json.loads((work / "views.json").read_text())["corpora"]:
        licence = TASK_LICENCES.get(row["corpus"], "not stated")
        cells = (row["corpus"], licence, row["recordings"], row["speakers"], row["kept"])
        parts.append(f"| {' | '.join(map(str, cells))} |")
    parts += ["", "Of read speech come utterances that are no command.", ""]
    return parts


def features_said(work: Path) -> str:
    """What the card says of layers that the encoder began with."""
    state = torch.load(work / "task_features_run.pt", weights_only=False, map_location="cpu")
    heard = json.loads((work / "heard.json").read_text())["corpora"]
    pieces = ", ".join(f"{count} of {name}" for name, count in heard.items())
    return (
        f"Its layers began with what Whisper base hears, {state['step']} steps, "
        f"{state['seconds'] / 60:.0f} minutes; pieces of speech: {pieces}."
    )


def analogue_section(work: Path, licences: dict[str, str]) -> list[str]:
    """What the card says of the model of analogue speech, with its checkpoint in ``work``."""
    state = torch.load(work / "analogue.pt", weights_only=False, map_location="cpu")
    last = state["curve"][-1]
    return [
        "## Analogue speech",
        "",
        "`analogue` is a channel code of the codec's latent, fitted in closed form, and a network",
        f"behind it: {state['step']} steps, {state['seconds'] / 60:.0f} minutes on one core beside "
        "others. Of the latent's variance it leaves,",
        "on development speech in white noise, louder frames counting more:",
        "",
        "| SNR of a symbol, dB | without the network | with it |",
        "|---|---|---|",
        *(
            f"| {name.removeprefix('left_')} | {last[name.replace('left', 'linear')]:.3f} | "
            f"{last[name]:.3f} |"
            for name in last
            if name.startswith("left_")
        ),
        "",
        "| corpus | licence | hours | speakers | speakers kept for development |",
        "|---|---|---|---|---|",
        *speech_rows(work / "speech", licences),
        "",
    ]


def channel_code_section(model: Path, licences: dict[str, str]) -> list[str]:
    """What the card says of the channel code of the translation link, from its config."""
    facts = json.loads((model / "channel_code.json").read_text())
    parts = ["## Channel code of the translation link", ""]
    parts += [f"Fitted in closed form to features of Whisper {facts['model']} (MIT); no gradients."]
    parts += ["", "| speech | licence | minutes |", "|---|---|---|"]
    for name, minutes in facts["minutes"].items():
        licence = (licences | PROMPT_LICENCES).get(name, "not stated")
        parts.append(f"| {name} | {licence} | {minutes} |")
    return [
        *parts,
        "",
        "Of the prompts the half that no study judges; the voices are the same.",
        "",
    ]


def trained_code_section(work: Path, licences: dict[str, str]) -> list[str]:
    """What the card says of the trained channel code, with its checkpoints in ``work``."""
    state = torch.load(work / "code_words.pt", weights_only=False, map_location="cpu")
    before = torch.load(work / "code_error.pt", weights_only=False, map_location="cpu")
    last, found = state["curve"][-1], FeatureWindows(work)
    taught = sum(map(teaches, found.learned))
    parts = [
        "## Trained channel code of the translation link",
        "",
        "It began as the linear one. Weighted error of features: "
        f"{before['step']} steps, {before['seconds'] / 60:.0f} minutes; then what Whisper base's "
        f"decoder expects behind its own text: {state['step']} steps, "
        f"{state['seconds'] / 60:.0f} minutes, {taught} windows; on one core beside others.",
        "On windows kept apart, in white noise, nats a token of divergence, and share of the",
        "weighted error that is left:",
        "",
        "| symbols a frame | SNR, dB | divergence | error |",
        "|---|---|---|---|",
    ]
    for name in last:
        if name.startswith("words_"):
            _, symbols, snr_db = name.split("_")
            error = last[name.replace("words", "error")]
            parts.append(f"| {symbols} | {snr_db} | {last[name]:.3f} | {error:.3f} |")
    parts += ["", "| speech | licence | minutes |", "|---|---|---|"]
    for corpus, minutes in found.minutes.items():
        licence = (licences | PROMPT_LICENCES).get(corpus, "not stated")
        parts.append(f"| {corpus} | {licence} | {minutes} |")
    return [*parts, "", "Of the prompts five sixths of the half that no study judges.", ""]


def write_card(
    work: Path,
    model: Path,
    machine: str,
    figures: Path | None,
    config: dict,
    task: Path | None = None,
    analogue: Path | None = None,
    code: Path | None = None,
) -> None:
    """Writes ``README.md`` into ``model`` and ``learning_curves.csv`` into ``work``."""
    stages, points = stage_rows(work, config)
    write_csv(points, work / "learning_curves.csv")
    sums = json.loads((model / "sha256.json").read_text())
    parts = [HEAD, "## Files", "", "| file | MiB | sha256 |", "|---|---|---|"]
    for name, digest in sorted(sums.items()):
        parts.append(f"| {name} | {(model / name).stat().st_size / 2**20:.1f} | `{digest}` |")
    parts += ["", "## Training", "", f"Machine: {machine}.", ""]
    parts += ["| stage | steps | minutes | hours of speech in all steps |", "|---|---|---|---|"]
    if "estimator.safetensors" in sums:
        frames = read_config(ESTIMATOR_CONFIG, ESTIMATOR_KEYS)["frames"]
        stages.append(
            f"| estimator | – | – | {frames * FRAME_SAMPLES / SAMPLE_RATE_HZ / 3600:.1f} |"
        )
    parts += [*stages, "", "## Speech", ""]
    parts += ["| corpus | licence | hours | speakers | speakers kept for development |"]
    parts += ["|---|---|---|---|---|", *speech_rows(work / "speech", config["licences"]), ""]
    if (work / "speech" / "varied.json").exists():
        parts += [
            "Each utterance is there again as `training/augmentation.py` changes it; which stages"
        ]
        parts += ["heard that, `docs/training.md` says.", ""]
    if "channel_code.safetensors" in sums:
        parts += channel_code_section(model, config["licences"])
    if figures:
        rows = read_csv(figures)
        names = [n for n in rows[0] if n not in ("speech", "coder", "payload_bps", "utterance")]
        parts += ["## Held-out speech", "", "See `docs/results/codec.md` for what it means.", ""]
        parts += [markdown(means(rows, ["speech", "coder", "payload_bps"], names)), ""]
    if task is not None:
        parts += task_section(task, model)
    if analogue is not None:
        parts += analogue_section(analogue, config["licences"])
    if code is not None:
        parts += trained_code_section(code, config["licences"])
    (model / "README.md").write_text("\n".join([*parts, LIMITS]))


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train card`` with ``arguments``; None: those of the process."""
    parser = argparse.ArgumentParser(
        prog="largesc train card", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="YAML [%(default)s]")
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--model", type=Path, required=True, help="folder of the exported models")
    parser.add_argument("--machine", required=True, help="kind of the machine, in words")
    parser.add_argument("--figures", type=Path, help="CSV of largesc study codec_table")
    parser.add_argument("--task", type=Path, help="work folder of the spoken commands")
    parser.add_argument("--analogue", type=Path, help="work folder of analogue speech")
    parser.add_argument("--code", type=Path, help="work folder of the trained channel code")
    args = parser.parse_args(arguments)
    config = read_config(args.config, CONFIG_KEYS)
    works = (args.task, args.analogue, args.code)
    write_card(args.work, args.model, args.machine, args.figures, config, *works)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores settings of our link over loss rates, at one mean payload and with the same losses.

    python -m gnuradio.largesc.evaluation.link_table --speech eval.tsv --output FOLDER

Writes ``link_table.csv`` (one line an utterance, setting and channel) and ``link_table.png``,
quality against loss. ``--plot-only`` draws the picture again from the CSV.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

from ..training.speech import read_audio  # noqa: E402
from . import own_link  # noqa: E402
from .measures import measure  # noqa: E402
from .own_link import OwnSystem  # noqa: E402
from .table import bootstrap, markdown, run_jobs, usable, utterances, write_csv  # noqa: E402

SYSTEMS = {
    system.name: system
    for system in (
        OwnSystem("table"),
        OwnSystem("exact", policy="exact"),
        OwnSystem("learned", policy="learned"),
        OwnSystem("fixed", policy="fixed", tokens=(8, 8)),
        OwnSystem("no copies", policy="fixed", tokens=(8, 0)),
        OwnSystem("table, no language model", concealer="repeat"),
        OwnSystem("exact, no language model", policy="exact", concealer="repeat"),
        OwnSystem("exact, copies up to 320 ms later", policy="exact", deadline_ms=320),
    )
}


def score(job: tuple) -> list[dict]:
    """All systems and channels on one utterance."""
    row, seed, systems, channels, payload_bps, names = job
    speech = read_audio(Path(row["file"]))
    found = []
    for p, burst in channels:
        for system in systems:
            frames = own_link.encode(system.codec, speech)
            known = own_link.known_channel(p, burst, len(frames))
            decisions = own_link.decide_at(system, frames, known, payload_bps)
            lost = own_link.draw_losses(len(frames), p, burst, seed)
            outcome = own_link.transmit(system, frames, decisions, lost, len(speech))
            facts = {"system": system.name, "loss": p, "mean_burst_packets": burst}
            facts |= {"utterance": row["path"], "payload_bps": round(outcome.payload_bps)}
            facts |= {"frames_without_tokens": round(float((outcome.received == 0).mean()), 4)}
            found.append(facts | measure(names, speech, outcome.decoded))
    return found


def draw(rows: list[dict], names: list[str], path: Path) -> None:
    """One panel a measure and burst length: means over utterances against loss, with intervals."""
    bursts = sorted({float(row["mean_burst_packets"]) for row in rows if float(row["loss"]) > 0})
    systems = list(dict.fromkeys(row["system"] for row in rows))
    count = len({row["utterance"] for row in rows})
    figure, axes = plt.subplots(
        len(names), len(bursts), figsize=(6 * len(bursts), 3.6 * len(names)), squeeze=False
    )
    for line, name in zip(axes, names, strict=True):
        for axis, burst in zip(line, bursts, strict=True):
            for number, system in enumerate(systems):
                chosen = [
                    r
                    for r in rows
                    if r["system"] == system
                    and (float(r["mean_burst_packets"]) == burst or float(r["loss"]) == 0.0)
                ]
                losses = sorted({float(r["loss"]) for r in chosen})
                values = [
                    bootstrap([float(r[name]) for r in chosen if float(r["loss"]) == loss])
                    for loss in losses
                ]
                mean, half = np.array(values).T
                places = 100 * np.array(losses) + 0.2 * (number - len(systems) / 2)
                axis.errorbar(places, mean, half, label=system, capsize=2, marker="o", ms=3)
            kind = "independent" if burst == 1.0 else f"in bursts of {burst:g} packets"
            axis.set_title(f"{name}, losses {kind}, {count} utterances", fontsize=9)
            axis.set_xlabel("lost packets (%)")
            axis.set_ylabel(name)
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--speech", type=Path, help="tsv: path, corpus, speaker")
    parser.add_argument("--systems", default="table;exact;learned;fixed", help="separated by ;")
    parser.add_argument("--codec", default="embedded", help="model source")
    parser.add_argument("--lm", default="embedded", help="model source")
    parser.add_argument("--controller", default="embedded", help="model source")
    parser.add_argument("--loss", default="0,0.05,0.1,0.2,0.3")
    parser.add_argument("--bursts", default="1,3", help="mean bursts in packets; 1: independent")
    parser.add_argument("--payload", type=float, default=1100.0, help="mean payload, bit/s")
    parser.add_argument("--per-speaker", type=int, default=1, help="utterances of each speaker")
    parser.add_argument("--measures", default="visqol,plcmos,stoi")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--plot-only", action="store_true", help="from the CSV in --output")
    parser.add_argument("--name", default="link_table", help="of the files [%(default)s]")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args()
    table = args.output / f"{args.name}.csv"
    names = usable(args.measures)
    if not args.plot_only:
        if unknown := [n for n in args.systems.split(";") if n not in SYSTEMS]:
            raise ValueError(f"system {unknown[0]!r} is unknown: use {', '.join(SYSTEMS)}")
        sources = {"codec": args.codec, "lm": args.lm, "controller": args.controller}
        systems = [replace(SYSTEMS[n], **sources) for n in args.systems.split(";")]
        channels = [
            (float(p), float(burst))
            for burst in args.bursts.split(",")
            for p in args.loss.split(",")
            if float(p) > 0.0 or burst == args.bursts.split(",")[0]
        ]
        jobs = [
            (row, 200 + n, systems, channels, args.payload, names)
            for n, row in enumerate(utterances(args.speech, args.per_speaker))
        ]
        write_csv(run_jobs(score, jobs, args.processes), table)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = ["mean_burst_packets", "loss", "system"]
    print(markdown(rows, labels, ["payload_bps", "frames_without_tokens", *names]))
    draw(rows, names, args.output / f"{args.name}.png")


if __name__ == "__main__":
    main()

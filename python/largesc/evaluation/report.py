# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables, plots and one HTML file from the CSVs of an evaluation; nothing is run again."""

import base64
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader

from ..tables import markdown, number_of, paired, read_csv, shown
from . import plots
from .measures import MEASURES
from .sweep import HEARD, audio_name
from .systems.original import Original
from .words import RECOGNISERS, lost

PICTURES = {
    "against_loss.png": "Quality against loss: means over utterances",
    "differences.png": "Differences, utterance by utterance",
    "against_rate.png": "Quality against the rate on a bare radio frame (header, payload and CRC)",
    "against_computing.png": "Quality against processor time of coder, decoder and concealer",
    "bars.png": "At the highest loss",
    "latency.png": "Delay by design and computing",
}
TEMPLATE = "report_template.html"
FEW = (
    "{count} utterances are too few to tell which system is better: what follows are means, "
    "without intervals and differences. They show that all runs, and how it sounds. From {least} "
    "utterances on both are there: --speech FOLDER."
)


def measures_in(rows: list[dict]) -> list[str]:
    """Returns the measures that have a value in any row."""
    return [m for m in MEASURES if any(not np.isnan(number_of(r.get(m))) for r in rows)]


def digits_of(measure: str) -> int:
    """Behind the point; shares of words are small numbers."""
    return 3 if measure in RECOGNISERS else 2


def paper_table(rows: list[dict], measure: str) -> list[list[str]]:
    """Systems against loss rates, in the form of the paper's tables; the head is the first line."""
    columns = list(dict.fromkeys((r["channel"], r["loss"]) for r in rows))
    head = [measure, "radio bit/s", *map(plots.title_of, columns)]
    lines = [head]
    for system in plots.systems_of(rows):
        own = [r for r in rows if r["system"] == system]
        cells = [f"{plots.mean_of(own, 'radio_bps')[0]:.0f}"]
        for channel, loss in columns:
            mean, half = plots.mean_of(own, measure, channel=channel, loss=loss)
            cells.append(shown(mean, half, digits_of(measure)))
        lines.append([system, *cells])
    return lines


def difference_table(rows: list[dict], reference: str, measure: str) -> list[list[str]]:
    """Each system less the reference, utterance by utterance, with 95 % bootstrap intervals."""
    found = paired(rows, reference, measure)
    places = list(dict.fromkeys(key[1:] for key in found))
    lines = [[f"{measure}, less “{reference}”", *map(plots.title_of, places)]]
    for system in dict.fromkeys(key[0] for key in found):
        cells = []
        for place in places:
            mean, low, high = found.get((system, *place), (np.nan,) * 3)
            bounds = (f"{value:+.{digits_of(measure)}f}" for value in (mean, low, high))
            cells.append("–" if np.isnan(mean) else "{} ({} … {})".format(*bounds))
        lines.append([system, *cells])
    return lines


def lost_tables(rows: list[dict], reference: str, measure: str) -> list[list[list[str]]]:
    """Of the words that the original has right, the share lost, and the difference to ours.

    There are none without the system ``original``.
    """
    found = lost(rows, measure, Original.name, reference)
    found = {place: values for place, values in found.items() if place[0] != Original.name}
    places = list(dict.fromkeys(key[1:] for key in found))
    tables = []
    for name, sign, title in (
        ("lost", "", f"{measure}: lost of those right in the original"),
        ("lost_more", "+", f"{measure}: the same, less “{reference}”"),
    ):
        lines = [[title, *map(plots.title_of, places)]]
        for system in dict.fromkeys(key[0] for key in found):
            cells = []
            for place in places:
                values = found.get((system, *place))
                bounds = [f"{v:{sign}.3f}" for v in values[name]] if values else []
                cells.append("{} ({} … {})".format(*bounds) if bounds else "–")
            if name == "lost" or system != reference:
                lines.append([system, *cells])
        tables.append(lines)
    return tables if found else []


def encoded(path: Path) -> str:
    """A file in base64, empty where it is not there."""
    return base64.b64encode(path.read_bytes()).decode() if path.exists() else ""


def heard(rows: list[dict], folder: Path) -> list[dict]:
    """Sounds of the first utterances for the players: a line a system, a column a channel."""
    places = list(dict.fromkeys((r["channel"], r["loss"]) for r in rows))
    found = []
    for number in range(1, HEARD + 1):
        if not (folder / f"{number}_original.flac").exists():
            continue
        systems = {}
        for system in plots.systems_of(rows):
            names = [
                audio_name({"system": system, "channel": c, "loss": p}, number) for c, p in places
            ]
            systems[system] = [encoded(folder / name) for name in names]
        found.append(
            {
                "number": number,
                "original": encoded(folder / f"{number}_original.flac"),
                "places": list(map(plots.title_of, places)),
                "systems": systems,
            }
        )
    return found


def tables_of(rows: list[dict], reference: str, many: bool) -> list[list[list[str]]]:
    """All tables; means alone where there are not ``many`` utterances."""
    measures = measures_in(rows)
    tables = [paper_table(rows, m) for m in measures]
    if many:
        tables += [difference_table(rows, reference, m) for m in measures]
        counted = [m for m in measures if m in RECOGNISERS]
        tables += [table for m in counted for table in lost_tables(rows, reference, m)]
    return tables


def write_pictures(
    rows: list[dict], times: list[dict], reference: str, folder: Path, many: bool
) -> dict[str, str]:
    """Draws the plots into ``folder``; returns each in base64 by its title.

    Args:
        many: whether there are enough utterances for intervals and differences.
    """
    measures, titles = measures_in(rows), dict(PICTURES)
    plots.against_loss(rows, measures, folder / "against_loss.png")
    if many:
        plots.differences(rows, reference, measures, folder / "differences.png")
        titles["against_loss.png"] += ", 95 % interval of the first system"
        titles["differences.png"] += f", to {reference}, with 95 % bootstrap intervals"
    else:
        (folder / "differences.png").unlink(missing_ok=True)
        del titles["differences.png"]
    plots.against_rate(rows, measures[0], folder / "against_rate.png")
    plots.against_computing(rows, times, measures[0], folder / "against_computing.png")
    plots.bars(rows, measures[0], folder / "bars.png")
    plots.latency(rows, times, folder / "latency.png")
    return {title: encoded(folder / name) for name, title in titles.items()}


def write_report(folder: Path, reference: str, absent: dict[str, str]) -> Path:
    """Writes the plots, ``tables.md`` and ``report.html`` beside the CSVs in ``folder``.

    Args:
        folder: holds ``results.csv`` and ``times.csv``.
        reference: system that the others are compared with.
        absent: systems left out, and what they need.

    Raises:
        ValueError: there are no results.
    """
    if not (folder / "results.csv").exists():
        raise ValueError(f"{folder} holds no results.csv: run largesc evaluate --output {folder}")
    rows, times = read_csv(folder / "results.csv"), read_csv(folder / "times.csv")
    if not rows:
        raise ValueError(f"{folder}/results.csv has no rows: run largesc evaluate again")
    count = plots.count_of(rows)
    many = count >= plots.LEAST_UTTERANCES
    few = "" if many else FEW.format(count=count, least=plots.LEAST_UTTERANCES)
    tables = tables_of(rows, reference, many)
    parts = [part for part in (few, *map(markdown, tables)) if part]
    (folder / "tables.md").write_text("\n\n".join(parts) + "\n")
    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True).get_template(TEMPLATE)
    (folder / "report.html").write_text(
        page.render(
            utterances=count,
            few=few,
            # Of an earlier call with more at hand, they may be there all the same.
            absent={k: v for k, v in absent.items() if k not in plots.systems_of(rows)},
            pictures=write_pictures(rows, times, reference, folder, many),
            tables=tables,
            heard=heard(rows, folder / "audio"),
        )
    )
    return folder / "report.html"

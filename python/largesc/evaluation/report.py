# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables, plots and one HTML file from the CSVs of an evaluation; nothing is run again."""

import base64
import html
from pathlib import Path

import numpy as np

from ..tables import number_of, read_csv
from . import plots
from .measures import MEASURES
from .sweep import HEARD, audio_name
from .table import paired

PICTURES = {
    "against_loss.png": "Quality against loss: means over utterances, 95 % interval of one",
    "differences.png": "Differences, utterance by utterance, with 95 % bootstrap intervals",
    "against_rate.png": "Quality against the rate on a bare radio frame (header, payload and CRC)",
    "against_computing.png": "Quality against processor time of coder, decoder and concealer",
    "bars.png": "At the highest loss",
    "latency.png": "Delay by design and computing",
}
STYLE = """body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #bbb;padding:.2em .6em;
text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}
audio{width:8em}"""


def measures_in(rows: list[dict]) -> list[str]:
    """Measures that have values."""
    return [m for m in MEASURES if any(not np.isnan(number_of(r.get(m))) for r in rows)]


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
            cells.append("–" if np.isnan(mean) else f"{mean:.2f} ± {half:.2f}")
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
            cells.append("–" if np.isnan(mean) else f"{mean:+.2f} ({low:+.2f} … {high:+.2f})")
        lines.append([system, *cells])
    return lines


def markdown_of(lines: list[list[str]]) -> str:
    """A table whose first line is the head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])


def html_of(lines: list[list[str]]) -> str:
    """The same as HTML."""
    head, *body = lines
    cells = "".join(f"<th>{html.escape(c)}</th>" for c in head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>" for line in body
    )
    return f"<table><tr>{cells}</tr>{rows}</table>"


def players(rows: list[dict], folder: Path) -> str:
    """Audio players of the first utterances: a line a system, a column a channel."""
    found = [n for n in range(1, HEARD + 1) if (folder / f"{n}_original.flac").exists()]
    heard = "".join(players_of(rows, folder, number) for number in found)
    return f"<h2>Listen</h2>{heard}" if heard else ""


def players_of(rows: list[dict], folder: Path, number: int) -> str:
    """The players of one utterance."""

    def player(name: str) -> str:
        path = folder / name
        if not path.exists():
            return "–"
        data = base64.b64encode(path.read_bytes()).decode()
        return f'<audio controls preload="none" src="data:audio/flac;base64,{data}"></audio>'

    places = list(dict.fromkeys((r["channel"], r["loss"]) for r in rows))
    head = "".join(f"<th>{html.escape(plots.title_of(place))}</th>" for place in places)
    lines = [f"<tr><th></th>{head}</tr>"]
    for system in plots.systems_of(rows):
        cells = "".join(
            "<td>"
            + player(audio_name({"system": system, "channel": c, "loss": p}, number))
            + "</td>"
            for c, p in places
        )
        lines.append(f"<tr><td>{html.escape(system)}</td>{cells}</tr>")
    return (
        f"<p>Utterance {number}, original: {player(f'{number}_original.flac')}</p><table>"
        + "".join(lines)
        + "</table>"
    )


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
    # Of an earlier call with more at hand, they may be there all the same.
    absent = {k: v for k, v in absent.items() if k not in plots.systems_of(rows)}
    measures = measures_in(rows)
    plots.against_loss(rows, measures, folder / "against_loss.png")
    plots.differences(rows, reference, measures, folder / "differences.png")
    plots.against_rate(rows, measures[0], folder / "against_rate.png")
    plots.against_computing(rows, times, measures[0], folder / "against_computing.png")
    plots.bars(rows, measures[0], folder / "bars.png")
    plots.latency(rows, times, folder / "latency.png")
    tables = [paper_table(rows, m) for m in measures]
    tables += [difference_table(rows, reference, m) for m in measures]
    (folder / "tables.md").write_text("\n\n".join(map(markdown_of, tables)) + "\n")
    left_out = "".join(
        f"<li>{html.escape(name)}: needs {html.escape(why)}</li>" for name, why in absent.items()
    )
    pictures = "".join(
        f"<h2>{said}</h2><img alt='{said}' src='data:image/png;base64,"
        f"{base64.b64encode((folder / name).read_bytes()).decode()}'>"
        for name, title in PICTURES.items()
        for said in [html.escape(title + (f", to {reference}" if "Diff" in title else ""))]
    )
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>largesc evaluate</title>"
        f"<style>{STYLE}</style><h1>largesc evaluate</h1>"
        f"<p>{plots.count_of(rows)} utterances. Rates of the systems differ: compare at equal "
        "rate only. Losses are drawn in time, the same for all systems. ViSQOL is in speech mode; "
        "visqol by the polynomial mapping, visqol_lattice by the lattice. UTMOS is absent: its "
        "weights were not at hand. words: against what the same recogniser hears in the original."
        f"</p>{'<p>Left out:</p><ul>' + left_out + '</ul>' if left_out else ''}"
        f"{pictures}<h2>Tables</h2>{''.join(map(html_of, tables))}"
        f"{players(rows, folder / 'audio')}</html>"
    )
    (folder / "report.html").write_text(page)
    return folder / "report.html"

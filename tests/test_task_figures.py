# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/task.md says in its tables is what the CSVs of `largesc study task` say."""

from pathlib import Path

import pytest
from gnuradio.largesc.tables import read_csv

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "task"
# Systems by the names that the page gives them.
SYSTEMS = {
    "embedded": "task link, as it comes",
    "taught": "the same, taught by the teacher's logits",
    "frozen_adaptive": "its encoder as it is, the rest trained on labels",
    "frozen_not_adaptive": "the same without adaptive module",
    "number, student": "label decided by the encoder of the first, biorthogonal code",
    "number, teacher": "label decided by the teacher at the device, biorthogonal code",
}
MODELS = {"embedded": "task link, as it comes", "taught": "the same, taught"}
SHOWN_DB = (-15.0, -10.0, -5.0, 0.0, 5.0, 20.0)


def percent(share: str) -> str:
    return f"{100 * float(share):.1f}" if share else "–"


def model_lines() -> list[str]:
    lines = []
    for row in read_csv(RESULTS / "models.csv"):
        name = MODELS.get(row["system"], row["system"])
        if row["system"].startswith("frozen"):
            continue
        lines.append(
            f"| {name} | {float(row['weights']) / 1e6:.2f} M | {float(row['encoder_ms']):.1f} | "
            f"{percent(row['right'])} | {percent(row.get('right_as_detected', ''))} |"
        )
    return lines


def accuracy_lines(symbols: str, channel: str) -> list[str]:
    rows = read_csv(RESULTS / "accuracy.csv")
    lines = []
    for system, name in SYSTEMS.items():
        at = {
            float(r["snr_db"]): percent(r["right"])
            for r in rows
            if (r["system"], r["symbols"], r["channel"]) == (system, symbols, channel)
        }
        lines.append(f"| {name} | {' | '.join(at[db] for db in SHOWN_DB)} |")
    return lines


def false_lines() -> list[str]:
    return [
        f"| {r['what']} | {int(r['seconds']) // 60} min | {r['detected']} | {r['understood']} |"
        for r in read_csv(RESULTS / "false_commands.csv")
        if r["snr_db"] in ("", "-5.0")
    ]


def following_lines() -> list[str]:
    rows = read_csv(RESULTS / "following.csv")
    senders = list(dict.fromkeys(r["sender"] for r in rows))
    lines = []
    for sender in senders:
        cells = [
            percent(r["right"])
            for channel in ("awgn", "rayleigh")
            for symbols in ("32", "128", "512")
            for r in rows
            if (r["sender"], r["channel"], r["symbols"]) == (sender, channel, symbols)
        ]
        lines.append(f"| {sender} | {' | '.join(cells)} |")
    return lines


def link_lines() -> list[str]:
    rows = read_csv(RESULTS / "speech_links.csv")
    lines = []
    for system in dict.fromkeys(r["system"] for r in rows):
        for channel in ("awgn", "rayleigh"):
            cells = [
                percent(r["right"])
                for r in rows
                if (r["system"], r["channel"]) == (system, channel)
            ]
            lines.append(f"| {system}, {channel} | {' | '.join(cells)} |")
    return lines


@pytest.mark.parametrize(
    "lines",
    [
        model_lines,
        lambda: accuracy_lines("128", "awgn"),
        lambda: accuracy_lines("128", "rayleigh"),
        lambda: accuracy_lines("32", "awgn"),
        false_lines,
        following_lines,
        link_lines,
    ],
)
def test_tables_are_those_of_the_csv(lines):
    said = (ROOT / "docs" / "task.md").read_text().splitlines()
    missing = [line for line in lines() if line not in said]
    assert not missing

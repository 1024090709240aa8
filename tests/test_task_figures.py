# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/task.md says in its tables is what the CSVs of `largesc study task` say."""

from pathlib import Path

import pytest
from gnuradio.largesc.models.store import EMBEDDED
from gnuradio.largesc.options import TaskOptions
from gnuradio.largesc.tables import read_csv

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "task"
# Systems by the names that the page gives them.
SYSTEMS = {
    "embedded": "task link, as it comes",
    "alone": "the same student without a teacher",
    "taught": "the same, taught by the teacher's logits as well",
    "frozen_adaptive": "its encoder as it is, the rest trained anew",
    "frozen_not_adaptive": "the same without adaptive module",
    "number, student": "label decided by the encoder of the first, biorthogonal code",
    "number, teacher": "label decided by the teacher at the device, biorthogonal code",
}
MODELS = {
    "embedded": "task link, as it comes",
    "alone": "the same student without a teacher",
    "taught": "the same, taught by the teacher's logits as well",
}
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
        lambda: confidence_lines(),
    ],
)
def test_tables_are_those_of_the_csv(lines):
    said = (ROOT / "docs" / "task.md").read_text().splitlines()
    missing = [line for line in lines() if line not in said]
    assert not missing


def right(system: str, channel: str, symbols: str, snr_db: float) -> float:
    """In percent, as the tables show it."""
    (found,) = (
        row["right"]
        for row in read_csv(RESULTS / "accuracy.csv")
        if (row["system"], row["channel"], row["symbols"]) == (system, channel, symbols)
        and float(row["snr_db"]) == snr_db
    )
    return float(percent(found))


def most_and_least(found: list[float]) -> str:
    return f"{min(found):.1f} to {max(found):.1f}"


def wins(snr_db: float) -> str:
    """By how many points the digital link with the same encoder is better, in the tables shown."""
    shown = (("awgn", "128"), ("rayleigh", "128"), ("awgn", "32"))
    pairs = [
        (right("number, student", *at, snr_db), right("embedded", *at, snr_db)) for at in shown
    ]
    return most_and_least([digital - link for digital, link in pairs])


def sentences() -> dict[str, str]:
    """What the prose says in figures, made from the CSVs."""
    models = {row["system"]: row for row in read_csv(RESULTS / "models.csv")}
    student, teacher = models["embedded"], models["teacher, Whisper base"]
    first = right("number, teacher", "awgn", "128", 20.0)
    more = first - right("number, student", "awgn", "128", 20.0)
    adaptive = [
        abs(100 * (float(a["right"]) - float(b["right"])))
        for a, b in zip(
            *(
                [r for r in read_csv(RESULTS / "accuracy.csv") if r["system"] == name]
                for name in ("frozen_adaptive", "frozen_not_adaptive")
            ),
            strict=True,
        )
    ]
    weights = float(student["weights"]) / float(teacher["weights"])
    time = float(student["encoder_ms"]) / float(teacher["encoder_ms"])
    size_mib = (EMBEDDED / "task.safetensors").stat().st_size / 2**20
    low, faded = (
        most_and_least([right("embedded", channel, "128", db) for db in (-10.0, -5.0, 0.0)])
        for channel in ("awgn", "rayleigh")
    )
    speech = {
        float(r["snr_db"]): float(percent(r["right"]))
        for r in read_csv(RESULTS / "speech_links.csv")
        if (r["system"], r["channel"]) == ("our speech link", "rayleigh")
    }
    links = most_and_least([speech[-5.0], speech[0.0]])
    known = {row["confidence"]: row for row in read_csv(RESULTS / "confidence.csv")}
    at = known[f"{TaskOptions.confidence:g}"]
    return {
        "CONFIDENCE": f"refuses below a probability of {TaskOptions.confidence:g}",
        "MIB": f"The model is {size_mib:.1f} MiB in half precision",
        "WINS": f"by {wins(20.0)} points at 20 dB and by {wins(-15.0)} at -15 dB",
        "TEACHER": f"the digital link is {more:.1f} points better",
        "TAUGHT": f"{percent(models['taught']['right'])} against {percent(student['right'])} %",
        "ADAPTIVE": f"{max(adaptive):.1f} points",
        "ITSELF": f"The teacher itself is right in {percent(teacher['right'])} %",
        "DEVELOPMENT": "it is {embedded}, without a teacher {alone}, with both {taught} %".format(
            **{r["system"]: percent(r["right"]) for r in read_csv(RESULTS / "development.csv")}
        ),
        "ALONE": f"{percent(student['right'])} against {percent(models['alone']['right'])} %",
        "PASSED": f"passed by {right('embedded', 'awgn', '128', -5.0) - 90.0:.1f} points",
        "MISSED": "missed by "
        f"{float(percent(teacher['right'])) - float(percent(student['right'])) - 2.0:.1f}",
        "SIZE": f"{100 * weights:.1f} % of its weights and takes {100 * time:.0f} % of its time",
        "LOW": f"in {low} % from -10 to 0 dB",
        "FADED": f"in {faded} % there",
        "LINK": f"in {links} % from -5 to 0 dB",
        "THRESHOLD": f"{percent(at['right'])} % of the commands are understood and "
        f"{percent(at['wrong'])} % taken for others",
    }


def confidence_lines() -> list[str]:
    return [
        f"| {row['confidence']} | {percent(row['right'])} | {percent(row['wrong'])} |"
        for row in read_csv(RESULTS / "confidence.csv")
    ]


def test_the_readme_has_the_figures_of_the_csv():
    said = " ".join((ROOT / "README.md").read_text().split())
    large, small = (right(s, "awgn", "128", 20.0) for s in ("number, teacher", "number, student"))
    (talk,) = (r for r in read_csv(RESULTS / "false_commands.csv") if r["what"].startswith("speech")
               and r["snr_db"] == "-5.0")  # fmt: skip
    assert round(large - small) == 3 and "is three points less right than the large" in said
    assert talk["understood"] == "7" and "takes seven utterances of an hour of read speech" in said


def test_prose_has_the_figures_of_the_csv():
    said = " ".join((ROOT / "docs" / "task.md").read_text().split())
    assert [one for one in sentences().values() if one not in said] == []

# SPDX-License-Identifier: GPL-3.0-or-later
"""What README and results claim in their tables is what the CSVs in docs/results say."""

import re
from pathlib import Path

import pytest
from gnuradio.largesc.evaluation import words
from gnuradio.largesc.tables import number_of, read_csv

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
README = (ROOT / "README.md").read_text()
LINK = (RESULTS / "link.md").read_text()
# Systems by the names that the README gives them.
SYSTEMS = {
    "gr-largesc, as it comes": "ours",
    "LargeSC as published, on our models, two packets a pair": (
        "LargeSC as published, two packets a pair"
    ),
    "the same, one packet a pair": "LargeSC as published, one packet a pair",
    "Codec 2 1200": "Codec 2 1200",
    "Lyra v2": "Lyra v2 3.2 kbit/s",
    "Opus with FEC": "Opus 6 kbit/s, 60 ms",
}


def table(page: str, first_head: str) -> list[list[str]]:
    """Cells of the lines of a page's table whose first column has this head."""
    lines = page.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_head} |"))
    found = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def mean(rows: list[dict], name: str, **wanted: str) -> float:
    values = [number_of(r[name]) for r in rows if all(r[k] == v for k, v in wanted.items())]
    known = [value for value in values if value == value]
    return sum(known) / len(known)


def demo_line(row: dict) -> list[str]:
    """A row of demo.csv as docs/results has it."""
    return [
        row["channel"],
        row["payload_bps"],
        row["radio_bps"],
        row["udp_bps"],
        f"{100 * float(row['packets_lost']):.3g} %",
        f"{row['frames_made_up']} of {row['frames']}",
        f"{float(row['compute_ms_p50']):.0f} / {float(row['compute_ms_p95']):.0f}",
        f"{float(row['visqol']):.2f}",
    ]


def test_audio_is_that_of_its_csv():
    rows = read_csv(ROOT / "docs" / "audio" / "demo.csv")
    page = (ROOT / "docs" / "audio" / "README.md").read_text()
    for row, cells in zip(rows, table(page, "file")[1:], strict=True):
        line = demo_line(row)
        assert cells[1:4] == line[:3]
        assert cells[4:] == [line[4], line[5], f"{row['words_kept_percent']} %"]


def test_demo_is_that_of_its_csv():
    rows = read_csv(RESULTS / "demo.csv")
    assert table(LINK, "channel") == [demo_line(row) for row in rows]
    assert {f"{float(row['seconds']):.1f}" for row in rows} == {
        re.search(r"`./bootstrap demo`, ([\d.]+) s of recordings", LINK)[1]
    }


def test_comparison_is_that_of_the_sweep():
    rows = read_csv(RESULTS / "sweep" / "results.csv")
    times = read_csv(RESULTS / "sweep" / "times.csv")
    shown = table(README, "system")
    # At how many times the rate stands behind the name.
    assert [line[0].split(", at ")[0] for line in shown] == list(SYSTEMS)
    own_bps = mean(rows, "radio_bps", system="ours")
    lost = words.lost(read_csv(RESULTS / "words" / "results.csv"), "words_tiny", "original", "ours")
    for name, radio_bps, delay_ms, *scores, words_lost in shown:
        system = SYSTEMS[name.split(", at ")[0]]
        rate = mean(rows, "radio_bps", system=system)
        assert radio_bps == f"{rate:.0f}"
        if " times the rate" in name:
            assert f"at {rate / own_bps:.1f} times the rate" in name
        assert delay_ms == f"{delay(rows, times, system):.0f}"
        for score, (channel, loss) in zip(scores, PLACES, strict=True):
            at = {"system": system, "channel": channel, "loss": loss}
            assert score == f"{mean(rows, 'visqol', **at):.2f} / {mean(rows, 'stoi', **at):.2f}"
        found = [lost[system, *place]["lost"][0] for place in WORDS if (system, *place) in lost]
        assert words_lost == (" / ".join(f"{share:.2f}" for share in found) or "–")
    utterances = re.search(r"equal rate, (\d+) utterances", README)[1]
    assert len({row["utterance"] for row in rows}) == int(utterances)


WORDS = (("none", "0.0"), ("uniform", "0.3"))
PLACES = (("none", "0.0"), ("bursts of 240 ms", "0.2"), ("bursts of 240 ms", "0.3"))


def delay(rows: list[dict], times: list[dict], system: str) -> float:
    """By design and computing: p95 of a frame for ours, the mean of a packet for others, in ms."""
    framing, waiting = (mean(rows, k, system=system) for k in ("framing_ms", "waiting_ms"))
    if any(r["compute_ms_p95"] for r in times if r["system"] == system):
        return framing + waiting + mean(times, "compute_ms_p95", system=system)
    return framing + waiting + framing * mean(times, "compute_share", system=system)


@pytest.mark.parametrize("name", re.findall(r"docs/results/[\w./-]+\.(?:csv|png)", README))
def test_files_that_are_named_are_there(name):
    assert (ROOT / name).is_file()


def test_readme_is_short_and_its_sentences_too():
    assert len(README.splitlines()) <= 100
    text = re.sub(
        r"```.*?```|^\|.*?$|!?\[|\]\([^)]*\)", " ", README, flags=re.DOTALL | re.MULTILINE
    )
    for paragraph in re.split(r"\n\s*\n|\n- ", text):
        for sentence in re.split(r"(?<=[.:;])\s", paragraph):
            words = [word for word in sentence.split() if any(c.isalnum() for c in word)]
            assert len(words) <= 25, sentence

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages say of analogue speech is what the CSVs of its study and training say."""

from pathlib import Path

from gnuradio.largesc.models.store import EMBEDDED
from gnuradio.largesc.options import AnalogueOptions
from gnuradio.largesc.studies.radio.analogue import POINTS, pooled
from gnuradio.largesc.tables import read_csv
from gnuradio.largesc.tasks.analogue_speech import AnalogueReceiver
from test_figures import table

DOCS = Path(__file__).resolve().parents[1] / "docs"
RESULTS = DOCS / "results" / "analogue"
PAGE = (DOCS / "analogue.md").read_text()


def test_words_of_the_page_are_those_of_the_study():
    rows = read_csv(RESULTS / "radio_analogue.csv")
    for row in rows:
        row["words_tiny"] = float(row["words_tiny"]) if row["words_tiny"] else float("nan")
    for channel, snrs in POINTS.items():
        said = channel if channel.startswith("Rayleigh") else channel[0].lower() + channel[1:]
        cells = table(PAGE, f"words wrong, {said}, at SNR")
        there = [row["system"] for row in rows if row["channel"] == channel]
        assert [line[0] for line in cells] == list(dict.fromkeys(there))
        for system, *shown in cells:
            for snr_db, cell in zip(snrs, shown, strict=True):
                of = [
                    row
                    for row in rows
                    if (row["channel"], row["system"]) == (channel, system)
                    and float(row["snr_db"]) == snr_db
                ]
                assert cell == f"{pooled(of, 'words_tiny'):.2f}", (channel, system, snr_db)


def test_words_wrong_of_the_original_are_those_of_the_study():
    rows = read_csv(RESULTS / "radio_analogue.csv")
    of = [r for r in rows if r["channel"] == "none" and r["words_tiny"]]
    wrong = sum(float(r["words_tiny"]) * float(r["words_tiny_of"]) for r in of)
    share = wrong / sum(float(r["words_tiny_of"]) for r in of)
    assert f"Of the original {share:.2f} are wrong." in PAGE


def test_what_is_left_of_the_latent_is_that_of_the_curve():
    last = read_csv(RESULTS / "analogue_curve.csv")[-1]
    cells = table((DOCS / "training.md").read_text(), "SNR of a symbol")
    for (name, *shown), kind in zip(cells, ("linear", "left"), strict=True):
        values = [float(v) for k, v in last.items() if k.startswith(f"{kind}_")]
        assert shown == [f"{value:.3f}" for value in values], name
    card = table((EMBEDDED / "README.md").read_text(), "SNR of a symbol, dB")
    for snr_db, plain, refined in card:
        assert plain == f"{float(last[f'linear_{snr_db}']):.3f}"
        assert refined == f"{float(last[f'left_{snr_db}']):.3f}"


def test_the_delay_of_the_page_is_that_of_the_receiver():
    assert f"{AnalogueReceiver(AnalogueOptions()).delay_s:.2f} s: a burst is said" in PAGE

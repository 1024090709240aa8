# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/translation.md are the CSVs of the study, row by row."""

import math
import re
from pathlib import Path

import pytest
from gnuradio.largesc.radio.symbol_burst import SYMBOL_PROFILES, burst_symbols
from gnuradio.largesc.tables import read_csv
from gnuradio.largesc.tasks.translation_radio import time_share
from test_figures import table

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "translation.md").read_text()


def rows(name: str) -> list[dict]:
    return read_csv(DOCS / "results" / "translation" / f"{name}.csv")


def score(row: dict) -> str:
    return f"{float(row['chrf']):.1f} / {float(row['bleu']):.1f}"


def test_whole_phrases():
    said = table(PAGE, "what goes over the air")
    found = [row for row in rows("translation") if row["system"] == "features"]
    (head,) = (line for line in PAGE.splitlines() if line.startswith("| what goes over the air |"))
    snrs_db = [float(n.replace("−", "-")) for n in re.findall(r"([−\d]+) dB", head)]
    assert set(snrs_db) == {float(row["snr_db"]) for row in found}
    wanted = {}
    for row in found:
        system = f"features, {row['symbols']} symbols a frame"
        rate = str(50 * int(row["symbols"]))
        line = wanted.setdefault((system, rate, row["channel"]), ["–"] * len(snrs_db))
        line[snrs_db.index(float(row["snr_db"]))] = score(row)
    assert {tuple(line[:3]): line[3:] for line in said} == wanted
    assert len(said) == len(wanted) > 0


def test_channel_codes():
    found, wanted = rows("codes"), []
    said = table(PAGE, "symbols a frame")
    for line in said:
        place = (line[0], line[1], str(float(line[2].replace("−", "-"))))
        names = ("symbols", "channel", "snr_db")
        by = {row["code"]: row for row in found if tuple(row[n] for n in names) == place}
        trained = by["trained"]
        ahead = "{} ({} to {})".format(*(trained[n] for n in ("ahead", "low", "high")))
        dense = score(by["dense"]) if "dense" in by else "–"
        wanted.append(
            [*line[:3], score(by["linear"]), score(trained), ahead.replace("-", "−"), dense]
        )
    assert said == wanted and len(said) == sum(row["code"] == "trained" for row in found) > 0
    assert f"no channel: {score(found[0])}." in PAGE and found[0]["code"] == "no channel"
    # The bounds that were set: 5 % below no channel, half of it, and so on fading 4 dB higher.
    whole = float(found[0]["chrf"])
    reached = {
        (row["symbols"], row["channel"], float(row["snr_db"])): float(row["chrf"])
        for row in found
        if row["code"] == "trained"
    }
    for symbols, snr_db, share in (("48", 10.0, 0.95), ("96", 5.0, 0.95), ("128", 0.0, 0.5)):
        assert reached[symbols, "awgn", snr_db] >= share * whole
        assert reached[symbols, "rayleigh", snr_db + 4.0] >= share * whole


def test_the_curve_of_the_trained_code():
    curve = rows("trained_code_curve")
    page = (DOCS / "training.md").read_text()
    for line, row in zip(table(page, "code"), (curve[0], curve[-1]), strict=True):
        cells = [
            f"{float(row[f'words_{n}']):.3f} / {float(row[f'error_{n}']):.3f}"
            for n in ("48_10", "64_5", "64_0", "128_0")
        ]
        assert line[1:] == cells


def test_without_a_radio_channel():
    wanted = [[r["system"], score(r)] for r in rows("translation") if r["system"] != "features"]
    assert table(PAGE, "without a radio channel") == wanted


def test_streaming():
    names = ("segments", "segment_s", "policy", "score", "average_latency_s", "lag_first_s")
    names += ("lag_text_s", "computing")
    wanted = [[(row | {"score": score(row)})[name] for name in names] for row in rows("streaming")]
    assert table(PAGE, "segments") == wanted


def test_long_speech():
    found = rows("long")
    assert table(PAGE, "minute") == [[row[name] for name in found[0]] for row in found]
    # What the page says of it.
    first, fifth, last = (float(found[n]["lag_text_s"]) for n in (0, 4, 9))
    said = (
        f"{first:.1f} s behind in the first minute, {fifth:.1f} s in the fifth and {last:.1f} s in"
    )
    assert said in " ".join(PAGE.split())
    # It stays where it is.
    assert last <= fifth


def test_segments_alone_by_the_minute():
    found = rows("long_segment")
    assert table(PAGE, "minute, each alone") == [[row[n] for n in found[0]] for row in found]
    assert max(float(row["lag_text_s"]) for row in found) < 1.2


def test_calls_of_two_edges():
    found = rows("calls")
    assert table(PAGE, "calls") == [[row[name] for name in found[0]] for row in found]


def test_german():
    found = rows("speech_de")
    said = [
        [row["channel"] or "none", row["snr_db"] or "–", row["chrf"], row["words"]] for row in found
    ]
    assert table(PAGE, "German over") == said
    assert f"{found[0]['utterances']} utterances" in PAGE


def test_radio():
    found = rows("radio")
    wanted = []
    for told, modem in zip(found[::2], found[1::2], strict=True):
        same = ("channel", "doppler_hz", "snr_db", "prompts")
        assert [told[name] for name in same] == [modem[name] for name in same]
        doppler_hz = float(modem["doppler_hz"])
        fading = f", {doppler_hz:g} Hz" if doppler_hz else ""
        lost = f"{modem['lost']} of {modem['bursts']}"
        line = [modem["channel"] + fading, f"{float(modem['snr_db']):g}", score(told), score(modem)]
        wanted.append([*line, lost])
    assert table(PAGE, "over the air") == wanted
    sums = {n: sum(int(r[n]) for r in found[1::2]) for n in ("symbols", "payload_symbols")}
    share = sums["symbols"] / sums["payload_symbols"]
    assert f"{share:.2f} symbols on the air for each of the channel code" in PAGE
    assert f"{found[0]['prompts']} prompts, {int(found[0]['prompts']) // 4} of each" in PAGE


def test_nothing_is_found_in_noise():
    found = rows("radio_noise")
    assert [row["profile"] for row in found] == list(SYMBOL_PROFILES)
    assert all(
        row["seconds"] == "600" and row["preambles"] == row["bursts"] == "0" for row in found
    )


def test_peaks():
    (row,) = rows("radio_peaks")
    assert f"Peaks are {row['peak']} times the RMS" in PAGE
    assert f"(an error of −{row['limited_db'].lstrip('-')} dB)" in PAGE
    less_db = 20.0 * math.log10(float(row["peak"]) / 1.8)
    assert f"has {less_db:.0f} dB less power" in PAGE


def test_what_profiles_carry_is_said():
    said = table(PAGE, "profile")
    wanted = []
    for name, profile in SYMBOL_PROFILES.items():
        most = max(n for n in range(1, 200) if time_share(profile, n) <= 1.0)
        share = time_share(profile, 64)
        used = f"{100 * share:.0f} % of the time" if share <= 1.0 else "–"
        wide = f"{profile.bandwidth_hz / 1000:g}"
        wanted.append([f"`{name}`", f"{profile.symbol_rate:g}", wide, str(most), used])
    assert said == wanted
    assert f"The overhead is {burst_symbols(2400) - 2400} symbols on the 2400" in PAGE


def test_long_speech_is_shown_by_the_minute():
    from gnuradio.largesc.studies.translation import by_minute

    windows = [(10.0, 2.0, 5.0, 20), (50.0, 4.0, 6.0, 10), (70.0, 1.0, 2.0, 3)]
    assert by_minute(windows) == [
        {"minute": 1, "windows": 2, "words": 30, "lag_text_s": 3.0, "lag_voice_s": 5.5},
        {"minute": 2, "windows": 1, "words": 3, "lag_text_s": 1.0, "lag_voice_s": 2.0},
    ]


def test_confidence():
    found = rows("confidence")
    names = list(found[0])
    wanted = [[row[name] or "–" for name in names] for row in found]
    assert table(PAGE, "channel") == wanted


@pytest.mark.parametrize("name", ["translation", "streaming", "confidence"])
def test_the_number_of_prompts_is_said(name):
    row = rows(name)[0]
    count = row.get("prompts") or row["windows"]
    assert f"{count} {'prompts' if 'prompts' in row else 'windows'}" in PAGE


def test_german_with_the_trained_code():
    found = rows("trained/speech_de")
    wanted = [[r["channel"], r["snr_db"] or "–", r["chrf"], r["words"]] for r in found]
    assert table(PAGE, "German, trained code, over") == wanted
    # It keeps more than the linear code at each SNR.
    for linear, trained in zip(rows("speech_de")[1:], found[1:], strict=True):
        assert float(trained["chrf"]) > float(linear["chrf"])

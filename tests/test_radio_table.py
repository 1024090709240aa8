# SPDX-License-Identifier: GPL-3.0-or-later
"""Theory and table of the radio's packet error rates."""

import csv
import math

import numpy as np
import pytest
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.studies.radio import conditions, per
from gnuradio.largesc.studies.radio.runs import Setting, energies, in_time, receive, transmit
from gnuradio.largesc.studies.radio.theory import crossing, packet_error_rate

UNCODED = [Setting("ssb_bpsk"), Setting("ssb", "qpsk", "none")]


def test_theory():
    # A bit error rate of 1e-5 at 9.6 dB is in every textbook.
    assert per.ideal_per(9.6, 1) == pytest.approx(8e-5, rel=0.1)
    bpsk, qpsk = (setting.radio for setting in UNCODED)
    # 3 dB between them, of a symbol.
    assert packet_error_rate(bpsk, 25, 8.0) == pytest.approx(packet_error_rate(qpsk, 25, 16.0))
    coded = Setting("ssb", "bpsk", "convolutional").radio
    assert packet_error_rate(coded, 25, 2.0) < 1e-4 < packet_error_rate(bpsk, 25, 2.0)
    assert math.isnan(packet_error_rate(Setting("narrow").radio, 25, 2.0))


def test_crossing():
    assert crossing([1.0, 2.0, 3.0], [0.1, 0.01, 0.001], 10**-1.5) == pytest.approx(1.5)
    assert math.isnan(crossing([1.0, 2.0], [0.1, 0.05]))


@pytest.mark.parametrize("setting", [Setting("ssb"), Setting("narrow"), Setting("wide")])
def test_energies_are_those_of_the_samples(setting):
    packets = [bytes([n] * 25) for n in range(40)]
    power = np.sum(np.abs(transmit(setting, packets)) ** 2)
    assert power == pytest.approx(40 * energies(setting, 25).burst, rel=0.05)


@pytest.mark.parametrize("setting", UNCODED)
def test_uncoded_is_within_a_decibel_and_a_half_of_theory(setting):
    # Uncoded bits alone would lose 1 % of the packets at 8.8 dB.
    assert per.ideal_per(8.79, 25) == pytest.approx(0.01, rel=0.03)
    row = per.measure(setting, 8.79 + 1.5, 200, 25, seed=1)
    assert row["lost"] <= 4 and row["false"] == 0


@pytest.mark.parametrize("setting", [Setting("ssb"), Setting("narrow")])
def test_codes_gain_four_decibels(setting):
    row = per.measure(setting, 8.79 - 4.0, 200, 25, seed=1)
    assert row["lost"] <= 5 and row["false"] == 0


@pytest.mark.parametrize("name", conditions.PROFILES)
def test_fade_lies_on_the_samples_as_they_are(name):
    setting = Setting(name)
    radio, sizes = setting.radio, [25] * 20
    sent = transmit(setting, [bytes([n] * 25) for n in range(20)])
    whole, spans = in_time(setting, sent, sizes, 0.16)
    x, touched = conditions.faded(setting, sent, sizes, seed=1)
    # Nothing is put in and nothing is left out.
    assert len(x) == len(whole) == spans[-1, 1]
    changed = np.flatnonzero(x != whole)
    begin, end = changed[0], changed[-1] + 1
    assert not x[begin:end].any() and 0 <= begin / radio.sample_rate < 1.01
    assert 1.7 < (end - begin) / radio.sample_rate <= 2.0
    inside = [n for n, (a, b) in enumerate(spans) if begin <= a and b <= end]
    assert touched[inside].all() and 10 <= len(inside) <= touched.sum() <= 14
    # A packet each 160 ms, or as soon as the one before is over.
    apart = np.diff(spans[:, 0]) / radio.sample_rate
    assert apart == pytest.approx(max(0.16, radio.airtime(25)), abs=2e-4)


def test_bursts_in_time_are_those_that_were_sent():
    setting = Setting("ssb")
    packets = [bytes([n] * 25) for n in range(3)]
    x, _ = in_time(setting, transmit(setting, packets), [25] * 3, 0.4)
    assert len(x) == pytest.approx((0.8 + setting.radio.airtime(25)) * setting.radio.sample_rate, 2)
    received, _ = receive(setting, np.concatenate([x, np.zeros(1000, np.complex64)]), 1e-6, 1)
    assert received == packets


def test_command_writes_table_and_picture(tmp_path):
    arguments = ["--output", str(tmp_path), "--packets", "10", "--only", "narrow", "--noise", "0.2"]
    assert main(["study", "radio_per", *arguments]) == 0
    assert (tmp_path / "radio_per.png").stat().st_size > 1000
    for name in ("radio_per.csv", "radio_summary.csv", "radio_noise.csv"):
        with (tmp_path / name).open(newline="") as file:
            assert list(csv.DictReader(file))


def test_command_refuses_an_unknown_setting(tmp_path, capsys):
    assert main(["study", "radio_per", "--output", str(tmp_path), "--only", "am"]) == 2
    assert "leaves no setting" in capsys.readouterr().err

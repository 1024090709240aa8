# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers of the radio: carriers that are far off, senders set otherwise, runs after another."""

import logging

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.radio.profiles import PROFILES, find_profile
from gnuradio.largesc.radio.receiver import BurstReceiver
from gnuradio.largesc.radio.search import most_search_hz, searched_profile
from radio_signals import noisy, random_packets, shifted, transmit

SIZES = [25] * 6


def received(x: np.ndarray, profile, search_hz: float = 0.0) -> tuple[list[bytes], BurstReceiver]:
    """Packets of a receiver that is given samples as they would come live."""
    receiver = BurstReceiver(profile, search_hz)
    found = []
    for start in range(0, len(x), 1024):
        for burst in receiver.push(x[start : start + 1024]):
            receiver.accepted(burst)
            found.append(burst.packet)
    return found, receiver


@pytest.mark.parametrize(
    "name, search_hz, offset_hz",
    [
        ("ssb", 0, 500),
        ("ssb", 0, -1700),
        ("ssb", 8700, 8700),
        ("ssb", 8700, -4321),
        ("narrow", 0, -6900),
        ("narrow", 8700, 8650),
    ],
)
def test_carriers_far_off_are_found_from_the_first_burst_on(name, search_hz, offset_hz):
    profile = searched_profile(PROFILES[name], search_hz)
    packets = random_packets(SIZES, 3)
    x = shifted(transmit(packets, profile, 60), offset_hz / profile.symbol_rate, profile)
    found, receiver = received(noisy(x, 6.5, profile, 5), profile, search_hz)
    assert [packet for packet in found if packet in packets] == packets
    assert receiver.diagnosis() != ""
    seen = receiver.seen()
    assert abs(seen.offset - offset_hz / profile.symbol_rate) < 0.3
    assert 1 < seen.level_db < 9


def test_two_stations_beside_each_other_are_both_read():
    profile = searched_profile(PROFILES["ssb"], 8000)
    low, high = random_packets(SIZES, 1), random_packets(SIZES, 2)
    x = shifted(transmit(low, profile, 60), -3.0, profile)
    x = x + shifted(transmit(high, profile, 60), 2.5, profile)
    found, _ = received(noisy(x, 9, profile, 5), profile, 8000)
    assert set(low) | set(high) <= set(found)


def test_a_carrier_elsewhere_does_not_hide_the_signal():
    profile = searched_profile(PROFILES["ssb"], 8000)
    packets = random_packets(SIZES, 4)
    x = shifted(transmit(packets, profile, 60), 2.5, profile)
    # Ten times as strong: the local oscillator that cheap radios leak.
    x = noisy(x, 9, profile, 5) + 3.0 * np.exp(-2j * np.pi * 0.11 * np.arange(len(x)))
    found, _ = received(x, profile, 8000)
    assert set(packets) <= set(found)


def test_noise_gives_no_packets_and_no_word():
    profile = searched_profile(PROFILES["ssb"], 8700)
    random = np.random.default_rng(8).standard_normal((2, int(15 * profile.sample_rate)))
    found, receiver = received(random[0] + 1j * random[1], profile, 8700)
    assert receiver.diagnosis() == ""
    # A header of noise comes once in 12 s or so; its CRC is not checked here.
    assert len(found) < 8


def test_search_is_within_the_samples():
    ssb = PROFILES["ssb"]
    assert most_search_hz(ssb, ssb.sample_rate) == pytest.approx(1755)
    assert searched_profile(ssb, 8700).sample_rate == 28800
    with pytest.raises(ValueError, match="search_hz 1800 is out of range"):
        BurstReceiver(ssb, 1800)


def log_of(x: np.ndarray, caplog, **options) -> str:
    tb = gr.top_block("rx", catch_exceptions=False)
    source = blocks.vector_source_c(np.asarray(x, dtype=np.complex64).tolist())
    rx = largesc.packet_radio_rx(**options)
    tb.connect(source, rx)
    with caplog.at_level(logging.WARNING):
        tb.run()
    assert rx.statistics()["accepted"] == 0
    lines = [r.getMessage() for r in caplog.records if "no packet yet" in r.getMessage()]
    assert len(lines) == 1, lines
    assert rx.diagnosis() != ""
    return lines[0]


def speech_like(name: str, packets: int = 20, **changed) -> tuple[np.ndarray, object]:
    profile = find_profile(name, **changed)
    # Bursts come every 160 ms.
    pause = round(0.16 * profile.symbol_rate) - profile.burst_symbols(25)
    return transmit(random_packets([25] * packets, 6), profile, max(12, pause)), profile


@pytest.mark.parametrize(
    "sender, receiver, said",
    [
        ("ssb_bpsk", "ssb", "another setting are heard, profile ssb_bpsk: use the same"),
        ("ssb", "ssb_bpsk", "another setting are heard, profile ssb: use the same"),
    ],
)
def test_a_sender_of_another_modulation_is_named(caplog, sender, receiver, said):
    x, profile = speech_like(sender)
    assert said in log_of(noisy(x, 12, profile, 1), caplog, profile=receiver)


def test_a_sender_of_another_code_is_named(caplog):
    x, profile = speech_like("ssb", code="ldpc")
    said = log_of(noisy(x, 12, profile, 1), caplog, profile="ssb")
    assert "modulation qpsk with code ldpc" in said


def test_a_sender_of_another_bandwidth_is_told(caplog):
    # ssb at the rate of narrow: 16 samples a symbol.
    profile = searched_profile(PROFILES["ssb"], 8700)
    x = noisy(transmit(random_packets([25] * 20, 6), profile, 12), 12, profile, 1)
    assert "is the sender's ssb?" in log_of(x, caplog, profile="narrow")
    caplog.clear()
    x, narrow = speech_like("narrow", 30)
    x = noisy(x, 12, narrow, 1)
    said = log_of(x, caplog, profile="ssb", sample_rate=28800.0)
    assert "as wide as all that is looked at" in said and "narrow" in said


def test_a_signal_beyond_the_search_is_told(caplog):
    x, profile = speech_like("ssb")
    wide = noisy(shifted(x, 1.25, profile), 15, profile, 1)
    said = log_of(wide, caplog, profile="ssb")
    assert "above the centre, at the edge of the search" in said


@pytest.mark.parametrize("profile", ["ssb", "narrow", "wide"])
@pytest.mark.parametrize("end", ["end", "middle"])
def test_every_run_hears_what_the_first_one_heard(profile, end):
    from test_radio_blocks import samples_of

    packets = [bytes([n]) * 25 for n in range(8)]
    x = samples_of(packets, profile=profile)
    x = np.concatenate([x, np.zeros(65536 if profile == "wide" else 400)]).astype(np.complex64)
    # Within a payload.
    cut = x[
        : np.flatnonzero(np.abs(x) > 0.1)[0] + len(samples_of(packets[:1], profile=profile)) // 2
    ]
    tb = gr.top_block("again", catch_exceptions=False)
    source, debug = blocks.vector_source_c([]), blocks.message_debug()
    rx = largesc.packet_radio_rx(profile=profile)
    tb.connect(source, rx)
    tb.msg_connect(rx, "packets", debug, "store")
    for run, samples in enumerate((cut if end == "middle" else x, x, x)):
        before = debug.num_messages()
        source.set_data(samples.tolist())
        source.rewind()
        tb.run()
        messages = [debug.get_message(n) for n in range(before, debug.num_messages())]
        found = [bytes(pmt.u8vector_elements(pmt.cdr(message))) for message in messages]
        if run or end == "end":
            assert found == packets, run
            assert rx.statistics()["accepted"] == len(packets)


@pytest.mark.parametrize("profile", ["ssb", "wide"])
def test_every_run_sends_what_it_is_given(profile):
    from gnuradio.largesc import keys

    tb = gr.top_block("again", catch_exceptions=False)
    tx, sink = largesc.packet_radio_tx(profile=profile), blocks.vector_sink_c()
    tb.connect(tx, sink)
    over = pmt.dict_add(pmt.make_dict(), pmt.intern(keys.end_of_stream), pmt.PMT_T)
    sent = []
    for _ in range(3):
        sink.reset()
        tb.start()
        for meta, size in ((pmt.make_dict(), 25), (over, 2)):
            message = pmt.cons(meta, pmt.init_u8vector(size, [7] * size))
            tx.source.gateway._post(pmt.intern("packets"), message)
        tb.wait()
        sent.append(np.array(sink.data()))
        assert tx.statistics()["packets"] == 2
    assert np.array_equal(sent[0], sent[1]) and np.array_equal(sent[0], sent[2])


def through(channel, x: np.ndarray) -> np.ndarray:
    tb = gr.top_block("air", catch_exceptions=False)
    sink = blocks.vector_sink_c()
    tb.connect(blocks.vector_source_c(x.tolist()), channel, sink)
    tb.run()
    return np.array(sink.data())


def test_channel_is_in_hertz_and_decibels(caplog):
    rate, silence = 48000.0, np.zeros(60000, dtype=np.complex64)
    air = largesc.radio_channel(sample_rate=rate, snr_db=10, snr_bandwidth_hz=3000, amplitude=0.5)
    # 0.25 of power over ten times the noise in 3 kHz, of which the stream has 16.
    noise = np.mean(np.abs(through(air, silence)) ** 2)
    assert noise == pytest.approx(0.25 / 10 * 16, rel=0.05)
    air = largesc.radio_channel(sample_rate=rate, carrier_offset_hz=-1500)
    turned = through(air, np.full(4096, 0.5, dtype=np.complex64))[64:]
    step = np.angle(np.mean(turned[1:] * turned[:-1].conj()))
    assert step * rate / (2 * np.pi) == pytest.approx(-1500, abs=0.5)
    # While running: good values are taken, others are refused, said once, and nothing raises.
    air.set_snr_db(20)
    # The model tells the deviation of one part of the complex noise.
    voltage = 0.5 * 10 ** (-20 / 20) / np.sqrt(2)
    assert air.model.noise_voltage() == pytest.approx(voltage)
    air.set_carrier_offset_hz(750)
    assert air.model.frequency_offset() == pytest.approx(750 / rate)
    air.set_clock_ppm(100)
    assert air.model.timing_offset() == pytest.approx(1.0001)
    with caplog.at_level(logging.WARNING):
        air.set_carrier_offset_hz(1e6)
        air.set_snr_db(float("nan"))
        air.set_clock_ppm("much")
        air.set_doppler_hz(-1)
        air.set_amplitude(0)
    assert air.model.frequency_offset() == pytest.approx(750 / rate)
    assert air.model.noise_voltage() == pytest.approx(voltage)
    assert len(caplog.records) == 5 and air.statistics() == {"refused_settings": 5}
    assert "carrier_offset_hz 1000000.0 is out of range" in caplog.text


def test_amplitude_can_be_changed_while_running(caplog):
    tx = largesc.packet_radio_tx(profile="ssb", amplitude=0.5)
    with caplog.at_level(logging.WARNING):
        tx.set_amplitude(2.0)
        tx.set_amplitude(-1.0)
    assert "amplitude 2.0 is out of range" in caplog.text
    assert tx.statistics()["refused_settings"] == 2
    tx.set_amplitude(0.25)
    sink, tb = blocks.vector_sink_c(), gr.top_block("loud", catch_exceptions=False)
    tb.connect(tx, sink)
    message = pmt.cons(pmt.make_dict(), pmt.init_u8vector(25, [7] * 25))
    tx.source.gateway._post(pmt.intern("packets"), message)
    tx.source.gateway._post(
        pmt.intern("packets"),
        pmt.cons(
            pmt.dict_add(pmt.make_dict(), pmt.intern("end_of_stream"), pmt.PMT_T), pmt.PMT_NIL
        ),
    )
    tb.run()
    burst = np.array(sink.data())[96 : 96 + 270 * 4]
    assert np.sqrt(np.mean(np.abs(burst) ** 2)) == pytest.approx(0.25, rel=0.03)


def test_symbols_of_a_packet_are_upright():
    x, profile = speech_like("ssb", 3)
    tb, debug = gr.top_block("symbols", catch_exceptions=False), blocks.message_debug()
    rx = largesc.packet_radio_rx(profile="ssb")
    x = noisy(shifted(x, 0.3, profile), 20, profile, 1).astype(np.complex64)
    tb.connect(blocks.vector_source_c(x.tolist()), rx)
    tb.msg_connect(rx, "symbols", debug, "store")
    tb.run()
    # Packets of these tests have no CRC of their own: some pass all the same only with one.
    for n in range(debug.num_messages()):
        symbols = np.array(pmt.c32vector_elements(pmt.cdr(debug.get_message(n))))
        assert np.abs(np.abs(symbols.real) - np.sqrt(0.5)).mean() < 0.2


def test_status_text_says_what_it_is_asked_for(capfd):
    text = largesc.status_text(
        title="Sender",
        shown=[("tokens", "tokens_sent", "frames", 1, "of 8"), ("p", "loss", "", 100, "%")],
    )
    assert text.start() and text.text == "Sender: nothing yet"
    for facts in ({"tokens_sent": 40, "frames": 10}, {"loss": 0.125}, {"other": 1}):
        text._on_status(pmt.to_pmt(facts))
    assert text.text == "Sender: tokens 4 of 8 · p 12.5 %"
    text._on_status(pmt.to_pmt({"tokens_sent": 60, "frames": 20}))
    assert text.text == "Sender: tokens 2 of 8 · p 12.5 %"
    for odd in (pmt.PMT_NIL, pmt.from_long(3), pmt.to_pmt({"loss": "much"})):
        text._on_status(odd)
    assert text.text == "Sender: tokens 2 of 8 · p 12.5 %"
    assert "Sender: nothing yet" in capfd.readouterr().err
    with pytest.raises(ValueError, match="is none of"):
        largesc.status_text(shown=[("a", "b")])
    said = largesc.status_text(shown=[("", "label", "", None, ""), ("p", "p", "", 100, "%")])
    for facts in ({"label": "left", "p": 0.5}, {"label": 3}):
        said._on_status(pmt.to_pmt(facts))
    assert said.text == "left · p 50 %"

# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of the task link, in flowgraphs."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks, filter, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.messages import end_of_stream, make_burst, make_packet, to_pmt
from gnuradio.largesc.blocks.radio.packet_radio_tx import scaled_pulse
from gnuradio.largesc.radio.profiles import find_profile
from gnuradio.largesc.radio.pulses import pulse_taps
from gnuradio.largesc.radio.task_burst import TaskBurstReceiver, make_task_burst

RATE = 24000


@pytest.fixture(scope="module")
def hums() -> list[float]:
    """Two commands, or what passes for such."""
    t = np.arange(4 * RATE) / RATE
    loud = ((t > 0.5) & (t < 1.0)) | ((t > 2.0) & (t < 2.6))
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(t))
    return (noise + 0.3 * np.sin(2 * np.pi * 200 * t) * loud).tolist()


def stored(sink: object) -> list[object]:
    return [pmt.to_python(sink.get_message(n)) for n in range(sink.num_messages())]


def of_encoder(models: str, samples: list[float]) -> tuple:
    tb = gr.top_block(catch_exceptions=False)
    encoder = largesc.task_encoder(model=models, symbols=32, snr_db=5.0)
    decider = largesc.task_decider(model=models, confidence=0.0)
    bursts, decisions = blocks.message_debug(False), blocks.message_debug(False)
    tb.source = blocks.vector_source_f(samples)
    tb.connect(tb.source, encoder)
    tb.msg_connect(encoder, "bursts", bursts, "store")
    tb.msg_connect(encoder, "bursts", decider, "bursts")
    tb.msg_connect(decider, "decision", decisions, "store")
    return tb, encoder, decider, bursts, decisions


def test_each_command_is_a_burst_and_a_decision(models, hums):
    tb, encoder, decider, bursts, decisions = of_encoder(models, hums)
    tb.run()
    found = [b for b in stored(bursts) if len(b[1])]
    assert [b[0][keys.command_index] for b in found] == [0, 1]
    assert [round(b[0][keys.capture_time_ns] / 1e9, 1) for b in found] == [0.4, 1.9]
    for meta, burst in found:
        assert meta[keys.snr_db] == 5.0
        assert np.mean(np.abs(burst) ** 2) == pytest.approx(1.0, abs=1e-4)
    made = stored(decisions)
    assert [d[keys.command_index] for d in made] == [0, 1]
    assert all(d[keys.label] in ("on", "off", "_unknown_", "_silence_") for d in made)
    assert encoder.statistics()["commands"] == decider.statistics()["decisions"] == 2


def test_a_second_run_begins_anew(models, hums):
    tb, encoder, decider, _, decisions = of_encoder(models, hums)
    tb.run()
    first = stored(decisions)
    tb.source.rewind()
    tb.run()
    again = stored(decisions)[len(first) :]
    assert again == first and encoder.statistics()["commands"] == 2


def test_a_link_of_bits_decides_the_same(models, hums):
    kept = of_encoder(models, hums)
    tb, encoder = kept[:2]
    decider, sink = largesc.task_decider(model=models, confidence=0.0), blocks.message_debug(False)
    tb.msg_connect(encoder, "packets", decider, "packets")
    tb.msg_connect(decider, "decision", sink, "store")
    tb.run()
    assert [d[keys.command_index] for d in stored(sink)] == [0, 1]


def test_reports_change_the_burst_and_bad_ones_are_refused(models):
    encoder = largesc.task_encoder(model=models, symbols=32)
    good = [pmt.from_double(7.0), to_pmt({keys.snr_db: -3.0, keys.loss_probability: 0.1})]
    bad = [
        pmt.from_double(float("nan")), pmt.from_double(float("inf")), pmt.PMT_NIL, pmt.intern("x"),
        to_pmt({keys.loss_probability: 0.1}), to_pmt({keys.snr_db: float("nan")}), pmt.PMT_T,
        make_packet(b"abc"), pmt.cons(pmt.from_long(1), pmt.from_long(2)),
    ]  # fmt: skip
    for message, expected in zip(good, (7.0, -3.0), strict=True):
        encoder._on_port_snr(message)
        assert encoder.statistics()["snr_db"] == expected
    for message in bad:
        encoder._on_port_snr(message)
    assert encoder.statistics()["snr_db"] == -3.0
    assert encoder.statistics()["refused"] == len(bad)
    for value in (float("nan"), 1e9, "much", None):
        encoder.set_snr_db(value)
        encoder.set_symbols(value)
    assert encoder.statistics()["refused_settings"] == 8


def test_decider_survives_whatever_comes(models):
    decider = largesc.task_decider(model=models)
    burst = np.ones(32, np.complex64)
    bad = [
        make_burst({}, burst[:-1]), make_burst({}, np.full(32, np.nan)), pmt.PMT_NIL,
        make_packet(b""), pmt.from_long(4), make_burst({keys.channel_gain: complex("nan")}, burst),
        make_burst({}, np.zeros(0)), make_burst({}, 1e20 * burst),
    ]  # fmt: skip
    for message in bad:
        decider._on_port_bursts(message)
    for packet in (b"", b"abc", bytes(18), b"\xc7" + bytes(20)):
        decider._on_port_packets(make_packet(packet))
    assert decider.statistics()["refused"] == len(bad) + 4
    assert decider.statistics()["decisions"] == 0
    good = [
        make_burst({keys.snr_db: float("nan")}, burst), make_burst({keys.channel_gain: 0.0}, burst),
        make_burst({keys.command_index: -4}, burst), make_burst({keys.snr_db: "x"}, 0 * burst),
    ]  # fmt: skip
    for message in good:
        # Nobody listens at `decision`.
        decider._on_port_bursts(message)
    assert decider.statistics()["decisions"] == len(good)
    for value in (float("nan"), -1.0, "much", None):
        decider.set_confidence(value)
    assert decider.statistics()["refused_settings"] == 4


def test_numbers_of_commands_begin_again(models):
    tb, decider = gr.top_block(catch_exceptions=False), largesc.task_decider(model=models)
    sink, burst = blocks.message_debug(False), np.ones(32, np.complex64)
    tb.msg_connect(decider, "decision", sink, "store")
    for meta in ({keys.command_index: 2**63 - 1}, {}, {keys.command_index: 7}, {}):
        decider.to_basic_block()._post(pmt.intern("bursts"), make_burst(meta, burst))
    decider.to_basic_block()._post(pmt.intern("bursts"), end_of_stream(-1))
    tb.run()
    assert [d[keys.command_index] for d in stored(sink)] == [65535, 0, 7, 8]
    assert decider.statistics()["refused"] == 0


def on_the_air(models: str, samples: list[float], **air: object) -> tuple:
    tb = gr.top_block(catch_exceptions=False)
    tx = largesc.task_tx(model=models, symbols=32)
    rx = largesc.task_rx(model=models, symbols=32, confidence=0.0)
    rate, symbol_rate = tx.profile.sample_rate, tx.profile.symbol_rate
    channel = largesc.radio_channel(
        sample_rate=rate, snr_bandwidth_hz=symbol_rate, amplitude=0.5, **air
    )
    sent, heard = blocks.message_debug(False), blocks.message_debug(False)
    decisions = blocks.message_debug(False)
    tb.connect(blocks.vector_source_f(samples), tx, channel, rx)
    for block, port, sink in ((tx, "bursts", sent), (rx, "bursts", heard)):
        tb.msg_connect(block, port, sink, "store")
    tb.msg_connect(rx, "decision", decisions, "store")
    tb.run()
    return tx, rx, *([m for m in stored(s)] for s in (sent, heard, decisions))


@pytest.mark.parametrize("snr_db", [-6.0, 20.0])
def test_bursts_come_over_the_air(models, hums, snr_db):
    tx, rx, sent, heard, decisions = on_the_air(
        models, hums, snr_db=snr_db, carrier_offset_hz=60.0, seed=3
    )
    sent = [b for b in sent if len(b[1])]
    assert len(sent) == len(heard) == len(decisions) == 2
    for (_, was), (meta, burst) in zip(sent, heard, strict=True):
        assert meta[keys.snr_db] == pytest.approx(snr_db, abs=3.0 if snr_db < 0 else 10.0)
        like = np.vdot(was, burst) / 32
        assert like.real == pytest.approx(1.0, abs=0.45 if snr_db < 0 else 0.1)
    assert rx.statistics()["carrier_offset_hz"] == pytest.approx(60.0, abs=2.0)
    assert tx.statistics()["bursts"] == rx.statistics()["decisions"] == 2


@pytest.mark.parametrize("profile", ["ssb", "narrow"])
def test_a_burst_is_found_though_nothing_comes_behind_it(profile):
    profile, rng = find_profile(profile), np.random.default_rng(2)
    words = np.exp(2j * np.pi * rng.random((2, 32))).astype(np.complex64)
    source = blocks.vector_source_c(make_task_burst(words[0]).tolist())
    sps = profile.samples_per_symbol
    shaper = filter.interp_fir_filter_ccf(sps, scaled_pulse(sps, 0.5))
    sink, tb = blocks.vector_sink_c(), gr.top_block(catch_exceptions=False)
    tb.connect(source, shaper, sink)
    tb.run()
    sent = np.array(sink.data(), np.complex64)
    for before in (0, 1, 1000, 12_345):
        receiver = TaskBurstReceiver(profile, words)
        receiver.push(1e-3 * rng.standard_normal(before))
        found = receiver.push(sent)
        assert len(found) == 1 and abs(np.vdot(words[0], found[0].symbols)) > 30


@pytest.mark.parametrize("symbols", [100, 200, 256, 272])
def test_a_burst_that_ends_early_takes_none_with_it(symbols):
    profile, rng = find_profile("ssb"), np.random.default_rng(6)
    words = np.exp(2j * np.pi * rng.random((2, 32))).astype(np.complex64)
    sps = profile.samples_per_symbol
    pulse = pulse_taps(sps)
    parts = [make_task_burst(words[0])[:symbols], np.zeros(400), make_task_burst(words[1])]
    spread = np.zeros(sps * sum(map(len, parts)), dtype=complex)
    spread[::sps] = np.concatenate(parts)
    sent = np.convolve(spread, pulse)
    noise = rng.standard_normal((2, len(sent))) * 0.1
    receiver = TaskBurstReceiver(profile, words)
    found = []
    for piece in np.array_split(sent + noise[0] + 1j * noise[1], 7):
        found += receiver.push(piece)
    # What is found of the first is noise where its symbols are not.
    *early, last = found
    assert len(early) <= 1
    assert abs(np.vdot(words[1], last.symbols)) > 28
    for one in early:
        fits = abs(np.vdot(words[0], one.symbols)) / 32
        assert fits == pytest.approx(max(0, symbols - 256) / 32, abs=0.2)


def test_noise_is_no_burst():
    words = np.ones((2, 32), np.complex64)
    receiver, rng = TaskBurstReceiver(find_profile("ssb"), words), np.random.default_rng(1)
    noise = rng.standard_normal((2, 20 * 7200)) * 0.1
    found = receiver.push((noise[0] + 1j * noise[1]).astype(np.complex64))
    found += receiver.push(np.full(5000, np.nan + 0j))
    found += receiver.push(np.zeros(40_000, np.complex64))
    assert not found and receiver.counters == {"bursts": 0, "broken_samples": 5000}
    assert len(receiver._search.filtered) < 20_000
    with pytest.raises(ValueError, match="wide.* is ofdm"):
        TaskBurstReceiver(find_profile("wide"), words)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda m: largesc.task_encoder(model=m, symbols=31), "symbols 31"),
        (lambda m: largesc.task_encoder(model=m, symbols=32, snr_db=float("nan")), "snr_db nan"),
        (lambda m: largesc.task_encoder(model=m, symbols=32, margin_db=99), "margin_db 99"),
        (lambda m: largesc.task_encoder(model="no such model"), "no such model"),
        (lambda m: largesc.task_decider(model=m, confidence=2), "confidence 2"),
        (lambda m: largesc.task_tx(model=m, symbols=32, amplitude=0), "amplitude 0"),
        (lambda m: largesc.task_tx(model=m, symbols=32, profile="wide"), "profile 'wide'"),
        (lambda m: largesc.task_rx(model=m, symbols=7), "symbols 7"),
        (lambda m: largesc.task_rx(model=m, symbols=32, profile="wide"), "'wide' is ofdm"),
    ],
)
def test_bad_arguments_are_named(models, make, said):
    with pytest.raises(ValueError, match=said):
        make(models)

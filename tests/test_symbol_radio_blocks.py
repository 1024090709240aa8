# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that put symbols of a channel code on the air, and the translation link over them."""

from pathlib import Path

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.messages import make_burst, to_pmt
from gnuradio.largesc.blocks.translation.bursts import burst_pdu, end_of_bursts, read_burst
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.radio.symbol_burst import SYMBOL_PROFILES
from gnuradio.largesc.tasks.translation import Burst
from gnuradio.largesc.tasks.translation_radio import RadioSender, time_share
from test_symbol_radio import broken, burst_of, on_the_air
from test_translation import WORDS, SmallModel, code_of, quiet, voice
from test_translation_blocks import Listener, text_of
from translation_trials import use_small_models

GRC = Path(__file__).parent.parent / "grc"


def test_fading_of_each_symbol_comes_back_from_a_pdu():
    h = np.random.default_rng(0).uniform(0.1, 1.0, (2, 256)).astype(np.complex64)
    _, found = read_burst(burst_pdu(burst_of(4, h=h, snr_db=7.5)))
    assert np.array_equal(found.h, h) and found.snr_db == 7.5
    meta = pmt.car(burst_pdu(burst_of(4, h=h, snr_db=7.5)))
    for key, value in ((keys.frames, 3), (keys.frames, 0), (keys.snr_db, float("nan"))):
        wrong = pmt.dict_add(meta, pmt.intern(key), to_pmt(value))
        with pytest.raises(ValueError):
            read_burst(pmt.cons(wrong, pmt.init_c32vector(512, [1j] * 512)))


def of_radio(
    bursts: list[Burst], ends: tuple[dict, dict] = ({}, {}), **channel: object
) -> tuple[object, object, list[Burst]]:
    """Both blocks behind a run with the air of Radio Channel between them, and what came."""
    tb = gr.top_block(catch_exceptions=False)
    tx, rx = largesc.symbol_radio_tx(**ends[0]), largesc.symbol_radio_rx(**ends[1])
    rate = ends[0].get("sample_rate") or tx.profile.sample_rate
    air = largesc.radio_channel(
        sample_rate=rate, snr_bandwidth_hz=tx.profile.symbol_rate, amplitude=0.25, **channel
    )
    sink = blocks.message_debug(False)
    tb.connect(tx, air, rx)
    tb.msg_connect(rx, "symbols", sink, "store")
    for burst in bursts:
        tx.source.to_basic_block()._post(pmt.intern("packets"), burst_pdu(burst))
    tx.source.to_basic_block()._post(pmt.intern("packets"), end_of_bursts())
    tb.run()
    found = [read_burst(sink.get_message(n))[1] for n in range(sink.num_messages())]
    return tx, rx, found


@pytest.mark.parametrize("profile", ["medium", "narrow"])
@pytest.mark.parametrize("sample_rate", [0.0, 48_000.0])
@pytest.mark.parametrize("continuous", [False, True])
def test_bursts_come_over_the_air_of_gnu_radio(profile, sample_rate, continuous):
    both = {"profile": profile, "sample_rate": sample_rate}
    sent = [burst_of(n, 3) for n in range(3)]
    ends = both | {"continuous": continuous}, both
    tx, rx, found = of_radio(sent, ends, snr_db=20.0, carrier_offset_hz=200.0)
    assert [one.index for one in found] == [0, 1, 2]
    for one, was in zip(found, sent, strict=True):
        assert one.snr_db == pytest.approx(20.0, abs=2.0)
        assert np.mean(np.abs(one.symbols / one.h - was.symbols) ** 2) < 0.02
    assert rx.statistics()["carrier_offset_hz"] == pytest.approx(200.0, abs=1.0)
    assert tx.statistics()["bursts"] == rx.statistics()["bursts"] == 3
    assert tx.statistics()["payload_symbols"] == 3 * 3 * 256


def test_messages_that_cannot_be_sent_are_counted():
    tx = largesc.symbol_radio_tx()
    for message in (pmt.intern("x"), burst_pdu(burst_of(0, symbols=32)), burst_pdu(broken())):
        tx.source._on_port_packets(message)
    for number in range(10):
        tx.source._on_port_packets(burst_pdu(burst_of(number, 1)))
    assert tx.statistics()["refused"] == 3 and tx.statistics()["dropped"] == 2
    tx.set_amplitude(5.0)
    assert tx.statistics()["refused_settings"] == 1


def tagged(tx: object, messages: list[object]) -> tuple[list[int], list[int], int]:
    """Where bursts begin on the air, their lengths by their tags, and all samples."""
    tb, sink = gr.top_block(catch_exceptions=False), blocks.vector_sink_c()
    if isinstance(tx, largesc.task_tx):
        tb.connect(blocks.null_source(gr.sizeof_float), blocks.head(gr.sizeof_float, 1), tx)
    tb.connect(tx, sink)
    for message in messages:
        tx.source.to_basic_block()._post(pmt.intern("packets"), message)
    tb.run()
    tags = [t for t in sink.tags() if pmt.to_python(t.key) == "packet_len"]
    return [t.offset for t in tags], [pmt.to_python(t.value) for t in tags], len(sink.data())


@pytest.mark.parametrize("block", [largesc.symbol_radio_tx, largesc.task_tx])
def test_the_tag_of_a_burst_counts_samples(block):
    if block is largesc.task_tx:
        sent = [make_burst({}, np.ones(128, dtype=np.complex64))] * 2
    else:
        sent = [burst_pdu(burst_of(number)) for number in range(2)] + [end_of_bursts()]
    starts, lengths, count = tagged(block(), sent)
    assert len(starts) >= 3
    assert np.array_equal(np.diff([*starts, count]), lengths)


@pytest.mark.parametrize("block", [largesc.symbol_radio_tx, largesc.task_tx])
def test_a_burst_waits_for_little_silence(block):
    tx = block(continuous=True)
    rate, size = tx.profile.sample_rate, len(tx._chain) - 1
    held = [each.max_output_buffer(0) for each in tx._chain]
    assert held[:size] == [512] * size and 512 <= held[size] <= max(512, 0.06 * rate)


def test_what_a_user_does_wrong_is_logged_once(caplog):
    tx, rx = largesc.symbol_radio_tx(symbols=32), largesc.symbol_radio_rx(symbols=64)
    for number in range(12):
        tx.source._on_port_packets(burst_pdu(burst_of(number, symbols=32)))
    assert tx.statistics()["dropped"] == 4
    samples = on_the_air([RadioSender("medium", 32).push(burst_of(0, symbols=32))])
    for _ in range(2):
        rx.sink.work([samples.astype(np.complex64)], [])
    assert rx.statistics()["other_symbols"] == 2
    said = [record.getMessage() for record in caplog.records]
    assert sum("packets come faster than they go on the air" in one for one in said) == 1
    assert sum("another number of symbols a frame" in one for one in said) == 1


def test_a_receiver_that_reads_no_burst_says_so_once(caplog):
    rx = largesc.symbol_radio_rx(profile="narrow")
    for _ in range(12):
        assert "no burst was read" not in caplog.text or rx.sink._samples > 10 * 28_800
        rx.sink.work([np.zeros(28_800, dtype=np.complex64)], [])
    assert caplog.text.count("no burst was read in 10 s of samples, 0 preambles") == 1
    assert "the profile narrow and so 28800 samples a second" in caplog.text


def test_translation_over_a_radio_gives_the_text_of_the_symbols(monkeypatch):
    use_small_models(monkeypatch)
    speech = np.concatenate([voice(2.5), quiet(1.0), voice(1.0), quiet(1.0)])
    tb = gr.top_block(catch_exceptions=False)
    tx, rx = largesc.translation_tx(symbols=3), largesc.translation_rx(symbols=3, mode="offline")
    radio = largesc.symbol_radio_tx(symbols=3), largesc.symbol_radio_rx(symbols=3)
    air = largesc.radio_channel(
        sample_rate=19_200.0, snr_db=20.0, snr_bandwidth_hz=4800.0, amplitude=0.25,
        carrier_offset_hz=-100.0,
    )  # fmt: skip
    listener, sink = Listener(), blocks.null_sink(gr.sizeof_float)
    tb.connect(blocks.vector_source_f(speech.tolist()), tx)
    tb.msg_connect(tx, "symbols", radio[0], "symbols")
    tb.connect(radio[0], air, radio[1])
    tb.msg_connect(radio[1], "symbols", rx, "symbols")
    tb.msg_connect(rx, "text", listener, "in")
    tb.connect(rx, sink)
    tb.run()
    assert text_of(listener.messages).split()[: len(WORDS)] == WORDS
    assert rx.statistics()["windows"] == 2 and rx.statistics()["lost"] == 0


@pytest.mark.parametrize("block", [largesc.symbol_radio_tx, largesc.symbol_radio_rx])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"profile": "wide"}, "profile 'wide' carries no analogue symbols: use one of ssb"),
        ({"profile": "ssb"}, "symbols 64 .* profile ssb .* or the profile medium"),
        ({"symbols": 0}, "symbols 0 is out of range"),
        ({"sample_rate": 1.0}, "sample_rate 1 has no ratio"),
    ],
)
def test_bad_arguments_are_named(block, wrong, said):
    with pytest.raises(ValueError, match=said):
        block(**wrong)


def test_a_loopback_over_a_radio_gives_the_text_without_one(monkeypatch):
    from gnuradio.largesc.tasks import translation_loopback as loopback

    monkeypatch.setattr(loopback, "large_model", lambda source: SmallModel())
    monkeypatch.setattr(loopback, "load_channel_code", lambda source, symbols: code_of())
    speech, texts = np.concatenate([voice(2.5), quiet(1.0), voice(1.0)]), []
    for radio in ("", "ssb"):
        options = TranslationOptions(
            symbols=3, radio=radio, channel="rayleigh", snr_db=20.0, doppler_hz=0.5
        )
        link = loopback.TranslationLoopback(options, voiced=False)
        texts.append("".join(step.text.committed for step in link.run([speech])))
        assert radio == "" or link.radio.figures()["sent"] == link.radio.figures()["bursts"] > 3
    assert texts[0] == texts[1] and texts[0].split()[: len(WORDS)] == WORDS
    with pytest.raises(ValueError, match="profile ssb carries"):
        loopback.TranslationLoopback(TranslationOptions(radio="ssb"), voiced=False)


@pytest.mark.parametrize("end", ["tx", "rx"])
def test_companion_knows_what_a_profile_carries(end):
    text = (GRC / f"largesc_symbol_radio_{end}.block.yml").read_text()
    ssb, medium, narrow = (
        max(n for n in range(1, 200) if time_share(profile, n) <= 1.0)
        for profile in SYMBOL_PROFILES.values()
    )
    assert f"{ssb} if profile == 'ssb' else {medium} if profile == 'medium' else {narrow})" in text
    if end == "tx":
        assert f"up to {ssb} symbols a frame" in text
        assert f"medium {medium}, narrow {narrow}" in text

# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of many analogue symbols over the air: modem, blocks, and what comes in that is none."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.messages import to_pmt
from gnuradio.largesc.blocks.translation.bursts import burst_pdu, end_of_bursts, read_burst
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.radio.preamble import PREAMBLE_SYMBOLS
from gnuradio.largesc.radio.pulses import pulse_taps
from gnuradio.largesc.radio.symbol_burst import (
    MOST_SYMBOLS,
    SYMBOL_PROFILES,
    SymbolBurstReceiver,
    burst_symbols,
    layout,
    make_symbol_burst,
    spread_order,
)
from gnuradio.largesc.tasks.translation import Burst, BurstOrder
from gnuradio.largesc.tasks.translation_radio import (
    Fading,
    RadioAir,
    RadioReceiver,
    RadioSender,
    check_fits,
    nearest,
    time_share,
)
from radio_signals import noisy, resampled, shifted
from test_translation import WORDS, SmallModel, code_of, quiet, voice
from test_translation_blocks import Listener, text_of
from translation_trials import use_small_models

PROFILE = SYMBOL_PROFILES["medium"]
FACTS, OTHERS = b"one.", b"two."


def drawn(count: int, seed: int = 0) -> np.ndarray:
    """Gaussian symbols of mean power 1."""
    parts = np.random.default_rng(seed).standard_normal((2, count)) * np.sqrt(0.5)
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def receiver_of(count: int = 2560) -> SymbolBurstReceiver:
    """A receiver of bursts of so many symbols."""
    return SymbolBurstReceiver(PROFILE, lambda facts: count)


def on_the_air(parts: list[np.ndarray]) -> np.ndarray:
    """Samples of symbols, silence before and behind them."""
    sps = PROFILE.samples_per_symbol
    symbols = np.concatenate([np.zeros(40), *parts, np.zeros(100)])
    spread = np.zeros(len(symbols) * sps, dtype=complex)
    spread[::sps] = symbols
    return np.convolve(spread, pulse_taps(sps))


def error_db(burst, sent: np.ndarray) -> float:
    """Mean square error of the best estimate of ``sent``."""
    noise = 10.0 ** (-burst.snr_db / 10.0)
    found = burst.symbols * burst.h / (burst.h**2 + noise)
    return float(10.0 * np.log10(np.mean(np.abs(found - sent) ** 2)))


# The burst


@pytest.mark.parametrize("count", [1, 12, 63, 64, 65, 2560, MOST_SYMBOLS])
def test_every_place_of_a_burst_is_used_once(count):
    place = layout(count)
    assert sorted([*place.data, *place.pilots]) == list(range(place.length))
    assert sorted(spread_order(count)) == list(range(count))
    sent = make_symbol_burst(FACTS, drawn(count))
    assert len(sent) == burst_symbols(count)
    assert np.mean(np.abs(sent[: PREAMBLE_SYMBOLS + place.length]) ** 2) == pytest.approx(
        1, abs=0.2
    )


@pytest.mark.parametrize(("facts", "count"), [(b"", 10), (FACTS, 0), (FACTS, MOST_SYMBOLS + 1)])
def test_bursts_of_other_sizes_are_refused(facts, count):
    with pytest.raises(ValueError, match=f"{len(facts)} bytes and {count} symbols"):
        make_symbol_burst(facts, drawn(count))


@pytest.mark.parametrize("count", [1, 12, 256, 2560])
@pytest.mark.parametrize("before", [0, 1, 1000])
def test_a_burst_is_found_though_nothing_comes_behind_it(count, before):
    sent = drawn(count)
    symbols = make_symbol_burst(FACTS, sent)
    sps = PROFILE.samples_per_symbol
    spread = np.zeros(len(symbols) * sps, dtype=complex)
    spread[::sps] = symbols
    receiver = receiver_of(count)
    receiver.push(np.zeros(before))
    (burst,) = receiver.push(np.convolve(spread, pulse_taps(sps))[: len(spread)])
    assert burst.facts == FACTS
    np.testing.assert_allclose(burst.symbols / burst.h, sent, atol=0.05)


@pytest.mark.parametrize("snr_db", [19.0, 5.0, 1.0])
@pytest.mark.parametrize(("offset", "ppm"), [(0.0, 0.0), (0.1, 30.0), (-0.1, -60.0)])
def test_the_channel_is_known_nearly_as_well_as_if_it_were_told(snr_db, offset, ppm):
    sent = drawn(2560)
    air = resampled(on_the_air([make_symbol_burst(FACTS, sent)]), ppm, 0.4)
    heard = noisy(shifted(air, offset, PROFILE), snr_db, PROFILE, 5)
    (burst,) = receiver_of().push(0.01 * heard)
    assert burst.snr_db == pytest.approx(snr_db, abs=1.0)
    assert burst.offset == pytest.approx(offset, abs=1e-4)
    assert error_db(burst, sent) < -10.0 * np.log10(1.0 + 10.0 ** (snr_db / 10.0)) + 0.4


@pytest.mark.parametrize("doppler_hz", [1.0, 5.0])
def test_fading_within_a_burst_is_followed(doppler_hz):
    sent, worse = drawn(2560), []
    air = on_the_air([make_symbol_burst(FACTS, sent)])
    at_s = np.arange(len(air)) / PROFILE.sample_rate
    for seed in range(6):
        h = Fading(doppler_hz, np.random.default_rng(seed)).at(at_s)
        for burst in receiver_of().push(noisy(air * h, 15.0, PROFILE, seed)):
            first = burst.start + PREAMBLE_SYMBOLS * 4 + layout(2560).data[192:] * 4
            true = np.abs(h[first])[np.argsort(spread_order(2560))]
            known = np.mean(1.0 / (1.0 + true**2 * 10.0**1.5))
            worse.append(error_db(burst, sent) - 10.0 * np.log10(known))
    assert len(worse) >= 5 and np.mean(worse) < 0.7


def test_noise_alone_gives_no_burst_and_takes_no_memory():
    receiver, rng = receiver_of(), np.random.default_rng(1)
    noise = rng.standard_normal((2, 20 * 19200))
    found = receiver.push((noise[0] + 1j * noise[1]).astype(np.complex64))
    found += receiver.push(np.full(5000, np.nan + 0j))
    found += receiver.push(np.zeros(40_000, np.complex64))
    assert not found and receiver.counters["preambles"] == receiver.counters["bursts"] == 0
    assert receiver.counters["broken_samples"] == 5000
    assert len(receiver._search.filtered) < 20_000


@pytest.mark.parametrize("symbols", [300, 500, 1500, 3000])
def test_a_burst_that_is_cut_short_takes_none_with_it(symbols):
    first, second = drawn(2560, 1), drawn(2560, 2)
    parts = [make_symbol_burst(FACTS, first)[:symbols], make_symbol_burst(OTHERS, second)]
    receiver, found = receiver_of(), []
    for piece in np.array_split(noisy(on_the_air(parts), 20.0, PROFILE, 3), 17):
        found += receiver.push(piece)
    *early, last = found
    assert last.facts == OTHERS and error_db(last, second) < -18.0
    assert receiver.counters["cut"] + receiver.counters["headers_failed"] + len(early) >= 1


@pytest.mark.parametrize(
    ("level", "begins", "heard"), [(0.1, 6000, 1), (1.0, 6000, 2), (1.0, 1500, 2), (10.0, 6000, 2)]
)
def test_of_bursts_that_overlap_at_most_one_is_heard(level, begins, heard):
    first, second = (on_the_air([make_symbol_burst(FACTS, drawn(2560, n))]) for n in (1, 2))
    both = np.zeros(len(first) + 6000, dtype=complex)
    both[: len(first)] += first
    both[begins : begins + len(second)] += level * second
    receiver = receiver_of()
    (found,) = receiver.push(noisy(both, 30.0, PROFILE, 3))
    sent, other = (drawn(2560, n) for n in (heard, 3 - heard))
    assert error_db(found, sent) < error_db(found, other)
    assert receiver.counters["bursts"] == 1
    assert receiver.counters["cut"] + receiver.counters["headers_failed"] == heard - 1


def test_memory_is_bounded_while_a_burst_is_open():
    receiver = receiver_of(MOST_SYMBOLS)
    head = on_the_air([make_symbol_burst(FACTS, drawn(MOST_SYMBOLS))])[:6000]
    receiver.push(head)
    for _ in range(20):
        receiver.push(np.zeros(10_000))
        assert len(receiver._search.filtered) < 60_000
    receiver.push(head)
    receiver.flush()
    assert receiver.counters["cut"] == 1


# Bursts of the link


def burst_of(index: int, n: int = 2, symbols: int = 64, **other: object) -> Burst:
    values = drawn(n * 4 * symbols, index).reshape(n, 4 * symbols)
    made = Burst(index, 3, 8, False, -5, values, np.ones((n, 1), np.complex64), 99, 77)
    return Burst(**vars(made) | other)


def test_what_a_burst_says_comes_over_the_air():
    air = RadioAir(TranslationOptions(radio="medium", channel="awgn", snr_db=15.0).checked())
    (found,), took_s = air(burst_of(0, 9, last=True), 5.0)
    assert (found.index, found.window, found.first, found.last) == (0, 3, 8, True)
    assert (found.gain_steps, found.spoken, found.speech_end) == (-5, 99, 77)
    assert found.snr_db == pytest.approx(15.0, abs=0.7)
    assert found.symbols.shape == found.h.shape == (9, 256)
    assert took_s < 9 * 0.08


def test_a_long_burst_goes_as_several_and_ends_once():
    air = RadioAir(TranslationOptions(radio="medium", channel="none").checked())
    sent = burst_of(0, 40, last=True)
    found, _ = air(sent, 0.0)
    assert [len(one.h) for one in found] == [16, 16, 8]
    assert [one.last for one in found] == [False, False, True]
    assert [one.index for one in found] == [0, 1, 2]
    got = np.concatenate([one.symbols / one.h for one in found])
    np.testing.assert_allclose(got, sent.symbols, atol=0.1)


@pytest.mark.parametrize(
    ("number", "last", "found"),
    [(5, 3, 5), (2, 270, 258), (200, 266, 200), (0, 300, 256), (255, 3, 255), (9, 9, 9)],
)
def test_numbers_go_on_behind_their_bits(number, last, found):
    assert nearest(number, last, 2**8) == found


@pytest.mark.parametrize("profile", SYMBOL_PROFILES)
def test_bursts_take_no_longer_than_their_speech(profile):
    found = SYMBOL_PROFILES[profile]
    most = max(n for n in range(1, 200) if time_share(found, n) <= 1.0)
    assert check_fits(profile, most) is found
    with pytest.raises(ValueError, match=f"symbols {most + 1} .* use at most {most}"):
        check_fits(profile, most + 1)


def test_bursts_of_another_size_are_refused_and_counted():
    sender = RadioSender("medium", 64)
    for wrong in (burst_of(0, symbols=32), burst_of(0, 0), burst_of(0, symbols=65)):
        with pytest.raises(ValueError, match="64 symbols a frame"):
            sender.push(wrong)
    with pytest.raises(ValueError, match="no numbers"):
        sender.push(broken())
    receiver = RadioReceiver("medium", 32)
    samples = on_the_air([sender.push(burst_of(0))])
    assert receiver.push(samples) == [] and receiver.counters["other_symbols"] == 1


def broken() -> Burst:
    symbols = np.full((2, 256), np.nan, dtype=np.complex64)
    return Burst(**vars(burst_of(0)) | {"symbols": symbols})


# Blocks


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
def test_bursts_come_over_the_air_of_gnu_radio(profile, sample_rate):
    both = {"profile": profile, "sample_rate": sample_rate}
    sent = [burst_of(n, 3) for n in range(3)]
    tx, rx, found = of_radio(sent, (both, both), snr_db=20.0, carrier_offset_hz=200.0)
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

    monkeypatch.setattr(loopback, "whisper", lambda source: SmallModel())
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


def test_a_sender_that_begins_anew_is_followed():
    sender, receiver = RadioSender("medium", 64), RadioReceiver("medium", 64)
    order = BurstOrder()
    for number in range(40):
        if number == 30:
            sender = RadioSender("medium", 64)
        (found,) = receiver.push(on_the_air([sender.push(burst_of(number))]))
        turn = order.take(found.index)
        assert turn == ("late" if number in (30, 31) else "anew" if number == 32 else "next")
    assert order.counters["restarts"] == 1 and order.counters["lost"] == 0


def test_a_burst_that_is_lost_is_counted_behind_it():
    sender, receiver, order = RadioSender("medium", 64), RadioReceiver("medium", 64), BurstOrder()
    sent = [on_the_air([sender.push(burst_of(number))]) for number in range(3)]
    for samples in (sent[0], sent[2]):
        (found,) = receiver.push(samples)
        order.take(found.index)
    assert order.counters["lost"] == 1

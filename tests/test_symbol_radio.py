# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of many analogue symbols over the air: modem, blocks, and what comes in that is none."""

import numpy as np
import pytest
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.radio.air import Fading
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
from gnuradio.largesc.studies.translation_radio import ToldAir
from gnuradio.largesc.tasks.translation import Burst, BurstOrder
from gnuradio.largesc.tasks.translation_radio import (
    RadioAir,
    RadioReceiver,
    RadioSender,
    check_fits,
    nearest,
    time_share,
)
from radio_signals import noisy, resampled, shifted
from test_translation import code_of

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


def test_short_segments_have_to_fit_as_well():
    assert check_fits("medium", 64, 0.5)
    with pytest.raises(ValueError, match=r"segments of 0.2 s.* at most \d+, or longer .* narrow$"):
        RadioAir(TranslationOptions(radio="medium", segment_s=0.2).checked())
    with pytest.raises(ValueError, match="use longer segments$"):
        check_fits("ssb", 64, 0.1)


@pytest.mark.parametrize("level", [1e-12, 1e-6, 1e-3, 1e8])
def test_bursts_are_found_at_any_amplitude(level):
    sent = burst_of(0, 4)
    samples = noisy(on_the_air([RadioSender("medium", 64).push(sent)]), 15.0, PROFILE, 1)
    (found,) = RadioReceiver("medium", 64).push((level * samples).astype(np.complex64))
    assert found.snr_db == pytest.approx(15.0, abs=1.0)
    assert np.mean(np.abs(found.symbols / found.h - sent.symbols) ** 2) < 0.05


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


def test_the_greatest_symbols_are_limited():
    sent = burst_of(0, 4)
    sent.symbols[0, :3] = 6.0, -5.0j, 3.0
    back = RadioReceiver("medium", 64)
    (found,) = back.push(on_the_air([RadioSender("medium", 64).push(sent)]))
    np.testing.assert_allclose(found.symbols[0, :3] / found.h[0, :3], [3.5, -3.5j, 3.0], atol=0.1)


def broken() -> Burst:
    symbols = np.full((2, 256), np.nan, dtype=np.complex64)
    return Burst(**vars(burst_of(0)) | {"symbols": symbols})


def test_the_channel_decoder_takes_a_gain_for_each_symbol():
    code, rng = code_of(), np.random.default_rng(0)
    features = rng.standard_normal((16, 6)).astype(np.float32)
    x, gain = code.encode(features)
    h = np.array([[0.5], [1.0], [2.0], [0.1]])
    same = np.repeat(h, code.block_symbols, axis=1)
    told = code.decode(h * x, h, 10.0, gain)
    np.testing.assert_allclose(code.decode(same * x, same, 10.0, gain), told, rtol=1e-5, atol=1e-5)
    # What cannot be heard of a block is left out, the rest of it still counts.
    faded = same.copy()
    faded[:, :2] = 0.0
    assert np.isfinite(code.decode(faded * x, faded, 10.0, gain)).all()
    with pytest.raises(ValueError, match=r"fading of shape \(4, 2\): use one a block"):
        code.decode(x, same[:, :2], 10.0, gain)


def test_the_study_tells_the_fading_that_the_modem_finds():
    options = TranslationOptions(radio="medium", snr_db=40.0, doppler_hz=5.0, seed=3)
    modem, told = RadioAir(options), ToldAir(options)
    for number in range(3):
        sent = burst_of(number, 12)
        (found,), _ = modem(sent, 2.0 * number)
        (known,) = told(sent, 2.0 * number)
        ratio = np.abs(known.h) / found.h
        assert np.std(ratio) < 0.05 * np.mean(ratio)
        np.testing.assert_allclose(known.symbols, known.h * sent.symbols, atol=0.05)


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


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e30, 5e8, 1e-30, 0.0])
def test_whatever_comes_within_a_burst_raises_nothing(wrong):
    receiver, sender = RadioReceiver("medium", 64), RadioSender("medium", 64)
    rng = np.random.default_rng(7)
    for number, (first, last) in enumerate(rng.integers(0, 6000, (4, 2))):
        samples = on_the_air([sender.push(burst_of(number, 4))]) * 10.0 ** rng.uniform(-12, 8)
        samples[min(first, last) : max(first, last)] = wrong
        for found in receiver.push(samples):
            for values in (found.symbols, found.h, found.snr_db):
                assert np.isfinite(values).all()
    receiver.flush()
    counters = receiver.counters
    assert counters["bursts"] + counters["cut"] + counters["headers_failed"] <= 4

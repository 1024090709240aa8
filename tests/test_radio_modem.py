# SPDX-License-Identifier: GPL-3.0-or-later
"""The burst modem without GNU Radio's scheduler."""

import numpy as np
import pytest
from gnuradio.largesc.radio.burst import make_burst
from gnuradio.largesc.radio.codes import PacketCode
from gnuradio.largesc.radio.equaliser import REACH, equalise
from gnuradio.largesc.radio.header import all_words, encode_header, header_word, read_word
from gnuradio.largesc.radio.profiles import CODES, PROFILES, find_profile
from gnuradio.largesc.radio.receiver import MOST_WAITING, BurstReceiver
from gnuradio.largesc.radio.tracking import phase_information, track
from radio_signals import noisy, random_packets, resampled, shifted, transmit

SINGLE_CARRIER = ["ssb", "ssb_bpsk", "narrow"]


def test_two_frames_fit_a_packet_slot_on_ssb():
    profile = find_profile("ssb")
    assert profile.bandwidth_hz == 2250
    # sync, header, 27 bytes at rate 1/2 with the code's tail, guard
    assert profile.burst_symbols(25) == 32 + 16 + (8 * 27 + 6) + 12 == 282
    assert profile.airtime(25) <= 0.160 < profile.airtime(26)
    assert profile.largest_packet(0.160) == 25
    assert profile.largest_packet(0.01) == 0


def test_bandwidths_are_those_of_the_channels():
    assert find_profile("narrow").bandwidth_hz == 9000
    assert find_profile("wide").bandwidth_hz >= 200e3


@pytest.mark.parametrize("name", SINGLE_CARRIER)
def test_power_lies_within_the_stated_bandwidth(name):
    profile = find_profile(name)
    x = transmit(random_packets([60] * 8, 1), profile, silence=0)
    power = np.abs(np.fft.fft(x)) ** 2
    hertz = np.abs(np.fft.fftfreq(len(x), 1 / profile.sample_rate))
    assert power[hertz <= profile.bandwidth_hz / 2].sum() > 0.999 * power.sum()


@pytest.mark.parametrize("modulation", ["bpsk", "qpsk"])
@pytest.mark.parametrize("code", CODES)
def test_bursts_are_as_long_as_the_sum_says(modulation, code):
    profile = find_profile("ssb", modulation, code)
    coder = PacketCode(code)
    for n in (1, 2, 6, 17, 18, 25, 110):
        assert len(make_burst(bytes(n + 2), profile, coder)) == profile.burst_symbols(n)


@pytest.mark.parametrize("arguments", [("x",), ("ssb", "8psk"), ("ssb", "", "turbo")])
def test_unknown_names_are_refused(arguments):
    with pytest.raises(ValueError, match=f"'{arguments[-1]}' is unknown: use one of"):
        find_profile(*arguments)


@pytest.mark.parametrize("size", [0, 111])
def test_airtime_refuses_sizes(size):
    with pytest.raises(ValueError, match=f"packet_bytes {size} .* use 1 to 110"):
        find_profile("ssb").airtime(size)


def test_headers_differ_in_twelve_bits():
    words = all_words()
    # The code is linear: distances are weights.
    assert words[1:].sum(axis=1).min() == 12
    assert np.array_equal(words[5] ^ words[1000], words[5 ^ 1000])


@pytest.mark.parametrize("code", CODES)
def test_header_words(code):
    taken = [n for n in range(2048) if read_word(n, code)]
    assert len(taken) == 110
    for size in (1, 110):
        assert read_word(header_word(size, code), code) == size
        assert np.array_equal(encode_header(size, code), all_words()[header_word(size, code)])
    others = [c for c in CODES if c != code]
    assert not any(read_word(header_word(25, other), code) for other in others)


@pytest.mark.parametrize("code", CODES)
def test_codes(code):
    random = np.random.default_rng(2)
    coder = PacketCode(code)
    for count in (24, 152, 160, 896):
        bits = random.integers(0, 2, count).astype(np.uint8)
        sent = 2.0 * coder.encode(bits) - 1
        # Es/N0 of 2 dB is 5 dB per bit at rate 1/2; without a code there is no noise to correct.
        noise = 0.0 if code == "none" else np.sqrt(0.5 / 10**0.2)
        llr = 4 * 10**0.2 * (sent + noise * random.standard_normal(len(sent)))
        assert np.array_equal(coder.decode(llr, count), bits)
    with pytest.raises(ValueError, match="897 bits are too many"):
        coder.encode(np.zeros(897, dtype=np.uint8))
    with pytest.raises(ValueError, match="do not fit"):
        coder.decode(np.zeros(7), 16)


def test_phase_information_of_known_limits():
    assert phase_information(30, 1) == pytest.approx(1.0, abs=0.01)
    assert phase_information(30, 2) == pytest.approx(1.0, abs=0.01)
    # At low Es/N0 squaring loses; BPSK goes with Es/N0 * 2, QPSK far below.
    assert phase_information(-10, 1) == pytest.approx(0.2, abs=0.05)
    assert phase_information(-10, 2) < 0.01


@pytest.mark.parametrize("rails", [1, 2])
def test_tracking_follows_a_carrier_that_drifts(rails):
    random = np.random.default_rng(3)
    known = np.exp(2j * np.pi * random.integers(0, 4, 48) / 4)
    bits = random.integers(0, 2, 400 * rails)
    signs = 2.0 * bits - 1
    if rails == 1:
        symbols = signs * (1 + 1j) / np.sqrt(2)
    else:
        symbols = (signs[::2] + 1j * signs[1::2]) / np.sqrt(2)
    sent = np.concatenate([known, symbols])
    n = np.arange(len(sent))
    turned = 3e-3 * sent * np.exp(1j * (1.0 + 0.02 * n + 2e-5 * n**2))
    noise = random.standard_normal((2, len(sent)))
    received = turned + 3e-3 * np.sqrt(0.5 / 10**1.2) * (noise[0] + 1j * noise[1])
    llr, es_n0, _ = track(received, known, rails)
    assert np.mean((llr > 0) != bits) < 1e-2
    assert 10 * np.log10(es_n0) == pytest.approx(12.0, abs=1.0)


def contents(found) -> list[bytes]:
    return [burst.packet for burst in found]


def test_receiver_takes_single_carrier_only():
    with pytest.raises(ValueError, match="'wide' is ofdm"):
        BurstReceiver(PROFILES["wide"])


@pytest.mark.parametrize("name", SINGLE_CARRIER)
@pytest.mark.parametrize("offset, ppm", [(0.01, 50), (-0.01, -50), (0.1, -50), (-0.1, 50)])
def test_cold_bursts_are_read_at_any_offset(name, offset, ppm):
    profile = find_profile(name)
    for seed, size in enumerate((6, 25, 110)):
        packets = random_packets([size], seed)
        # Alone, with no burst before it, at an arbitrary time between the samples.
        x = resampled(transmit(packets, profile), ppm, late=0.13 + 0.31 * seed)
        es_n0_db = 12 if profile.code == "none" else 7
        x = noisy(shifted(x, offset, profile), es_n0_db, profile, seed)
        found = BurstReceiver(profile).push(x)
        assert packets[0] in contents(found)
        best = found[contents(found).index(packets[0])]
        assert best.offset == pytest.approx(offset, abs=0.005)
        assert best.es_n0_db == pytest.approx(es_n0_db, abs=2)


@pytest.mark.parametrize("chunk", [1, 37, 1000])
def test_chunks_make_no_difference(chunk):
    profile = find_profile("ssb")
    x = noisy(transmit(random_packets([25, 6], 4), profile), 5, profile, 5)
    whole = contents(BurstReceiver(profile).push(x))
    receiver = BurstReceiver(profile)
    parts = [receiver.push(x[n : n + chunk]) for n in range(0, len(x), chunk)]
    assert contents(burst for part in parts for burst in part) == whole


@pytest.mark.parametrize("level", [1e-6, 1e6])
def test_any_amplitude(level):
    profile = find_profile("ssb")
    packets = random_packets([25], 6)
    x = level * noisy(transmit(packets, profile), 8, profile, 7)
    assert packets[0] in contents(BurstReceiver(profile).push(x))


@pytest.mark.parametrize("delay", [4, 7])
def test_echoes_are_taken_out(delay):
    profile = find_profile("ssb")
    got = 0
    for seed in range(20):
        packets = random_packets([25], seed)
        x = np.pad(transmit(packets, profile), (0, 40))
        # As strong as the first path but for 3 dB, a symbol or two later, at any phase.
        x = x + 0.7 * np.exp(2j * np.pi * seed / 20) * np.roll(x, delay)
        found = BurstReceiver(profile).push(noisy(x, 15, profile, seed))
        got += packets[0] in contents(found)
    assert got >= 19


def test_equaliser_leaves_white_noise_alone():
    random = np.random.default_rng(18)
    sent = np.exp(2j * np.pi * random.integers(0, 4, 100) / 4)
    samples = np.zeros(2 * 100 + 4 * REACH - 1, dtype=complex)
    samples[2 * REACH : 2 * REACH + 200 : 2] = sent
    samples += 0.2 * random.standard_normal((len(samples), 2)).view(complex)[:, 0]
    out = equalise(samples, sent[:48], 2)
    assert np.array_equal(out, samples[2 * REACH : 2 * REACH + 200 : 2])


def test_other_code_is_not_read():
    profile = find_profile("ssb", code="none")
    x = transmit(random_packets([25] * 3, 8), find_profile("ssb"))
    receiver = BurstReceiver(profile)
    receiver.push(noisy(x, 20, profile, 9))
    assert receiver.counters["syncs"] >= 3
    assert receiver.counters["headers"] <= 1


def test_truncated_burst_disturbs_nobody():
    profile = find_profile("ssb")
    packets = random_packets([110, 25, 25], 10)
    broken = transmit(packets[:1], profile)[:900]
    x = noisy(np.concatenate([broken, transmit(packets[1:], profile)]), 9, profile, 11)
    found = contents(BurstReceiver(profile).push(x))
    assert packets[1] in found and packets[2] in found and packets[0] not in found


def test_burst_that_ends_with_the_stream():
    profile = find_profile("ssb")
    receiver = BurstReceiver(profile)
    assert receiver.push(transmit(random_packets([110], 12), profile)[:1200]) == []
    assert receiver.unfinished() == 1


def test_recovery_after_a_fade():
    profile = find_profile("ssb")
    packets = random_packets([25] * 40, 13)
    x = transmit(packets, profile, silence=6)
    # 2 s without a signal, in the middle of a burst.
    fade = slice(len(x) // 3, len(x) // 3 + round(2 * profile.sample_rate))
    x[fade] = 0
    found = contents(BurstReceiver(profile).push(noisy(x, 9, profile, 14)))
    got = [packet in found for packet in packets]
    # The burst that the fade cuts at its end is lost; every later one is read.
    first = int(np.ceil(fade.stop / len(x) * len(packets))) + 1
    assert all(got[first:]) and 20 <= sum(got) < 40


def test_noise_gives_no_headers_to_speak_of():
    profile = find_profile("ssb")
    random = np.random.default_rng(15)
    receiver = BurstReceiver(profile)
    for _ in range(60):
        receiver.push(random.standard_normal((7200, 2)).view(complex)[:, 0])
    # Each has still to pass the CRC: one in 65536 does.
    assert receiver.counters["headers"] < 30


def test_nothing_from_the_channel_breaks_it():
    profile = find_profile("ssb")
    receiver = BurstReceiver(profile)
    packets = random_packets([25], 16)
    good = noisy(transmit(packets, profile), 10, profile, 17)
    bad = good.copy()
    bad[::7] = np.nan
    bad[3::11] = np.inf
    sync = transmit(packets, profile)[160:420]
    for x in (bad, np.full(5000, 1e30), np.zeros(5000), np.ones(5000), np.tile(sync, 60), []):
        receiver.push(np.array(x))
        assert len(receiver._samples) <= 3 * receiver.longest_samples
        assert len(receiver._waiting) <= MOST_WAITING
    assert receiver.counters["broken_samples"] > 5000
    assert packets[0] in contents(receiver.push(np.concatenate([np.zeros(9000), good])))

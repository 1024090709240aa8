# SPDX-License-Identifier: GPL-3.0-or-later
"""Packet radio blocks in flowgraphs."""

import gc
import subprocess
import sys
import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.radio.burst_source import burst_source

PACKETS = pmt.intern("packets")
CODES = ["none", "convolutional", "ldpc"]


@pytest.fixture(autouse=True)
def free_buffers():
    """Flowgraphs of Python blocks are freed late, and there is not much shared memory."""
    yield
    gc.collect()


def random_packets(sizes, seed: int) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, n).astype(np.uint8).tobytes() for n in sizes]


def packet_pdu(packet: bytes, over: bool = False) -> object:
    meta = pmt.make_dict()
    if over:
        meta = pmt.dict_add(meta, pmt.intern(keys.end_of_stream), pmt.PMT_T)
    return pmt.cons(meta, pmt.init_u8vector(len(packet), list(packet)))


def by_sample(
    noise_voltage: float = 0.0,
    frequency_offset: float = 0.0,
    doppler: float = 1e-4,
    delay: float = 0.0,
    **others,
) -> dict:
    """Settings of a channel of one sample a second, for signals of amplitude 0.5."""
    snr_db = 20 * np.log10(0.5 / noise_voltage) if noise_voltage else 200.0
    units = {"sample_rate": 1.0, "snr_db": snr_db, "carrier_offset_hz": frequency_offset}
    return units | {"doppler_hz": doppler, "delay_us": 1e6 * delay} | others


def post(tx, message: object) -> None:
    tx.source.gateway._post(PACKETS, message)


def stored(debug) -> list[bytes]:
    messages = [debug.get_message(n) for n in range(debug.num_messages())]
    return [bytes(pmt.u8vector_elements(pmt.cdr(m))) for m in messages]


def samples_of(packets: list[bytes], **options) -> np.ndarray:
    """What the sender puts on the air for ``packets``, and how it ends."""
    tb = gr.top_block("tx", catch_exceptions=False)
    tx = largesc.packet_radio_tx(**options)
    sink = blocks.vector_sink_c()
    tb.connect(tx, sink)
    for packet in packets:
        post(tx, packet_pdu(packet))
    post(tx, packet_pdu(b"", over=True))
    tb.start()
    tb.wait()
    return np.array(sink.data())


def packets_in(x: np.ndarray, channel: dict | None = None, **options) -> tuple[list[bytes], dict]:
    """What the receiver makes of samples: packets and counters."""
    tb = gr.top_block("rx", catch_exceptions=False)
    if options["profile"] == "wide":
        # The in-tree demultiplexer ends with its input, whether a header is under way or not.
        x = np.concatenate([x, np.zeros(65536)])
    source = blocks.vector_source_c(np.asarray(x, dtype=np.complex64).tolist())
    rx = largesc.packet_radio_rx(**options)
    debug = blocks.message_debug()
    air = [] if channel is None else [largesc.radio_channel(**by_sample(**channel))]
    tb.connect(source, *air, rx)
    tb.msg_connect(rx, "packets", debug, "store")
    tb.start()
    tb.wait()
    return stored(debug), rx.statistics()


def loopback(packets: list[bytes], channel: dict | None = None, **options):
    """Sender, channel and receiver in one flowgraph; for OFDM with a recording in between."""
    if options["profile"] == "wide":
        x = samples_of(packets, queue_packets=1000, **options)
        return packets_in(x, channel or {"noise_voltage": 0.01}, **options)
    tb = gr.top_block("loopback", catch_exceptions=False)
    tx = largesc.packet_radio_tx(queue_packets=1000, **options)
    rx = largesc.packet_radio_rx(**options)
    debug = blocks.message_debug()
    tb.connect(tx, largesc.radio_channel(**by_sample(**(channel or {"noise_voltage": 0.01}))), rx)
    tb.msg_connect(rx, "packets", debug, "store")
    for packet in packets:
        post(tx, packet_pdu(packet))
    post(tx, packet_pdu(b"", over=True))
    tb.start()
    tb.wait()
    return stored(debug), rx.statistics()


@pytest.mark.parametrize("profile", ["ssb", "ssb_bpsk", "narrow", "wide"])
def test_loopback_is_bit_exact(profile):
    packets = random_packets([1, 2, 6, 17, 25, 27, 55, 94, 110] * 2, 1)
    received, counters = loopback(packets, profile=profile)
    assert received == packets
    assert counters["accepted"] == len(packets)
    assert counters["headers"] >= len(packets)


@pytest.mark.parametrize("profile", ["ssb", "wide"])
@pytest.mark.parametrize("modulation", ["bpsk", "qpsk"])
@pytest.mark.parametrize("code", CODES)
def test_every_combination(profile, modulation, code):
    packets = random_packets([6, 25, 110], 2)
    options = {"profile": profile, "modulation": modulation, "code": code}
    assert loopback(packets, **options)[0] == packets


@pytest.mark.parametrize("profile, samples", [("ssb", 4), ("narrow", 4), ("wide", 80)])
@pytest.mark.parametrize("offset, ppm", [(0.01, 50.0), (-0.01, -50.0)])
def test_carrier_and_clock_offsets(profile, samples, offset, ppm):
    packets = random_packets([25] * 10, 3)
    # Es/N0 about 10 dB: OFDM has 64 / 52 of its power in each carrier.
    noise = np.sqrt(0.25 * (4 if samples == 4 else 64 / 52) / 10)
    channel = {"noise_voltage": noise, "frequency_offset": offset / samples, "clock_ppm": ppm}
    assert loopback(packets, channel, profile=profile)[0] == packets


@pytest.mark.parametrize("offset", [-0.1, 0.1])
def test_key_up_at_ten_percent_offset_loses_nothing(offset):
    packets = random_packets([25] * 5, 4)
    x = samples_of(packets, profile="ssb", key_up_ms=200)
    plain = samples_of(packets, profile="ssb")
    assert len(x) - len(plain) == round(0.2 * 7200)
    # A transmitter that comes up within the preamble, and a receiver that starts amid it.
    x = x[300:] * np.minimum(1.0, np.arange(len(x) - 300) / 1000)
    channel = {"noise_voltage": 0.35, "frequency_offset": offset / 4, "clock_ppm": 50.0}
    received, counters = packets_in(x, channel, profile="ssb")
    assert received == packets
    assert counters["carrier_offset_hz"] == pytest.approx(offset * 1800, abs=10)


@pytest.mark.parametrize("profile", ["ssb", "wide"])
def test_recovery_after_a_fade_of_two_seconds(profile):
    packets = random_packets([25] * 60, 5)
    x = samples_of(packets, profile=profile)
    rate = largesc.packet_radio_rx(profile=profile).profile.sample_rate
    half = len(x) // 2
    # Silence that begins and ends within a burst.
    x = np.concatenate([x[:half], np.zeros(round(2 * rate)), x[half + 700 :]])
    received, _ = packets_in(x, {"noise_voltage": 0.1}, profile=profile)
    got = [packet in received for packet in packets]
    # One burst is cut at its end, one at its beginning.
    lost = [n for n, there in enumerate(got) if not there]
    assert 1 <= len(lost) <= 2 and max(lost) - min(lost) <= 1


@pytest.mark.parametrize("profile", ["ssb", "narrow", "wide"])
def test_rayleigh_fading_lets_most_through(profile):
    packets = random_packets([25] * 40, 6)
    rate = largesc.packet_radio_rx(profile=profile).profile.sample_rate
    channel = {"noise_voltage": 0.02, "fading": "rayleigh", "doppler": 2.0 / rate, "seed": 3}
    received, _ = loopback(packets, channel, profile=profile)
    assert set(received) <= set(packets)
    assert len(received) >= 32


def test_selective_fading_is_what_ofdm_is_for():
    packets = random_packets([25] * 60, 7)
    channel = {"noise_voltage": 0.02, "fading": "selective", "doppler": 2e-5, "delay": 4.0}
    received, _ = loopback(packets, channel | {"seed": 2}, profile="wide")
    assert set(received) <= set(packets)
    assert len(received) >= 54


@pytest.mark.parametrize("profile", ["ssb", "wide"])
def test_truncated_burst_disturbs_nobody(profile):
    packets = random_packets([110, 25, 25], 8)
    first = samples_of(packets[:1], profile=profile)
    x = np.concatenate([first[: len(first) // 2], samples_of(packets[1:], profile=profile)])
    if profile == "wide":
        # The demultiplexer takes as many symbols as the header says, whatever they are.
        x = np.concatenate([first[: len(first) // 2], np.zeros(20000), x[len(first) // 2 :]])
    received, _ = packets_in(x, {"noise_voltage": 0.05}, profile=profile)
    assert received == packets[1:]


@pytest.mark.parametrize("profile, seconds", [("ssb", 20), ("narrow", 5), ("wide", 4)])
def test_noise_gives_no_packets(profile, seconds):
    rate = largesc.packet_radio_rx(profile=profile).profile.sample_rate
    x = np.random.default_rng(9).standard_normal((round(seconds * rate), 2))
    received, counters = packets_in(x.view(complex)[:, 0], profile=profile)
    assert received == [] and counters["accepted"] == 0


@pytest.mark.parametrize("profile", ["ssb", "wide"])
@pytest.mark.parametrize("value", [np.nan + 1j * np.inf, 1e30])
def test_what_is_no_number_does_no_harm(profile, value):
    packets = random_packets([25, 25], 10)
    good = samples_of(packets, profile=profile)
    # In the middle of bursts as well.
    bad = good.copy()
    bad[200::50] = value
    x = np.concatenate([np.full(9000, value), bad, good])
    received, counters = packets_in(x, profile=profile)
    assert received[-2:] == packets
    if profile == "ssb":
        assert counters["broken_samples"] >= 9000


@pytest.mark.parametrize("sample_rate", [48000.0, 8000.0, 7.2e6])
def test_other_sample_rates(sample_rate):
    packets = random_packets([25] * 4, 11)
    options = {"profile": "ssb", "sample_rate": sample_rate}
    assert loopback(packets, **options)[0] == packets


def test_bursts_are_tagged_and_have_the_amplitude():
    tb = gr.top_block("tags", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile="ssb", amplitude=0.25)
    sink = blocks.vector_sink_c()
    tb.connect(tx, sink)
    post(tx, packet_pdu(bytes(25)))
    post(tx, packet_pdu(b"", over=True))
    tb.start()
    tb.wait()
    lengths = [pmt.to_long(tag.value) for tag in sink.tags()]
    assert lengths[0] == (16 + 282) * 4 and sum(lengths) == len(sink.data())
    # From the first pulse to the last.
    burst = np.array(sink.data())[96 : 96 + 270 * 4]
    assert np.sqrt(np.mean(np.abs(burst) ** 2)) == pytest.approx(0.25, rel=0.03)


@pytest.mark.parametrize("profile", ["ssb", "narrow"])
def test_tokens_over_the_air(profile):
    """Two frames a packet, no CRC of their own, end of stream and all."""
    tokens = np.random.default_rng(14).integers(0, 2048, (40, 8))
    tb = gr.top_block("tokens", catch_exceptions=False)
    packetizer = largesc.uep_packetizer(frames_per_packet=2, crc=False)
    tx, rx = largesc.packet_radio_tx(profile=profile), largesc.packet_radio_rx(profile=profile)
    depacketizer = largesc.uep_depacketizer(frames_per_packet=2, crc=False, mode="offline")
    debug = blocks.message_debug()
    tb.connect(
        tx,
        largesc.radio_channel(**by_sample(0.2, frequency_offset=0.002, clock_ppm=30.0)),
        rx,
    )
    tb.msg_connect(packetizer, "packets", tx, "packets")
    tb.msg_connect(rx, "packets", depacketizer, "packets")
    tb.msg_connect(depacketizer, "tokens", debug, "store")
    port = pmt.intern("tokens")
    for frame in tokens:
        vector = pmt.init_u16vector(8, frame.tolist())
        packetizer._post(port, pmt.cons(pmt.make_dict(), vector))
    over = pmt.dict_add(pmt.make_dict(), pmt.intern(keys.end_of_stream), pmt.PMT_T)
    over = pmt.dict_add(over, pmt.intern(keys.frame_index), pmt.from_long(len(tokens)))
    packetizer._post(port, pmt.cons(over, pmt.init_u16vector(0, [])))
    tb.start()
    tb.wait()
    found = [debug.get_message(n) for n in range(debug.num_messages())]
    assert pmt.dict_has_key(pmt.car(found[-1]), pmt.intern(keys.end_of_stream))
    received = [pmt.u16vector_elements(pmt.cdr(message)) for message in found[:-1]]
    assert np.array_equal(np.array(received), tokens)


def test_refused_and_dropped_packets_are_counted():
    tb = gr.top_block("refuse", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile="ssb", queue_packets=2)
    rx, debug = largesc.packet_radio_rx(profile="ssb"), blocks.message_debug()
    tb.connect(tx, rx)
    tb.msg_connect(rx, "packets", debug, "store")
    odd = pmt.cons(pmt.cons(pmt.intern("a"), pmt.intern("b")), pmt.intern("c"))
    for message in (pmt.PMT_NIL, odd, packet_pdu(b""), packet_pdu(bytes(111))):
        post(tx, message)
    packets = random_packets([6] * 5, 12)
    for packet in packets:
        post(tx, packet_pdu(packet))
    post(tx, packet_pdu(b"\x03\xe0", over=True))
    tb.start()
    tb.wait()
    assert stored(debug) == [packets[-1], b"\x03\xe0"]
    counters = tx.statistics()
    assert counters == {"refused": 4, "dropped": 4, "packets": 2, "refused_settings": 0}


def test_steady_stream_has_silence_between_packets():
    tb = gr.top_block("steady", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile="ssb", continuous=True)
    head = blocks.head(gr.sizeof_gr_complex, 7200)
    sink = blocks.vector_sink_c()
    tb.connect(tx, head, sink)
    post(tx, packet_pdu(bytes(25)))
    tb.start()
    tb.wait()
    x = np.abs(np.array(sink.data()))
    assert len(x) == 7200 and x[100:1000].mean() > 0.3 and x[2000:].max() == 0


def test_status_is_published():
    x = samples_of(random_packets([25] * 12, 13), profile="ssb")
    tb = gr.top_block("status", catch_exceptions=False)
    source = blocks.vector_source_c(x.tolist())
    rx, debug = largesc.packet_radio_rx(profile="ssb"), blocks.message_debug()
    tb.connect(source, rx)
    tb.msg_connect(rx, "status", debug, "store")
    tb.start()
    tb.wait()
    status = pmt.to_python(debug.get_message(0))
    assert {"syncs", "headers", "crc_failures", "accepted", "es_n0_db"} <= set(status)


def test_idle_sender_is_hardly_called(monkeypatch):
    calls, work = [], burst_source.work
    monkeypatch.setattr(burst_source, "work", lambda *given: (calls.append(0), work(*given))[1])
    tb = gr.top_block("idle", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile="ssb")
    tb.connect(tx, blocks.null_sink(gr.sizeof_gr_complex))
    tb.start()
    time.sleep(0.5)
    assert len(calls) < 100
    tb.stop()
    tb.wait()


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("tx", {"profile": "am"}, "profile 'am' is unknown: use one of ssb"),
        ("tx", {"modulation": "fsk"}, "modulation 'fsk' is unknown"),
        ("tx", {"code": "turbo"}, "code 'turbo' is unknown"),
        ("tx", {"key_up_ms": -1}, "key_up_ms -1 is out of range"),
        ("tx", {"amplitude": 2.0}, "amplitude 2.0 is out of range"),
        ("tx", {"queue_packets": 0}, "queue_packets 0 is too small"),
        ("tx", {"profile": "wide", "key_up_ms": 10}, "profile 'wide' has no key_up_ms"),
        ("tx", {"sample_rate": 12345.678}, "sample_rate 12345.7 has no ratio"),
        ("tx", {"sample_rate": -1}, "sample_rate -1 has no ratio"),
        ("rx", {"sample_rate": -1}, "sample_rate -1 has no ratio"),
        ("rx", {"profile": "am"}, "profile 'am' is unknown"),
        ("rx", {"search_hz": -1}, "search_hz -1 is out of range"),
        ("rx", {"search_hz": 5e3}, "search_hz 5000 needs a sample_rate of 21600 or more"),
        ("rx", {"profile": "wide", "search_hz": 5e3}, "profile 'wide' has a search of its own"),
        ("channel", {"sample_rate": 0}, "sample_rate 0 is out of range"),
        ("channel", {"snr_db": 201}, "snr_db 201 is out of range"),
        ("channel", {"snr_db": float("nan")}, "snr_db nan is out of range"),
        ("channel", {"snr_bandwidth_hz": -1}, "snr_bandwidth_hz -1 is out of range"),
        ("channel", {"amplitude": 0}, "amplitude 0 is out of range"),
        ("channel", {"carrier_offset_hz": 3601}, "carrier_offset_hz 3601 is out of range"),
        ("channel", {"clock_ppm": 1e4}, "clock_ppm 10000.0 is out of range"),
        ("channel", {"fading": "rice"}, "fading 'rice' is out of range: use one of none, rayleigh"),
        ("channel", {"doppler_hz": 721}, "doppler_hz 721 is out of range"),
        ("channel", {"delay_us": 4500}, "delay_us 4500 is out of range"),
        ("channel", {"seed": 0}, "seed 0 is out of range"),
    ],
)
def test_bad_arguments(name, options, message):
    makers = {
        "tx": largesc.packet_radio_tx,
        "rx": largesc.packet_radio_rx,
        "channel": largesc.radio_channel,
    }
    with pytest.raises(ValueError, match=message):
        makers[name](**options)


def test_radio_needs_no_torch():
    script = (
        "import sys; from gnuradio import largesc; largesc.packet_radio_tx(); "
        "largesc.packet_radio_rx(profile='wide'); largesc.radio_channel(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("fading", ["none", "rayleigh", "selective"])
def test_channel_repeats_with_its_seed(fading):
    def through(seed: int) -> np.ndarray:
        tb = gr.top_block("channel", catch_exceptions=False)
        source = blocks.vector_source_c([1.0 + 0.0j] * 3000)
        sink = blocks.vector_sink_c()
        tb.connect(
            source,
            largesc.radio_channel(**by_sample(0.1, fading=fading, doppler=1e-3, seed=seed)),
            sink,
        )
        tb.run()
        return np.array(sink.data())

    assert np.array_equal(through(3), through(3))
    assert not np.array_equal(through(3), through(4))


class gate(gr.sync_block):  # noqa: N801
    """Takes nothing until it is opened; how many samples come before a burst."""

    def __init__(self) -> None:
        gr.sync_block.__init__(self, "gate", [np.complex64], None)
        self.opened, self.before, self.found = False, 0, False

    def work(self, input_items: list, output_items: list) -> int:
        if not self.opened:
            time.sleep(0.002)
            return 0
        loud = np.flatnonzero(np.abs(input_items[0]) > 0.1)
        if not self.found:
            self.found = len(loud) > 0
            self.before += int(loud[0]) if self.found else len(input_items[0])
        return len(input_items[0])


@pytest.mark.parametrize("profile, rate", [("ssb", 7200), ("ssb", 250e3), ("narrow", 28800)])
def test_steady_stream_keeps_no_packet_waiting(profile, rate):
    """Before a sink that is slow, as radios are, silence fills the buffers."""
    tb = gr.top_block("steady", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile=profile, sample_rate=rate, continuous=True)
    sink = gate()
    tb.connect(tx, sink)
    tb.start()
    written = -1
    while written != (written := tx.source.nitems_written(0)) or written == 0:
        time.sleep(0.2)
    post(tx, packet_pdu(bytes(25)))
    post(tx, packet_pdu(b"", over=True))
    sink.opened = True
    tb.wait()
    assert sink.found
    assert sink.before < (0.55 if profile == "ssb" else 0.2) * rate

# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of analogue speech, in flowgraphs."""

from collections import Counter

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.blocks.messages import make_burst, make_packet
from gnuradio.largesc.options import AnalogueOptions
from gnuradio.largesc.radio.morse import morse_symbols
from gnuradio.largesc.radio.speech_burst import OVER_SYMBOLS
from gnuradio.largesc.tasks.analogue_loopback import AnalogueLoopback
from gnuradio.largesc.tasks.analogue_speech import AnalogueReceiver
from helpers import wait_until

RATE, SSB_RATE = 24000, 7200
# Of comfort noise, -70 dBFS.
QUIET = 3e-3
END = [0.0] * RATE


def offline(speech: np.ndarray, profile: str = "ssb") -> np.ndarray:
    """What the same classes make of speech without blocks and noise."""
    link = AnalogueLoopback(AnalogueOptions(profile), None, None, 1, 0.0)
    return np.concatenate(list(link.run([speech])))


@pytest.fixture(scope="module")
def samples(spoken) -> np.ndarray:
    """The speech on the air."""
    return on_the_air(spoken)[1]


def on_the_air(speech: np.ndarray, **options: object) -> tuple[object, np.ndarray]:
    """A sender behind its run, and its samples."""
    tb, tx = gr.top_block(catch_exceptions=False), largesc.analogue_speech_tx(**options)
    tx.sink = blocks.vector_sink_c()
    tb.connect(blocks.vector_source_f(speech.tolist()), tx, tx.sink)
    tb.run()
    return tx, np.array(tx.sink.data(), dtype=np.complex64)


def heard_of(samples: np.ndarray, **options: object) -> tuple[object, np.ndarray]:
    """A receiver behind its run, and what is heard."""
    tb, rx = gr.top_block(catch_exceptions=False), largesc.analogue_speech_rx(**options)
    sink = blocks.vector_sink_f()
    tb.connect(blocks.vector_source_c(samples.tolist()), rx, sink)
    tb.run()
    return rx, np.array(sink.data(), dtype=np.float32)


def over_the_air(
    speech: np.ndarray, options: dict, continuous: bool = False, **air: object
) -> tuple[object, object, np.ndarray]:
    """Both blocks behind a run over simulated air, and what was heard."""
    tb = gr.top_block(catch_exceptions=False)
    tx = largesc.analogue_speech_tx(**options, continuous=continuous)
    rx, sink = largesc.analogue_speech_rx(**options), blocks.vector_sink_f()
    rate = options.get("sample_rate") or tx.profile.sample_rate
    channel = largesc.radio_channel(
        sample_rate=rate, snr_bandwidth_hz=3000.0, amplitude=0.35, **air
    )
    # Silence runs as fast as a core can.
    clock = [blocks.throttle(gr.sizeof_gr_complex, 3 * rate)] if continuous else []
    tb.connect(blocks.vector_source_f(speech.tolist()), tx, *clock, channel, rx, sink)
    tb.run()
    return tx, rx, np.array(sink.data(), dtype=np.float32)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation at the delay where it is greatest."""
    size = 2 ** int(np.ceil(np.log2(len(one) + len(other))))
    spectrum = np.fft.rfft(one, size) * np.fft.rfft(other, size).conj()
    most = np.abs(np.fft.irfft(spectrum)).max()
    return float(most / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample_rate": 48e3},
        {"profile": "medium"},
        {"profile": "narrow", "sample_rate": 48e3},
    ],
)
def test_what_is_heard_is_what_the_classes_make_without_blocks(spoken, options):
    tx, rx, heard = over_the_air(spoken, options, carrier_offset_hz=40.0)
    assert likeness(heard, offline(spoken, options.get("profile", "ssb"))) > 0.98
    sent, found = tx.statistics(), rx.statistics()
    assert sent["bursts"] == found["bursts"] == 5 and sent["pauses"] == 2
    assert found["carrier_offset_hz"] == pytest.approx(40.0, abs=0.5)
    assert found["unsure"] < 0.01 and not found["blind"] + found["cut"] + found["left_out"]


def loudness(speech: np.ndarray) -> np.ndarray:
    """RMS of each 20 ms."""
    return np.sqrt(np.square(speech[: len(speech) // 480 * 480].reshape(-1, 480)).mean(axis=1))


def test_speech_gets_rougher_with_the_noise(spoken):
    whole, found = loudness(offline(spoken)), []
    for snr_db in (3.0, -5.0):
        _, rx, heard = over_the_air(spoken, {}, snr_db=snr_db)
        assert rx.statistics()["bursts"] == 5
        assert rx.statistics()["snr_db"] == pytest.approx(snr_db + 2.2, abs=1.5)
        found.append((likeness(loudness(heard), whole), rx.statistics()["unsure"]))
    assert found[0][0] > found[1][0] > 0.8 and found[0][1] < found[1][1] < 0.3


def test_a_steady_stream_has_silence_in_pauses(spoken):
    tx, rx, heard = over_the_air(spoken, {}, continuous=True)
    assert likeness(heard, offline(spoken)) > 0.99
    assert rx.statistics()["bursts"] == tx.statistics()["bursts"] == 5
    # As many seconds out as come in.
    assert rx.statistics()["frames"] > len(spoken) / 1920


@pytest.mark.parametrize("seed", [1, 2])
def test_pieces_of_any_size_give_the_same(samples, seed):
    draw, (_, whole) = np.random.default_rng(seed), heard_of(samples)
    core, at, found = AnalogueReceiver(AnalogueOptions()), 0, []
    while at < len(samples):
        size = int(draw.choice([1, 7, 100, 576, 4000, 30000]))
        found.append(core.push(samples[at : at + size]))
        at += size
    found = np.concatenate([*found, core.flush()])
    assert len(found) == len(whole) > len(samples) / SSB_RATE * RATE
    assert np.abs(found - whole).max() < 1e-4


@pytest.mark.parametrize("profile", ["ssb", "narrow"])
def test_noise_is_never_speech(profile):
    noise = np.random.default_rng(3).standard_normal((2, 30 * SSB_RATE)).astype(np.float32)
    rx, heard = heard_of(noise[0] + 1j * noise[1], profile=profile)
    assert rx.statistics()["bursts"] == 0
    assert rx.statistics()["empty"] == rx.statistics()["frames"] > 0
    assert np.abs(heard).max() < QUIET


def test_the_receiver_says_once_that_nothing_comes(caplog):
    heard_of(np.zeros(12 * SSB_RATE, dtype=np.complex64))
    assert caplog.text.count("no burst was read in 10 s of samples, 0 preambles") == 1
    assert "the profile ssb and so 7200 samples a second" in caplog.text


@pytest.mark.parametrize("length", [0, 1, 100, 5000, 7000, 10000])
def test_truncated_streams_end_with_what_was_whole(samples, length):
    rx, heard = heard_of(samples[:length])
    assert rx.statistics()["bursts"] == max(0, (length - 100) // 4608)
    assert rx.statistics()["cut"] == (length == 7000)
    assert np.isfinite(heard).all() and len(heard) >= length // 576 * 1920


def test_what_is_not_heard_from_its_beginning_is_heard_from_the_next_burst_on(samples):
    rx, heard = heard_of(samples[2000:])
    assert rx.statistics()["bursts"] == 4 and np.abs(heard).max() > 0.05


def test_samples_that_are_none_are_counted(samples):
    bad = samples.copy()
    bad[3000:3100], bad[8000:8100], bad[9000] = np.nan, 1e30, np.inf
    rx, heard = heard_of(bad)
    assert rx.statistics()["broken_samples"] == 201
    assert rx.statistics()["bursts"] == 5 and np.isfinite(heard).all()


@pytest.mark.parametrize("gain", [1e-6, 1e8])
def test_any_amplitude_is_heard_alike(samples, gain):
    found = [heard_of(each)[1] for each in (samples, samples * np.float32(gain))]
    assert likeness(*found) > 0.9999


def test_speech_that_is_none_is_counted(spoken):
    bad = spoken.copy()
    bad[3000:3100], bad[8000:8100], bad[9000] = np.nan, 1e30, np.inf
    tx, samples = on_the_air(bad)
    assert tx.statistics()["invalid_samples"] == 101
    assert np.isfinite(samples).all() and tx.statistics()["bursts"] == 5


@pytest.mark.parametrize("count", [1, 1921])
def test_little_speech_is_a_burst(count):
    tx, samples = on_the_air(np.full(count, 0.1, dtype=np.float32))
    assert tx.statistics()["bursts"] == 1
    assert heard_of(samples)[0].statistics()["bursts"] == 1


def test_pauses_are_not_sent(spoken):
    # A minute of nothing.
    speech = np.concatenate([spoken[:30000], np.zeros(60 * RATE, np.float32), spoken[:30000]])
    tx, samples = on_the_air(speech)
    assert tx.statistics()["pauses"] > 85
    assert len(samples) < 10 * 0.64 * SSB_RATE


def lengths_of(tx: object) -> tuple[list[int], list[int]]:
    """Where bursts begin on the air, and their lengths by their tags."""
    tags = [t for t in tx.sink.tags() if pmt.to_python(t.key) == "packet_len"]
    return [t.offset for t in tags], [pmt.to_python(t.value) for t in tags]


def test_the_tag_of_a_burst_counts_samples(spoken):
    tx, samples = on_the_air(spoken)
    starts, lengths = lengths_of(tx)
    assert np.array_equal(np.diff([*starts, len(samples)]), lengths)
    # Silence of its own before the pause, so that the last burst is heard at once, and at the end.
    counted = Counter(lengths)
    assert counted[4 * 1152] == 4 and counted[4 * OVER_SYMBOLS] == 2 and len(lengths) == 7


def test_a_second_run_begins_anew(spoken, samples):
    tb = gr.top_block(catch_exceptions=False)
    tx, rx = largesc.analogue_speech_tx(), largesc.analogue_speech_rx()
    source, sink = blocks.vector_source_f(spoken.tolist()), blocks.vector_sink_f()
    tb.connect(source, tx, rx, sink)
    found = []
    for _ in range(2):
        source.rewind()
        sink.reset()
        tb.run()
        found.append((np.array(sink.data()), tx.statistics(), rx.statistics()))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]


def test_a_run_that_stops_in_the_midst_of_a_burst_leaves_nothing(spoken, samples):
    tb = gr.top_block(catch_exceptions=False)
    rx, sink = largesc.analogue_speech_rx(), blocks.vector_sink_f()
    head = blocks.head(gr.sizeof_gr_complex, 7000)
    source = blocks.vector_source_c(samples.tolist())
    tb.connect(source, head, rx, sink)
    tb.run()
    assert rx.statistics()["cut"] == 1
    source.rewind()
    sink.reset()
    head.set_length(len(samples))
    head.reset()
    tb.run()
    assert rx.statistics()["bursts"] == 5 and rx.statistics()["cut"] == 0
    assert likeness(np.array(sink.data()), heard_of(samples)[1]) > 0.9999


def test_a_slow_radio_makes_a_file_wait(spoken):
    tb, tx = gr.top_block(catch_exceptions=False), largesc.analogue_speech_tx()
    sink = blocks.vector_sink_c()
    slow = blocks.throttle(gr.sizeof_gr_complex, 5 * SSB_RATE)
    slow.set_max_noutput_items(512)
    tb.connect(blocks.vector_source_f(np.tile(spoken[:60000], 6).tolist()), tx, slow, sink)
    tb.run()
    assert tx.statistics()["dropped"] == 0
    assert len(sink.data()) > tx.statistics()["bursts"] * 0.64 * SSB_RATE


def test_a_radio_that_ends_does_not_hold_the_flowgraph(spoken):
    tb, tx = gr.top_block(catch_exceptions=False), largesc.analogue_speech_tx()
    source, head = blocks.vector_source_f(spoken.tolist() * 4), blocks.head(8, 5000)
    tb.connect(source, tx, head, blocks.null_sink(8))
    tb.run()
    assert tx.statistics()["frames"] > 150


def test_the_call_sign_follows_the_over(spoken):
    tb = gr.top_block(catch_exceptions=False)
    tx = largesc.analogue_speech_tx(continuous=True, call_sign="N0CALL", ident_minutes=0.0)
    clock, sink = blocks.throttle(gr.sizeof_gr_complex, 5 * SSB_RATE), blocks.vector_sink_c()
    tb.connect(blocks.vector_source_f(spoken.tolist() + END), tx, clock, sink)
    tb.run()
    sent, code = np.array(sink.data()), morse_symbols("DE N0CALL", 1800)
    assert tx.statistics()["idents"] >= 1 and tx.statistics()["dropped"] == 0
    key = np.repeat(np.abs(code), 4)
    found = np.correlate(np.abs(sent), key - key.mean())
    like = found.max() / np.linalg.norm(key - key.mean())
    assert like > 0.9 * 0.35 * np.linalg.norm(key - key.mean())
    # Behind speech, and the receiver takes it for none.
    assert found.argmax() > 4 * 0.64 * SSB_RATE
    assert heard_of(sent)[0].statistics()["bursts"] == tx.statistics()["bursts"]


def test_signing_off_sends_the_call_that_is_owed(spoken):
    tb = gr.top_block(catch_exceptions=False)
    tx = largesc.analogue_speech_tx(continuous=True, call_sign="N0CALL", ident_minutes=60.0)
    clock = blocks.throttle(gr.sizeof_gr_complex, 10 * SSB_RATE)
    source = blocks.vector_source_f(spoken.tolist(), True)
    tb.connect(source, tx, clock, blocks.null_sink(8))
    assert not tx.is_identifying()
    tb.start()
    while not tx.source.owes_ident():
        pass
    tx.sign_off()
    tb.stop()
    tb.wait()
    assert tx.statistics()["idents"] == 1


def test_messages_that_are_no_bursts_are_refused():
    source = largesc.analogue_speech_tx().source
    one, none = np.ones(1152, np.complex64), np.zeros(0, np.complex64)
    bad = [
        pmt.intern("x"), pmt.PMT_NIL, make_packet(b"abc"), make_burst({}, none),
        make_burst({}, np.append(one, one)),
    ]  # fmt: skip
    for message in bad:
        source._on_port_packets(message)
    assert source.statistics()["refused"] == len(bad)
    for _ in range(6):
        source._on_port_packets(make_burst({}, one))
    assert source.statistics()["dropped"] == 2


def test_amplitudes_out_of_range_are_refused(spoken):
    tx = largesc.analogue_speech_tx()
    for value in (0.0, -1.0, 1.5, float("nan"), "much", None):
        tx.set_amplitude(value)
    assert tx.statistics()["refused_settings"] == 6
    tx.set_amplitude(0.1)
    sink, tb = blocks.vector_sink_c(), gr.top_block(catch_exceptions=False)
    tb.connect(blocks.vector_source_f(spoken[:48000].tolist()), tx, sink)
    tb.run()
    # Loud speech is a little above the mean of all speech; its peaks are limited.
    sent = np.abs(np.array(sink.data()))
    assert 0.05 < np.sqrt(np.mean(sent**2)) < 0.15 and sent.max() < 0.26


@pytest.mark.parametrize("block", [largesc.analogue_speech_tx, largesc.analogue_speech_rx])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"profile": "wide"}, "profile 'wide' is unknown: use one of ssb, medium, narrow"),
        ({"sample_rate": 1.0}, "sample_rate 1 has no ratio .* use one such as"),
        ({"sample_rate": -1.0}, "sample_rate -1 has no ratio .* use one such as"),
        ({"threads": 0}, "threads 0 is out of range: use 1 to"),
        ({"codec": "nowhere"}, "unknown model 'nowhere': expected 'embedded', an existing path"),
        ({"model": "/nowhere"}, "unknown model '/nowhere': expected 'embedded', an existing"),
    ],
)
def test_bad_arguments_are_named(block, wrong, said):
    with pytest.raises(ValueError, match=said):
        block(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amplitude": 0.0}, "amplitude 0.0 is out of range: use more than 0, at most 1"),
        ({"amplitude": float("nan")}, "amplitude nan is out of range"),
        ({"call_sign": "N0CALL"}, "call_sign 'N0CALL' needs continuous: set it to True"),
        ({"call_sign": "N0!", "continuous": True}, "call sign 'N0!' is none: letters"),
        (
            {"call_sign": "N0CALL", "continuous": True, "ident_minutes": -1.0},
            "ident_minutes -1.0 is out of range: use 0 to 60",
        ),
    ],
)
def test_bad_arguments_of_the_sender_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        largesc.analogue_speech_tx(**wrong)


def test_blocks_tell_their_counters(spoken):
    tb = gr.top_block(catch_exceptions=False)
    tx, rx = largesc.analogue_speech_tx(), largesc.analogue_speech_rx()
    told = blocks.message_debug(False), blocks.message_debug(False)
    tb.connect(blocks.vector_source_f(spoken.tolist()), tx, rx, blocks.null_sink(4))
    for block, sink in zip((tx, rx), told, strict=True):
        tb.msg_connect(block, "status", sink, "store")
    tb.start()
    wait_until(lambda: all(len(bursts_told(sink)) and bursts_told(sink)[-1] == 5 for sink in told))
    tb.stop()
    tb.wait()
    heard = pmt.to_python(told[1].get_message(told[1].num_messages() - 1))
    assert {"snr_db", "unsure", "carrier_offset_hz"} <= heard.keys()


def bursts_told(sink: object) -> list[int]:
    """The counter of bursts in each message that came."""
    return [pmt.to_python(sink.get_message(n))["bursts"] for n in range(sink.num_messages())]

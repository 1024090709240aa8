# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators ask for: quiet without a signal, and words where a sample rate is wrong."""

import numpy as np
import pytest
import soundfile
from gnuradio import blocks, gr, largesc
from gnuradio.largesc._blocks import real_time
from gnuradio.largesc.radio.profiles import PROFILES
from helpers import wait_until
from radio_signals import noisy

PROFILE = PROFILES["ssb"]
# Comfort noise; no loudspeaker makes it heard.
QUIET = 1e-3


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


@pytest.fixture(scope="module")
def over(spoken, tmp_path_factory) -> np.ndarray:
    """Samples of four seconds of speech, at the profile's rate."""
    source = tmp_path_factory.mktemp("over") / "in.wav"
    soundfile.write(source, np.tile(spoken[: 24000 * 2], 2), 24000)
    tb = gr.top_block("tx", catch_exceptions=False)
    voice = blocks.wavfile_source(str(source), False)
    sender = largesc.speech_tx(budget_bps=1100, deadline_ms=160, frames_per_packet=2, crc=False)
    modem = largesc.packet_radio_tx(profile="ssb", queue_packets=1000)
    sink = blocks.vector_sink_c()
    tb.connect(voice, sender)
    tb.msg_connect(sender, "packets", modem, "packets")
    tb.connect(modem, sink)
    tb.run()
    return np.array(sink.data())


def played(x: np.ndarray, method: str) -> tuple[np.ndarray, int]:
    """What a live receiver plays while these samples come, and how many packets they have."""
    tb = gr.top_block("rx", catch_exceptions=False)
    # The receiver ends with its input: on a busy machine that must not come first.
    more = noisy(np.zeros(120 * 7200), 15.0, PROFILE, 9)
    source = blocks.vector_source_c(np.concatenate([x, more]).astype(np.complex64).tolist())
    clock = blocks.throttle(gr.sizeof_gr_complex, 7200.0)
    modem, sink = largesc.packet_radio_rx(profile="ssb"), blocks.vector_sink_f()
    receiver = largesc.speech_rx(
        method=method, mode="live", deadline_ms=160, frames_per_packet=2, crc=False
    )
    tb.connect(source, clock, modem)
    tb.msg_connect(modem, "packets", receiver, "packets")
    tb.connect(receiver, real_time(), sink)
    tb.start()
    wait_until(lambda: sink.nitems_read(0) >= 24000 * len(x) / 7200)
    tb.stop()
    tb.wait()
    return np.array(sink.data()), modem.statistics()["accepted"]


def test_noise_alone_is_silence():
    heard, accepted = played(noisy(np.zeros(3 * 7200), 6.0, PROFILE, 1), "interpolate")
    assert accepted == 0 and rms(heard) < QUIET


@pytest.mark.parametrize("method", ["interpolate", "lm", "repeat"])
def test_speech_fades_where_the_signal_goes_in_mid_over(over, method):
    half = over[: len(over) // 2]
    x = noisy(np.concatenate([half, np.zeros(5 * 7200)]), 15.0, PROFILE, 2)
    heard, accepted = played(x, method)
    assert accepted > 5 and rms(heard) > 0.01
    # Neither a howl nor a buzz goes on: the last two seconds are quiet.
    assert rms(heard[-48000:]) < QUIET


@pytest.mark.parametrize("rate", [6000.0, 8000.0, 9600.0, 14400.0])
def test_a_wrong_sample_rate_is_asked_about(over, rate):
    tb = gr.top_block("rx", catch_exceptions=False)
    x = noisy(np.concatenate([np.zeros(3600), over]), 15.0, PROFILE, 3)
    rx = largesc.packet_radio_rx(profile="ssb", sample_rate=rate)
    tb.connect(blocks.vector_source_c(x.astype(np.complex64).tolist()), rx)
    tb.run()
    assert rx.statistics()["accepted"] == 0
    assert rx.hearing().startswith("no packet: a signal") and "sample rate" in rx.hearing()

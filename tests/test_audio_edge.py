# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech source and sink, and the monitor of a link."""

import gc
import time

import numpy as np
import pmt
import pytest
import soundfile
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc._blocks import real_time
from helpers import wait_until


@pytest.fixture
def wav(tmp_path) -> str:
    """Half a second of 440 Hz, 16 kHz, two channels of which one is silent."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.stack([tone, np.zeros(8000)], axis=1), 16000)
    return str(path)


def test_file_is_mixed_down_and_resampled(wav, tmp_path):
    out = tmp_path / "out.wav"
    tb = gr.top_block()
    sink = largesc.speech_sink(kind="file", wav_file=str(out))
    tb.connect(largesc.speech_source(kind="file", wav_file=wav, repeat=False), sink)
    tb.run()
    found, rate = soundfile.read(out)
    assert rate == 24000 and abs(len(found) - 12000) < 200
    spectrum = np.abs(np.fft.rfft(found[2000:10000]))
    assert abs(np.argmax(spectrum) * 24000 / 8000 - 440) < 4
    assert 0.2 < np.abs(found[2000:10000]).max() < 0.3


def test_sink_without_a_file_keeps_the_pace():
    tb = gr.top_block()
    tb.connect(blocks.vector_source_f([0.0] * 24000), largesc.speech_sink(kind="file"))
    # Nobody keeps the sink nor its parts.
    gc.collect()
    begin = time.monotonic()
    tb.run()
    assert time.monotonic() - begin > 0.8


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="'radio'"):
        largesc.speech_source(kind="radio", wav_file="x.wav")
    with pytest.raises(ValueError, match="'nowhere.wav'"):
        largesc.speech_source(kind="file", wav_file="nowhere.wav")
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    with pytest.raises(ValueError, match="no audio file"):
        largesc.speech_source(kind="file", wav_file=str(text))
    with pytest.raises(ValueError, match="seconds 0"):
        largesc.link_monitor(seconds=0)


def test_sound_card_that_is_not_there(wav, capfd):
    device = "no_such_card"
    for make in (largesc.speech_source, largesc.speech_sink):
        with pytest.raises(RuntimeError, match=device):
            make(kind="sound_card", device=device)
        capfd.readouterr()
        make(kind="auto", wav_file=wav, device=device)
        # Not the page that ALSA writes.
        assert "ALSA lib" not in capfd.readouterr().err


class Curves(gr.basic_block):
    """Keeps the newest curve of each port."""

    def __init__(self):
        gr.basic_block.__init__(self, "curves", None, None)
        self.found = {}
        for port, handler in (("rate", self.on_rate), ("loss", self.on_loss)):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)

    def on_rate(self, message):
        self.found["rate"] = np.array(pmt.f32vector_elements(pmt.cdr(message)))

    def on_loss(self, message):
        self.found["loss"] = np.array(pmt.f32vector_elements(pmt.cdr(message)))


def packet(index: int, size: int, frames: int = 1) -> object:
    meta = pmt.dict_add(pmt.make_dict(), pmt.intern(keys.frame_index), pmt.from_long(index))
    meta = pmt.dict_add(meta, pmt.intern(keys.frames), pmt.from_long(frames))
    return pmt.cons(meta, pmt.init_u8vector(size, [0] * size))


def test_monitor_counts_rate_and_losses():
    monitor, seen = largesc.link_monitor(seconds=4.0), Curves()
    monitor._post = lambda port, values: seen.found.__setitem__(port, values)
    for n in range(0, 100, 2):
        monitor._on_sent(packet(n, 20, frames=2))
        if n % 8:
            monitor._on_received(packet(n, 20, frames=2))
    assert len(seen.found["rate"]) == len(seen.found["loss"]) == 50
    assert np.allclose(seen.found["rate"][-20:], 8 * 20 / 0.16)
    assert abs(seen.found["loss"][:40].mean() - 25.0) < 5.0


def test_monitor_survives_anything_and_a_restart():
    monitor, seen = largesc.link_monitor(seconds=4.0), Curves()
    monitor._post = lambda port, values: seen.found.__setitem__(port, values)
    bad = [pmt.PMT_T, pmt.intern("x"), pmt.cons(pmt.PMT_NIL, pmt.PMT_NIL), packet(-3, 5)]
    bad += [packet(0, 5, frames=9), pmt.cons(pmt.make_dict(), pmt.init_u8vector(1, [0]))]
    for message in bad:
        monitor._on_sent(message)
        monitor._on_received(message)
    for n in (5, 1_000_000, 3):
        monitor._on_sent(packet(n, 10))
        monitor._on_received(packet(n, 10))
    assert seen.found["loss"].max() == 0 and seen.found["rate"].max() > 0


def test_monitor_in_a_flowgraph():
    tb = gr.top_block()
    source = blocks.message_strobe(packet(0, 20), 20)
    monitor, seen = largesc.link_monitor(seconds=4.0), Curves()
    tb.msg_connect(source, "strobe", monitor, "sent")
    tb.msg_connect(source, "strobe", monitor, "received")
    for port in ("rate", "loss"):
        tb.msg_connect(monitor, port, seen, port)
    tb.start()
    wait_until(lambda: set(seen.found) == {"rate", "loss"} and seen.found["rate"].max() > 0)
    tb.stop()
    tb.wait()


class Stalling(gr.sync_block):
    """Silence that does not come for half a second, once."""

    def __init__(self) -> None:
        gr.sync_block.__init__(self, "stalling", None, [np.float32])
        self.set_max_noutput_items(480)
        self.stalled = False

    def work(self, input_items: list, output_items: list) -> int:
        output_items[0][:] = 0.0
        if not self.stalled and self.nitems_written(0) >= 12000:
            self.stalled = True
            time.sleep(0.5)
        return len(output_items[0])


def test_pace_does_not_catch_up_behind_a_stall():
    tb, source = gr.top_block(), Stalling()
    # Small buffers, so that the stall is heard.
    source.set_max_output_buffer(1024)
    tb.connect(source, real_time(), blocks.head(gr.sizeof_float, 24000), blocks.null_sink(4))
    begin = time.monotonic()
    tb.run()
    # A second of speech and the stall, less what the buffers hold.
    assert time.monotonic() - begin > 1.25

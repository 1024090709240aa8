# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of the translation link: speech to symbols to text, and messages that cannot be used."""

import queue
import threading
import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.messages import to_pmt
from gnuradio.largesc.blocks.translation.bursts import burst_pdu, end_of_bursts, read_burst
from gnuradio.largesc.features.text import Text
from gnuradio.largesc.tasks.translation import Burst
from test_translation import WORDS, code_of, quiet, voice
from translation_trials import SAMPLES_A_PHRASE, rx_module, tx_module, use_small_models


@pytest.fixture(autouse=True)
def small(monkeypatch):
    use_small_models(monkeypatch)


class Listener(gr.basic_block):
    """Keeps the messages that come."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "listener", None, None)
        self.messages = []
        self.message_port_register_in(pmt.intern("in"))
        self.set_msg_handler(pmt.intern("in"), self.take)

    def take(self, message: object) -> None:
        self.messages.append(message)


def text_of(messages: list) -> str:
    return "".join(bytes(pmt.u8vector_elements(pmt.cdr(m))).decode() for m in messages)


@pytest.mark.parametrize("channel", ["awgn", "rayleigh", "none"])
def test_speech_becomes_text_and_speech(channel):
    speech = np.concatenate([voice(2.5), quiet(1.0), voice(1.0)])
    tb = gr.top_block()
    source = blocks.vector_source_f(speech.tolist())
    tx = largesc.translation_tx(symbols=3)
    air = largesc.symbol_channel(channel=channel, snr_db=20.0)
    rx = largesc.translation_rx(symbols=3, mode="offline")
    sink, listener = blocks.vector_sink_f(), Listener()
    tb.connect(source, tx)
    tb.msg_connect(tx, "symbols", air, "symbols")
    tb.msg_connect(air, "symbols", rx, "symbols")
    tb.msg_connect(rx, "text", listener, "in")
    tb.connect(rx, sink)
    tb.run()
    assert text_of(listener.messages).split()[: len(WORDS)] == WORDS
    assert tx.statistics()["segments"] >= 4 and tx.statistics()["refused"] == 0
    facts = rx.statistics()
    assert facts["windows"] == 2 and facts["lost"] == facts["refused"] == 0
    assert len(sink.data()) >= 2400 and max(sink.data()) == 0.5


def test_a_burst_comes_back_from_its_pdu():
    symbols = np.arange(24, dtype=np.complex64).reshape(2, 12)
    h = np.array([[1 + 1j], [0.5]], dtype=np.complex64)
    burst = Burst(3, 1, 8, True, -5, symbols, h, 99, 77)
    _, found = read_burst(burst_pdu(burst))
    assert np.array_equal(found.symbols, symbols) and np.array_equal(found.h, h)
    assert (found.index, found.window, found.first, found.last) == (3, 1, 8, True)
    assert (found.gain_steps, found.spoken, found.speech_end) == (-5, 99, 77)


GOOD = {
    keys.burst_index: 0,
    keys.window: 0,
    keys.first_frame: 0,
    keys.last: False,
    keys.gain_steps: 0,
    keys.spoken_sample: 0,
    keys.speech_end_sample: 0,
    keys.fading: np.ones(1, dtype=np.complex64),
}


@pytest.mark.parametrize(
    "wrong",
    [
        {keys.burst_index: -1},
        {keys.window: 1.5},
        {keys.last: 1},
        {keys.gain_steps: 500},
        {keys.fading: np.ones(0, dtype=np.complex64)},
        {keys.fading: np.ones(5, dtype=np.complex64)},
    ],
)
def test_messages_that_cannot_be_used_are_refused(wrong):
    message = pmt.cons(to_pmt(GOOD | wrong), pmt.init_c32vector(12, [1j] * 12))
    with pytest.raises(ValueError):
        read_burst(message)
    rx = largesc.translation_rx(symbols=3)
    rx._on_port_symbols(message)
    rx._on_port_symbols(pmt.intern("x"))
    rx._on_port_symbols(pmt.cons(to_pmt(GOOD), pmt.init_u8vector(1, [1])))
    assert rx.statistics()["refused"] == 3


def test_settings_out_of_range_keep_the_old_one():
    air, rx = largesc.symbol_channel(), largesc.translation_rx(symbols=3)
    for block in (air, rx):
        block.set_snr_db(float("nan"))
        assert block.statistics()["refused_settings"] == 1
        block.set_snr_db(3.0)
    air.set_channel("x")
    assert air.statistics()["refused_settings"] == 2
    assert air._settings["snr_db"] == 3.0 and rx._receiver._snr_db == 3.0
    with pytest.raises(ValueError, match="mode 'x' is unknown: use one of live, offline"):
        largesc.translation_rx(symbols=3, mode="x")
    with pytest.raises(ValueError, match="policy 'x' is unknown"):
        largesc.translation_tx(symbols=3, policy="x")


def test_live_the_newest_bursts_are_kept():
    rx = largesc.translation_rx(symbols=3)
    for number in range(40):
        rx._on_port_symbols(message_of(number))
    kept = [rx._bursts.get_nowait().index for _ in range(rx._bursts.qsize())]
    assert kept == list(range(8, 40)) and rx.statistics()["dropped"] == 8


def message_of(number: int, blocks: int = 1, window: int = 0, last: bool = False) -> object:
    """A burst of silence."""
    meta = GOOD | {keys.burst_index: number, keys.window: window, keys.last: last}
    meta[keys.fading] = np.ones(blocks, dtype=np.complex64)
    return pmt.cons(to_pmt(meta), pmt.init_c32vector(12 * blocks, [1j] * 12 * blocks))


@pytest.fixture
def published(monkeypatch):
    """What a receiver publishes, by port."""
    found = {"text": [], "caption": [], "status": []}

    def keep(self: object, port: str, message: object) -> None:
        found[port].append(message)

    monkeypatch.setattr(largesc.translation_rx, "publish", keep)
    return found


def run_until(block: object, done: object) -> None:
    """Runs the thread of a block until ``done`` says so, at most 20 s."""
    block.start()
    end = time.monotonic() + 20.0
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    block.stop()
    assert done()


@pytest.mark.parametrize("mode", ["live", "offline"])
def test_a_window_whose_last_burst_is_lost_is_finished(mode, published, monkeypatch):
    monkeypatch.setattr("gnuradio.largesc.tasks.translation.PATIENCE_S", -3.0)
    rx = largesc.translation_rx(symbols=3, mode=mode)
    rx._on_port_symbols(message_of(0, blocks=15, window=4))
    if mode == "offline":
        rx._on_port_symbols(end_of_bursts())
    run_until(rx, lambda: any(meta_of(m)[keys.last] for m in published["text"]))
    assert text_of(published["text"]).split() == WORDS[:6]
    assert meta_of(published["text"][-1])[keys.window] == 4
    assert rx.statistics()["unfinished"] == 1


def meta_of(message: object) -> dict:
    return pmt.to_python(pmt.car(message))


def test_text_of_a_window_that_another_one_ends_has_its_own_number(published):
    rx = largesc.translation_rx(symbols=3)
    rx._on_port_symbols(message_of(0, blocks=15, window=4))
    rx._on_port_symbols(message_of(1, blocks=15, window=5))
    run_until(rx, lambda: published["text"])
    assert meta_of(published["text"][0])[keys.window] == 4


def test_settings_outlive_a_restart():
    rx = largesc.translation_rx(symbols=3)
    rx.set_snr_db(-3.0)
    rx.begin()
    assert rx._receiver._snr_db == -3.0


def test_settings_do_not_begin_the_noise_anew():
    burst = Burst(0, 0, 0, False, 0, np.ones((4, 12), dtype=np.complex64), np.ones((4, 1)), 0, 0)
    plain, changed = (largesc.symbol_channel(channel="awgn", seed=5) for _ in range(2))
    first, second = plain._air(burst).symbols, plain._air(burst).symbols
    assert np.array_equal(changed._air(burst).symbols, first)
    changed.set_snr_db(10.0)
    changed.set_channel("none")
    assert np.array_equal(changed._air(burst).symbols, burst.symbols)
    changed.set_channel("awgn")
    assert np.array_equal(changed._air(burst).symbols, second)
    changed.set_snr_db(30.0)
    assert np.abs(changed._air(burst).symbols - 1.0).max() < 0.5


def test_the_last_piece_is_not_left_behind():
    """The end of the stream is seen just while the queue is asked in vain."""
    tx = largesc.translation_tx(symbols=3)
    tx.stopped, emitted = threading.Event(), []
    tx.publish = lambda port, message: emitted.append(port)
    pieces, get = tx._pieces, tx._pieces.get

    def late(timeout: float) -> np.ndarray:
        if not tx._over:
            pieces.put(voice(0.6))
            tx._over = True
            raise queue.Empty
        if tx._ended:
            tx.stopped.set()
        return get(timeout=0.0)

    pieces.get = late
    tx.run()
    assert tx.statistics()["bursts"] == 1 and emitted[-2:] == ["symbols", "status"]


def test_speech_that_waits_is_counted_right_from_two_threads():
    rx = largesc.translation_rx(symbols=3, mode="offline")
    out = [np.zeros(4096, dtype=np.float32)]
    speak = threading.Thread(target=lambda: [rx._speak(SAID) for _ in range(500)])
    speak.start()
    played = 0
    while speak.is_alive() or not rx._speech.empty() or len(rx._samples):
        played += rx.work([], out)
    assert played == 500 * SAMPLES_A_PHRASE
    assert rx._made_samples == rx._played_samples == played


SAID = Text(0, " four words of speech", "", 1.0, False, False)


def test_a_channel_code_of_another_model_is_refused(monkeypatch):
    wide = code_of(width=7)
    for module in (tx_module, rx_module):
        monkeypatch.setattr(module, "load_channel_code", lambda source, symbols: wide)
    for make in (largesc.translation_tx, largesc.translation_rx):
        with pytest.raises(ValueError, match="'embedded' takes 7 numbers a frame, Whisper base gi"):
            make(symbols=3)

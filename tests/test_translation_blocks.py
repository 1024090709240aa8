# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of the translation link: speech to symbols to text, and messages that cannot be used."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.messages import to_pmt
from gnuradio.largesc.blocks.translation.bursts import burst_pdu, read_burst
from gnuradio.largesc.tasks.translation import Burst
from test_translation import WORDS, quiet, voice
from translation_trials import use_small_models


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
    burst = Burst(3, 1, 8, True, -5, symbols, h, 99)
    _, found = read_burst(burst_pdu(burst))
    assert np.array_equal(found.symbols, symbols) and np.array_equal(found.h, h)
    assert (found.index, found.window, found.first, found.last) == (3, 1, 8, True)
    assert (found.gain_steps, found.spoken) == (-5, 99)


GOOD = {
    keys.burst_index: 0,
    keys.window: 0,
    keys.first_frame: 0,
    keys.last: False,
    keys.gain_steps: 0,
    keys.spoken_sample: 0,
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
    message = pmt.cons(to_pmt(GOOD), pmt.init_c32vector(12, [1j] * 12))
    for _ in range(40):
        rx._on_port_symbols(message)
    assert rx._bursts.qsize() == 32 and rx.statistics()["dropped"] == 8

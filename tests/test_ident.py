# SPDX-License-Identifier: GPL-3.0-or-later
"""The call sign in Morse code: what is sent, when, and that no packet suffers."""

import json
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pmt
import pytest
import soundfile
from commands import Command, main_of
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.blocks.messages import make_packet
from gnuradio.largesc.radio.morse import MORSE, StationIdent, keyed, morse_symbols
from helpers import wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"
DOT_S = 0.06
LETTERS = {signs: letter for letter, signs in MORSE.items()}


def runs_of(key: np.ndarray) -> list[tuple[bool, int]]:
    """Whether the key is down, and for how many items, one after another."""
    edges = np.flatnonzero(np.diff(key.astype(int))) + 1
    return [(bool(part[0]), len(part)) for part in np.split(key, edges)]


def read_morse(samples: np.ndarray, rate: float) -> str:
    """What an operator reads out of a carrier."""
    power = np.convolve(np.abs(samples), np.ones(9) / 9, mode="same")
    text, signs = "", ""
    for down, length in runs_of(power > 0.5 * power.max()):
        dots = length / rate / DOT_S
        if down:
            signs += "." if dots < 2 else "-"
        elif dots > 2:
            text += LETTERS.get(signs, "?") if signs else ""
            text += " " if dots > 5 else ""
            signs = ""
    return (text + (LETTERS.get(signs, "?") if signs else "")).strip()


def packets(count: int) -> list[bytes]:
    draw = np.random.default_rng(4)
    return [draw.integers(0, 256, 25).astype(np.uint8).tobytes() for _ in range(count)]


def sent_by(sent: list[bytes], seconds: float, **options) -> tuple[np.ndarray, object]:
    """Samples of a steady sender; the packets wait for it, the end does not come."""
    tb = gr.top_block("tx", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile="ssb", continuous=True, **options)
    head, sink = blocks.head(gr.sizeof_gr_complex, round(7200 * seconds)), blocks.vector_sink_c()
    tb.connect(tx, head, sink)
    for packet in sent:
        tx.source.gateway._post(pmt.intern("packets"), make_packet(packet))
    tb.start()
    tb.wait()
    return np.array(sink.data()), tx


def received(samples: np.ndarray) -> int:
    tb = gr.top_block("rx", catch_exceptions=False)
    rx = largesc.packet_radio_rx(profile="ssb")
    tb.connect(blocks.vector_source_c(samples.tolist()), rx)
    tb.run()
    return rx.statistics()["accepted"]


def test_paris_takes_fifty_dots():
    # With a word's gap in front, one behind: 43 + 14.
    assert len(keyed("PARIS")) == 50 + 7
    assert len(morse_symbols("PARIS", 1800.0)) == 57 * 108


def test_every_character_is_read_back():
    text = "DE " + "".join(MORSE)
    assert read_morse(morse_symbols(text, 7200.0), 7200.0) == text


def test_a_call_follows_the_over_and_no_packet_suffers():
    x, tx = sent_by(packets(5), 12.0, call_sign="f/dl1abc/p")
    assert received(x) == 5
    assert tx.statistics()["idents"] == 1 and tx.statistics()["packets"] == 5
    # Five bursts of 157 ms and a pause of 300; then the call.
    call = x[round(1.05 * 7200) :]
    assert read_morse(call, 7200.0) == "DE F/DL1ABC/P"
    # As loud as the bursts, and no wider: 99.9 % within 200 Hz.
    assert np.sqrt(np.mean(np.abs(call[np.abs(call) > 0.3]) ** 2)) == pytest.approx(0.5, rel=0.15)
    power = np.abs(np.fft.fft(call)) ** 2
    near = np.abs(np.fft.fftfreq(len(call), 1 / 7200)) < 200
    assert power[near].sum() > 0.999 * power.sum()


def test_without_a_call_sign_and_without_packets_nothing_is_called():
    x, tx = sent_by(packets(2), 4.0)
    assert "idents" not in tx.statistics() and not np.abs(x[round(0.5 * 7200) :]).any()
    x, tx = sent_by([], 4.0, call_sign="N0CALL")
    assert tx.statistics()["idents"] == 0 and not np.abs(x).any()


def test_the_end_of_the_stream_is_signed_even_a_second_behind_a_call():
    tb = gr.top_block("tx", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile="ssb", continuous=True, call_sign="W1AW")
    sink = blocks.vector_sink_c()
    tb.connect(tx, sink)
    tb.start()
    post = tx.source.to_basic_block()._post
    post(pmt.intern("packets"), make_packet(packets(1)[0]))
    wait_until(lambda: tx.statistics()["idents"] == 1)
    wait_until(lambda: not tx.is_identifying())
    post(pmt.intern("packets"), make_packet(packets(1)[0]))
    wait_until(lambda: tx.statistics()["packets"] == 2)
    tx.sign_off()
    tb.wait()
    assert tx.statistics()["idents"] == 2
    # Signed off twice, and behind an end: nothing more.
    tx.sign_off()
    x = np.array(sink.data())
    assert received(x) == 2


def ident(minutes: float) -> StationIdent:
    return StationIdent("N0CALL", minutes, 1000.0)


def test_each_over_is_called_behind_where_minutes_are_0():
    rule = ident(0)
    for _ in range(3):
        rule.packet_sent(160)
        assert not rule.is_due()
        rule.silence_sent(299)
        assert not rule.is_due()
        rule.silence_sent(1)
        assert rule.is_due()
        rule.called()
        rule.silence_sent(100_000)
        assert not rule.is_due()


def test_the_first_over_is_called_then_each_ten_minutes():
    rule, calls = ident(10), []
    second = 0
    # Overs of 20 s with 10 s between them, for an hour.
    while second < 3600:
        if second % 30 < 20:
            rule.packet_sent(1000)
        else:
            rule.silence_sent(1000)
        second += 1
        if rule.is_due():
            calls.append(second)
            rule.called()
    assert calls[0] == 21 and len(calls) == 6
    assert all(600 <= b - a <= 600 + 31 for a, b in zip(calls, calls[1:], strict=False))


def test_an_over_that_does_not_end_is_called_in_its_midst():
    rule = ident(10)
    for _ in range(599):
        rule.packet_sent(1000)
        assert not rule.is_due()
    rule.packet_sent(1000)
    rule.packet_sent(1000)
    assert rule.is_due()


def test_silence_before_the_first_over_does_not_count():
    rule = ident(10)
    rule.silence_sent(10_000_000)
    rule.packet_sent(160)
    assert not rule.is_due()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"call_sign": "Dä1ABC", "continuous": True}, "call sign 'Dä1ABC' is none"),
        ({"call_sign": "CQ CQ", "continuous": True}, "call sign 'CQ CQ' is none"),
        ({"call_sign": "W1AW"}, "needs continuous"),
        ({"call_sign": "W1AW", "profile": "wide"}, "needs continuous, and another than 'wide'"),
        ({"call_sign": "W1AW", "continuous": True, "ident_minutes": -1}, "ident_minutes -1"),
        ({"call_sign": "W1AW", "continuous": True, "ident_minutes": float("nan")}, "nan is out"),
    ],
)
def test_wrong_arguments_say_what(options, message):
    with pytest.raises(ValueError, match=message):
        largesc.packet_radio_tx(**options)


def test_a_recorded_over_ends_with_the_call_sign(monkeypatch, tmp_path, speech, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    import radio

    soundfile.write(tmp_path / "in.wav", speech[: 20 * 1920], 24000)
    path = tmp_path / "over.cf32"
    command = ["tx", str(tmp_path / "in.wav"), "--to", str(path), "--call-sign", "N0CALL"]
    try:
        assert radio.main(command) == 0
        assert radio.main([*command[:-1], "none!"]) == 2
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "call sign 'none!' is none" in capsys.readouterr().err
    x = np.fromfile(path, dtype=np.complex64)
    # DE N0CALL takes 101 dots.
    assert read_morse(x[-round(105 * DOT_S * 7200) :], 7200.0).endswith("DE N0CALL")


def test_an_over_that_is_interrupted_is_signed(tmp_path, speech):
    soundfile.write(tmp_path / "in.wav", np.tile(speech, 30), 24000)
    path = tmp_path / "over.cf32"
    command = ["tx", str(tmp_path / "in.wav"), "--to", str(path), "--call-sign", "N0CALL"]
    radio = Command(tmp_path, *command, main=partial(main_of, "radio", folder=str(EXAMPLES)))
    wait_until(lambda: path.exists() and path.stat().st_size > 8 * 3 * 7200)
    radio.signal(signal.SIGINT)
    radio.wait()
    out = Path(radio.stdout).read_text()
    assert json.loads(out.splitlines()[-1])["modem"]["idents"] == 1
    x = np.fromfile(path, dtype=np.complex64)
    assert read_morse(x[-round(105 * DOT_S * 7200) :], 7200.0).endswith("DE N0CALL")

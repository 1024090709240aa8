# SPDX-License-Identifier: GPL-3.0-or-later
"""Call sign and text that go along with the packets of speech."""

import json
from pathlib import Path

import numpy as np
import pmt
import pytest
import soundfile
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.messages import make_packet, packet_bytes, to_pmt
from gnuradio.largesc.packets.text import checked_text, decode, encode
from helpers import wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize(
    "call, text", [("W1AW", "hello"), ("", "73 de Köln"), ("F/DL1ABC/P", ""), ("", "x")]
)
def test_what_is_sent_is_read(call, text, crc):
    packet = encode(checked_text(call, text), 300, crc)
    assert packet[:2] == bytes([300 % 256, 0xFE])
    assert decode(packet, crc) == (call, text)
    # Longer than a report.
    assert len(packet) >= (7 if crc else 5)


def test_bytes_as_the_document_has_them():
    assert encode(checked_text("w1aw", "hi"), 7, False) == b"\x07\xfeW1AW\nhi"


def test_whatever_comes_is_printable_or_nothing():
    draw = np.random.default_rng(1)
    for n in range(2000):
        data = draw.integers(0, 256, n % 40).astype(np.uint8).tobytes()
        found = decode(data[:1] + b"\xfe" + data, False)
        assert found is None or all(part.isprintable() for part in found)
    assert decode(b"\x00\xfe\x1b[2J\n\x07", False) == ("?[2J", "?")
    assert decode(b"", False) is None and decode(b"\x00\xfe", False) is None
    assert decode(b"\x00\xfeW1AW\nhi", True) is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"text": "a\nb"}, "cannot be printed"),
        ({"text": "\x1b[2J"}, "cannot be printed"),
        ({"text": "x" * 100}, "have 100 bytes: use 1 to 99, both together"),
        ({"text": "ö" * 50}, "have 100 bytes"),
        ({"call_sign": "Ö1X", "text": "x"}, "call sign 'Ö1X' is none"),
        ({"text": "x", "interval_s": 0.5}, "interval_s 0.5"),
        ({"text": "x", "interval_s": float("nan")}, "interval_s nan"),
    ],
)
def test_wrong_arguments_say_what(arguments, message):
    with pytest.raises(ValueError, match=message):
        largesc.text_tx(**arguments)


def speech_packet(frame: int, end: bool = False) -> object:
    meta = {keys.frame_index: frame, keys.frames: 2} | ({keys.end_of_stream: True} if end else {})
    return pmt.cons(to_pmt(meta), pmt.cdr(make_packet(b"speech %d" % frame)))


def through(frames: list[int], **options) -> list[bytes]:
    """What comes out of a sender of texts for packets of these frames, and their end."""
    tb, found = gr.top_block("text", catch_exceptions=False), blocks.message_debug()
    block = largesc.text_tx(crc=False, **options)
    tb.msg_connect(block, "packets", found, "store")
    for frame in frames:
        block.to_basic_block()._post(pmt.intern("packets"), speech_packet(frame))
    block.to_basic_block()._post(pmt.intern("packets"), speech_packet(9999, end=True))
    got = []

    def arrived() -> bool:
        """The end is behind the sender, in the block that keeps packets."""
        got[:] = [packet_bytes(found.get_message(n)) for n in range(found.num_messages())]
        return b"speech 9999" in got

    tb.start()
    wait_until(block.ended)
    wait_until(arrived)
    tb.stop()
    tb.wait()
    assert got[-1] == b"speech 9999"
    return got[:-1]


def is_text(data: bytes) -> bool:
    return decode(data, False) is not None


def test_text_is_in_front_of_each_over_and_again():
    # An over of 40 s, a pause of 4 s, one of 1.6 s.
    frames = [*range(0, 500, 2), *range(550, 570, 2)]
    got = through(frames, call_sign="W1AW", text="hi", interval_s=30)
    assert [n for n, data in enumerate(got) if is_text(data)] == [0, 376 // 2 + 1, 252]
    assert [data for data in got if not is_text(data)] == [b"speech %d" % n for n in frames]
    assert decode(got[0], False) == ("W1AW", "hi")


def test_without_text_packets_pass_alone():
    assert through([0, 2, 4]) == [b"speech 0", b"speech 2", b"speech 4"]


def test_text_changes_while_running_and_odd_ones_leave_the_old():
    block = largesc.text_tx(text="old", crc=False)
    block.set_text("x\x07")
    assert block.statistics()["refused_settings"] == 1
    block.set_text("new")
    assert decode(encode(block._data, 0, False), False) == ("", "new")


def test_speech_receiver_passes_text_over():
    receiver = largesc.uep_depacketizer(crc=False, frames_per_packet=2)
    tb = gr.top_block("rx", catch_exceptions=False)
    text = largesc.text_rx(crc=False)
    found = blocks.message_debug()
    tb.msg_connect(receiver, "tokens", found, "store")
    tb.msg_connect(text, "text", found, "store")
    for block in (receiver, text):
        packet = make_packet(encode(checked_text("W1AW", "hi"), 1, False))
        block.to_basic_block()._post(pmt.intern("packets"), packet)
    tb.start()
    wait_until(lambda: found.num_messages() == 1)
    tb.stop()
    tb.wait()
    assert pmt.to_python(found.get_message(0)) == ("text", "W1AW: hi")
    counted = receiver.statistics()
    assert counted["refused_format"] == 0 and counted["packets_received"] == 0


def test_text_goes_along_with_speech_over_the_air(monkeypatch, tmp_path, speech, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import radio

    monkeypatch.setattr(radio, "stopped_by_signals", lambda: None)
    soundfile.write(tmp_path / "in.wav", speech[: 20 * 1920], 24000)
    path = str(tmp_path / "over.sigmf-data")
    words = ["--text", "QTH Köln", "--call-sign", "N0CALL"]
    assert radio.main(["tx", str(tmp_path / "in.wav"), "--simulate", "--to", path, *words]) == 0
    sent = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert radio.main(["rx", str(tmp_path / "out.wav"), "--from", path]) == 0
    said = capsys.readouterr()
    assert "text: N0CALL: QTH Köln" in said.err
    got = json.loads(said.out.splitlines()[-1])
    assert got["text"]["texts"] == 1
    assert got["modem"]["accepted"] == sent["modem"]["packets"]
    assert got["speech"]["depacketizer"]["refused_format"] == 0
    assert got["speech"]["decoder"]["frames"] == 20

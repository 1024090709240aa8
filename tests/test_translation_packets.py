# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages in pieces and whole again, and what devices and edges tell each other."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from gnuradio.largesc._core import append_crc
from gnuradio.largesc.features.text import Text
from gnuradio.largesc.packets.pieces import (
    HOLD_S,
    MOST_OPEN,
    Assemblers,
    Piece,
    pieces_of,
    read_piece,
)
from gnuradio.largesc.tasks.translation import Burst, Sound
from gnuradio.largesc.tasks.translation_packets import (
    burst_bytes,
    read_burst,
    read_segment,
    read_text,
    segment_bytes,
    text_bytes,
)

rng = np.random.default_rng(0)


def packets(number: int, message: bytes, session: int = 5) -> list[bytes]:
    return [piece.packet() for piece in pieces_of(1, session, number, message)]


def messages(assembler: Assemblers, *sent: bytes, now_s: float = 0.0) -> list[bytes]:
    return [whole.message for packet in sent for whole in assembler.push(packet, now_s)]


# Pieces


@pytest.mark.parametrize("size", [0, 1, 1199, 1200, 1201, 6000, 130_001])
def test_a_message_comes_back_whatever_the_order_of_its_pieces(size):
    message, assembler = rng.bytes(size), Assemblers(1)
    sent = packets(7, message)
    # The last one is the parity.
    assert len(sent) == max(1, -(-size // 1200)) + 1
    assert max(map(len, sent[:-1])) <= 1220 and len(sent[-1]) <= 1222
    (whole,) = (w for p in reversed(sent[:-1]) for w in assembler.push(p, 1.5))
    assert (whole.session, whole.kind, whole.message, whole.arrived_s) == (5, 1, message, 1.5)
    assert assembler.counters["out_of_order"] == len(sent) - 2
    assert not assembler.push(sent[-1], 1.6) and assembler.counters["late"] == 0
    assert assembler.counters["doubled"] == assembler.counters["repaired"] == 0


@pytest.mark.parametrize("size", [0, 1, 1200, 1201, 6000, 7199])
def test_any_one_piece_of_a_message_may_be_lost(size):
    message = rng.bytes(size)
    sent = packets(7, message)
    for lost in range(len(sent)):
        assembler = Assemblers(1)
        assert messages(assembler, *sent[:lost], *sent[lost + 1 :]) == [message]
        assert assembler.counters["repaired"] == (lost < len(sent) - 1)
        assert messages(assembler, sent[lost]) == []
    if len(sent) > 2:
        assert messages(Assemblers(1), *sent[2:]) == []


def test_a_parity_that_lies_does_no_harm():
    good = pieces_of(1, 5, 0, bytes(2000))
    for data in (bytes(2), b"\xff\xff" + bytes(9), rng.bytes(1202)):
        assembler = Assemblers(1)
        (found,) = messages(assembler, good[0].packet(), Piece(1, 5, 0, 2, 2, data).packet())
        assert len(found) <= 2402


def test_a_message_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="a message of 1200001 bytes: send at most 1200000"):
        pieces_of(1, 5, 0, bytes(1_200_001))


def test_messages_come_in_order_and_what_is_lost_is_passed_over():
    sent = [packets(n, b"%d" % n * 2000) for n in range(6)]
    assembler = Assemblers(1)
    found = messages(assembler, *sent[0], *sent[2], sent[1][0], *sent[3])
    assert [m[:1] for m in found] == [b"0"]
    # Soon enough.
    assert [m[:1] for m in messages(assembler, sent[1][1], now_s=0.9 * HOLD_S)] == [
        b"1",
        b"2",
        b"3",
    ]
    # Message 4 does not come.
    assert messages(assembler, *sent[5], now_s=1.0) == [] == assembler.due(1.0 + 0.9 * HOLD_S)
    (whole,) = assembler.due(1.0 + 1.1 * HOLD_S)
    assert whole.message[:1] == b"5" and assembler.counters["lost"] == 1
    assert messages(assembler, *sent[4]) == [] and assembler.counters["late"] == 2


def test_what_is_doubled_is_used_once():
    assembler, sent = Assemblers(1), [packets(n, bytes(3000)) for n in range(3)]
    found = messages(assembler, *(p for message in sent for p in message * 2))
    assert len(found) == 3 and assembler.counters["doubled"] == 9
    assert assembler.counters["lost"] == assembler.counters["late"] == 0


def test_a_sender_that_begins_anew_is_followed():
    assembler = Assemblers(1)
    first, second = packets(900, b"a", session=1), packets(0, b"b", session=2)
    assert messages(assembler, *first, *second, *first) == [b"a", b"b"]
    assert (assembler.counters["restarts"], assembler.counters["late"]) == (1, 1)
    assert messages(assembler, *packets(1, b"c", session=2)) == [b"c"]


def test_packets_that_are_cut_bent_or_garbage_are_refused():
    good, parity = packets(0, b"what is said")
    bad = [good[:n] for n in range(len(good))]
    bad += [rng.bytes(int(n)) for n in rng.integers(0, 1500, 200)]
    for place in range(len(good)):
        bent = bytearray(good)
        bent[place] ^= 1 << place % 8
        bad.append(bytes(bent))
    # With a right CRC, but numbers that cannot be.
    for part, parts in ((1, 1), (0, 0), (5, 3), (0, 1001)):
        bad.append(Piece(1, 5, 0, part, parts, b"x").packet())
    bad.append(append_crc(good[:2] + b"\x03" + good[3:-2]))
    bad.append(Piece(1, 5, 0, 0, 1, bytes(1201)).packet())
    bad.append(Piece(1, 5, 0, 1, 1, bytes(1203)).packet())
    bad.append(Piece(1, 5, 0, 0, 0, b"no pieces").packet())
    bad += [parity[:n] for n in range(len(parity))]
    assembler = Assemblers(1)
    assert messages(assembler, *bad) == []
    assert assembler.counters["refused"] == len(bad)
    assert messages(assembler, good) == [b"what is said"]
    with pytest.raises(ValueError, match="a packet with a wrong CRC"):
        read_piece(good[:-1] + bytes([good[-1] ^ 1]))


def test_numbers_that_lie_make_nobody_deaf_and_take_no_memory():
    assembler = Assemblers(1)
    messages(assembler, *packets(0, b"a"))
    assert messages(assembler, *packets(4_000_000_000, b"x")) == []
    assert messages(assembler, *packets(1, b"b")) == [b"b"]
    for number in range(2, 5000):
        messages(assembler, packets(number, bytes(3000))[0])
    assert len(assembler._calls[0]._open) <= MOST_OPEN
    assert messages(assembler, *packets(5000, b"c"), now_s=9.0) == [b"c"]
    assert assembler.counters["lost"] == 4998
    # Pieces that contradict each other.
    one, other = Piece(1, 5, 5001, 0, 2, b"x"), Piece(1, 5, 5001, 1, 3, b"y")
    assert messages(assembler, one.packet(), other.packet()) == []


def test_any_order_any_losses():
    """What comes out is what was sent, in order, each once."""
    draw = np.random.default_rng(3)
    for _ in range(20):
        sent = [draw.bytes(int(size)) for size in draw.integers(0, 4000, 40)]
        flying = [(n + draw.uniform(0, 3), p) for n, m in enumerate(sent) for p in packets(n, m)]
        flying = [f for f in flying for _ in range(draw.choice([0, 1, 2], p=[0.05, 0.8, 0.15]))]
        assembler, found = Assemblers(1), []
        for at, packet in sorted(flying):
            found += messages(assembler, packet, now_s=at)
        found += [whole.message for whole in assembler.due(1e3)]
        places = [sent.index(message) for message in found]
        assert places == sorted(set(places)) and len(places) > 5
        facts = assembler.counters
        assert facts["messages"] == len(found) and len(found) + facts["lost"] <= 40


# What they hold


def sound(frames: int = 75, last: bool = False) -> Sound:
    return Sound(rng.integers(0, 256, (frames, 80), dtype=np.uint8), 2**33, 2**33 - 9, last)


@pytest.mark.parametrize("one", [sound(), sound(0, True), sound(1)])
def test_a_segment_comes_back(one):
    found = read_segment(segment_bytes(one))
    assert np.array_equal(found.frames, one.frames)
    assert (found.end, found.speech_end, found.last) == (one.end, one.speech_end, one.last)


def burst(blocks: int = 3, size: int = 12) -> Burst:
    symbols = rng.normal(size=(blocks, size)) + 1j * rng.normal(size=(blocks, size))
    h = rng.normal(size=(blocks, 1)) + 1j * rng.normal(size=(blocks, 1))
    return Burst(
        7, 2, 40, True, -127, symbols.astype(np.complex64), h.astype(np.complex64), 10**10, 99
    )


def test_a_burst_comes_back():
    one = burst()
    found = read_burst(burst_bytes(one))
    for name in ("index", "window", "first", "last", "gain_steps", "spoken", "speech_end"):
        assert getattr(found, name) == getattr(one, name)
    assert np.array_equal(found.h, one.h)
    assert np.abs(found.symbols - one.symbols).max() < 2e-3 * np.abs(one.symbols).max()
    assert found.symbols.dtype == found.h.dtype == np.complex64


def test_symbols_that_are_no_numbers_become_0():
    one = burst()
    one.symbols[0, 0], one.symbols[1, 1], one.h[2] = np.nan, 1e9, np.inf
    found = read_burst(burst_bytes(one))
    assert np.isfinite(found.symbols).all() and np.isfinite(found.h).all()


TEXT = Text(3, " Où est-ce", " peut-être", 1.5, True, False)


def test_a_text_comes_back():
    assert read_text(text_bytes(TEXT)) == TEXT
    bent = Text(3, "\x1b[2Jword\r\n", "\x07", 1.5, True, False)
    assert read_text(text_bytes(bent)).committed == "[2Jword"


@pytest.mark.parametrize(
    ("read", "good"),
    [
        (read_segment, segment_bytes(sound(1))),
        (read_burst, burst_bytes(burst(1, 2))),
        (read_text, text_bytes(TEXT)),
    ],
)
def test_messages_that_are_cut_or_garbage_are_refused(read, good):
    read(good)
    for n in range(len(good)):
        if read is not read_segment or n != 18:
            with pytest.raises(ValueError):
                read(good[:n])
    for n in rng.integers(0, 300, 500):
        try:
            read(rng.bytes(int(n)))
        except ValueError:
            continue


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": "1"},
        {"window": True},
        {"committed": None},
        {"committed": "a" * 10_001},
        {"heard_s": "x"},
        {"last": 1},
        {"more": 1},
    ],
)
def test_texts_with_other_values_are_refused(wrong):
    with pytest.raises(ValueError):
        read_text(json.dumps(asdict(TEXT) | wrong).encode())
    with pytest.raises(ValueError):
        read_text(b"[" * 100_000)

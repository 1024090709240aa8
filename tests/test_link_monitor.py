# SPDX-License-Identifier: GPL-3.0-or-later
"""The link monitor, whatever order its two ports are handled in."""

import numpy as np
import pmt
import pytest
from gnuradio import largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.link_monitor import WAIT_FRAMES


def packet(index: int, frames: int = 1) -> object:
    meta = pmt.make_dict()
    for key, value in ((keys.frame_index, index), (keys.frames, frames)):
        meta = pmt.dict_add(meta, pmt.intern(key), pmt.from_long(value))
    return pmt.cons(meta, pmt.init_u8vector(10, [0] * 10))


def loss_of(events: list, seconds: float = 10.0) -> np.ndarray:
    """The curve behind the last of the events (port, packet), in percent."""
    block, curves = largesc.link_monitor(seconds=seconds), {}
    block.message_port_pub = lambda port, message: curves.__setitem__(str(port), message)
    for port, message in events:
        getattr(block, f"_on_port_{port}")(message)
    return np.array(pmt.f32vector_elements(pmt.cdr(curves["loss"])))


def pairs(count: int, frames: int = 1, lost=lambda n: False) -> tuple[list, list]:
    sent = [("sent", packet(n * frames, frames)) for n in range(count)]
    received = [("received", m) for n, (_, m) in enumerate(sent) if not lost(n)]
    return sent, received


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_nothing_is_lost_in_any_order(frames):
    sent, received = pairs(400 // frames, frames)
    rng = np.random.default_rng(1)
    # In order, received first, one port long before the other, and shuffled a little.
    orders = [
        [e for pair in zip(sent, received, strict=True) for e in pair],
        [e for pair in zip(received, sent, strict=True) for e in pair],
        [e for n in range(0, len(sent), 20) for e in received[n : n + 20] + sent[n : n + 20]],
    ]
    for spread in (2, WAIT_FRAMES // frames):
        places = np.arange(2 * len(sent)) / 2 + rng.uniform(0, spread, 2 * len(sent))
        orders.append([orders[0][n] for n in np.argsort(places, kind="stable")])
    for order in orders:
        assert np.all(loss_of(order) == 0.0)


def test_what_is_lost_is_told_in_any_order():
    sent, received = pairs(400, lost=lambda n: n % 4 == 0)
    expected = loss_of(sorted([*received, *sent], key=number))
    assert 20.0 < expected.mean() < 30.0
    rng = np.random.default_rng(2)
    for _ in range(5):
        events = sorted([*sent, *received], key=lambda e: number(e) + rng.uniform(0, 5))
        assert np.array_equal(loss_of([*events, *sent[-1:]]), expected)


def number(event: tuple) -> int:
    return pmt.to_python(pmt.car(event[1]))[keys.frame_index]


def test_sender_that_begins_anew_is_followed():
    sent, received = pairs(300)
    both = [e for pair in zip(received, sent, strict=True) for e in pair]
    assert np.all(loss_of([*both, *both[:120]], 5.0) == 0.0)

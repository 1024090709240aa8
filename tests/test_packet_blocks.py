# SPDX-License-Identifier: GPL-3.0-or-later
"""Packetizer and depacketizer as blocks of a flowgraph: end, bad input, CRC, live playout."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import _blocks, keys
from helpers import wait_until

ERASED = 0xFFFF


def pdu(tokens, **meta) -> object:
    """A `tokens` PDU; keyword arguments become metadata."""
    data = pmt.init_u16vector(len(tokens), [int(t) for t in tokens])
    return pmt.cons(pmt.to_pmt(meta) if meta else pmt.make_dict(), data)


def end_of_stream(frames: int) -> object:
    return pdu([], **{keys.end_of_stream: True, keys.frame_index: frames})


def done() -> object:
    return pmt.cons(pmt.intern("done"), pmt.from_long(1))


def frames_of(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2048, (count, 8))


def run(first, messages, outputs, *links):
    """Posts messages to (block, port), waits for the end; returns the messages of each output."""
    tb = gr.top_block("test", catch_exceptions=False)
    debugs = []
    for link in links:
        tb.msg_connect(*link)
    for block, port in outputs:
        debugs.append(blocks.message_debug(False))
        tb.msg_connect(block, port, debugs[-1], "store")
    for message in messages:
        first[0]._post(pmt.intern(first[1]), message)
    tb.start()
    try:
        wait_until(lambda: len(debugs) == 0 or ended(debugs[0]))
        # The first output has ended; what the others were sent may still lie in their queues.
        wait_until(lambda: settled(debugs))
    finally:
        tb.stop()
        tb.wait()
    return [[d.get_message(i) for i in range(d.num_messages())] for d in debugs]


def settled(debugs) -> bool:
    """Whether no message waits, and none came within a tenth of a second."""
    store = pmt.intern("store")
    counts = [d.num_messages() for d in debugs]
    time.sleep(0.1)
    waiting = any(d.nmsgs(store) for d in debugs)
    return not waiting and counts == [d.num_messages() for d in debugs]


def ended(debug) -> bool:
    count = debug.num_messages()
    return count > 0 and is_end(debug.get_message(count - 1))


def is_end(message) -> bool:
    return pmt.dict_has_key(pmt.car(message), pmt.intern(keys.end_of_stream))


def meta_of(message) -> dict:
    return pmt.to_python(pmt.car(message))


def tokens_of(message) -> list[int]:
    return list(pmt.u16vector_elements(pmt.cdr(message)))


def packets_of(messages, **options):
    """Packets and credits that a packetizer makes of messages, and its counters."""
    tx = largesc.uep_packetizer(**options)
    packets, credits = run((tx, "tokens"), messages, [(tx, "packets"), (tx, "credit")])
    return packets, credits, tx.statistics()


def received(packets, **options):
    """Token PDUs that a depacketizer makes of packets, its reports and counters."""
    rx = largesc.uep_depacketizer(**{"mode": "offline"} | options)
    frames, reports = run((rx, "packets"), packets, [(rx, "tokens"), (rx, "report")])
    return frames, reports, rx.statistics()


@pytest.mark.parametrize("layout", ["sequential", "pair", "parity"])
@pytest.mark.parametrize("frames_per_packet", [1, 2, 3, 4])
@pytest.mark.parametrize("crc", [True, False])
def test_lossless_loopback_is_bit_exact(layout, frames_per_packet, crc):
    link = {"frames_per_packet": frames_per_packet, "layout": layout, "crc": crc}
    tx, rx = largesc.uep_packetizer(**link), largesc.uep_depacketizer(mode="offline", **link)
    channel = largesc.loss_channel()
    frames = frames_of(301)
    messages = [
        pdu(f, frame_index=n, tokens_sent=n % 9, tokens_repeated=n % 3, copy_distance=n % 4)
        for n, f in enumerate(frames)
    ]
    (out,) = run(
        (tx, "tokens"),
        [*messages, end_of_stream(301)],
        [(rx, "tokens")],
        (tx, "packets", channel, "packets"),
        (channel, "packets", rx, "packets"),
    )
    assert len(out) == 302
    for n, message in enumerate(out[:-1]):
        sent = n % 9
        assert tokens_of(message) == [*map(int, frames[n][:sent]), *[ERASED] * (8 - sent)]
        meta = meta_of(message)
        assert meta[keys.frame_index] == n and meta[keys.received_tokens] == sent
        assert not meta[keys.lost] and not meta[keys.silence] and not meta[keys.repair]
    assert meta_of(out[-1])[keys.frame_index] == 301


def test_metadata_of_packets_is_the_frame_number_only():
    meta = {"latent": np.zeros(4, np.float32), "level_dbfs": -20.0, "tokens_sent": 3}
    messages = [pdu(f, **meta) for f in frames_of(4)]
    packets, _, _ = packets_of([*messages, end_of_stream(4)], frames_per_packet=2)
    assert [meta_of(p) for p in packets[:-1]] == [
        {keys.frame_index: 0, keys.frames: 2},
        {keys.frame_index: 2, keys.frames: 2},
    ]


def test_frames_without_a_decision_are_sent_whole():
    packets, _, statistics = packets_of([pdu(range(8)), end_of_stream(1)], crc=False)
    assert pmt.length(pmt.cdr(packets[0])) == 2 + 11
    assert statistics["tokens_sent"] == 8 and statistics["tokens_repeated"] == 0


def test_crc_is_ccitt_false():
    packets, _, _ = packets_of([pdu([1] * 8, tokens_sent=0), end_of_stream(1)])
    data = bytes(pmt.u8vector_elements(pmt.cdr(packets[0])))
    register = 0xFFFF
    for byte in data[:-2]:
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ (0x1021 if register & 0x8000 else 0)) & 0xFFFF
    assert data == bytes([0, 0, register >> 8, register & 0xFF])


@pytest.mark.parametrize(
    "bad",
    [
        pmt.PMT_T,
        pmt.intern("noise"),
        pmt.cons(pmt.make_dict(), pmt.init_u8vector(8, [0] * 8)),
        pmt.cons(pmt.make_dict(), pmt.init_f32vector(8, [0.0] * 8)),
        pmt.cons(pmt.make_dict(), pmt.init_u16vector(7, [0] * 7)),
        pmt.cons(pmt.from_long(1), pmt.from_long(2)),
        pmt.PMT_NIL,
    ],
)
def test_packetizer_refuses_and_goes_on(bad):
    packets, _, statistics = packets_of([bad, pdu(range(8)), end_of_stream(1)])
    assert len(packets) == 2 and statistics["refused"] == 1 and statistics["frames"] == 1


def test_token_out_of_range_cuts_its_frame():
    messages = [pdu([1, 2, 2048, 4, 5, 6, 7, 8]), pdu([1, 2, ERASED, 4, 5, 6, 7, 8])]
    _, _, statistics = packets_of([*messages, end_of_stream(2)])
    assert statistics["tokens_invalid"] == 1 and statistics["tokens_sent"] == 4
    assert statistics["frames"] == 2 and statistics["refused"] == 0


@pytest.mark.parametrize("value", ["eight", -3, 99, 2.5, [1], None])
def test_odd_decisions_are_survived(value):
    meta = {"tokens_sent": value, "tokens_repeated": value, "copy_distance": value, "skip": value}
    packets, _, statistics = packets_of([pdu(range(8), **meta)] * 5 + [end_of_stream(5)])
    assert statistics["frames"] == 5 and len(packets) == 6


def test_skipped_frames_give_their_credit_back():
    messages = [pdu(range(8), skip=3 <= n < 9) for n in range(12)]
    packets, credits, statistics = packets_of([*messages, end_of_stream(12)], frames_per_packet=2)
    assert [pmt.to_python(c) for c in credits] == [
        {keys.frame_index: 4, keys.frames: 2},
        {keys.frame_index: 6, keys.frames: 2},
    ]
    assert len(packets) == 4 + 1 and statistics["frames_skipped"] == 4


def test_done_comes_behind_the_frames_that_wait():
    tx, rx = largesc.uep_packetizer(), largesc.uep_depacketizer(mode="offline")
    for f in frames_of(500):
        tx._post(pmt.intern("tokens"), pdu(f))
    tx._post(pmt.intern("system"), done())
    (out,) = run((tx, "tokens"), [], [(rx, "tokens")], (tx, "packets", rx, "packets"))
    assert len(out) == 501 and meta_of(out[-1])[keys.frame_index] == 500


def test_done_ends_a_whole_flowgraph():
    tb = gr.top_block("test", catch_exceptions=False)
    tx, rx = largesc.uep_packetizer(), largesc.uep_depacketizer(mode="offline")
    sink = blocks.message_debug(False)
    tb.msg_connect(tx, "packets", rx, "packets")
    tb.msg_connect(rx, "tokens", sink, "store")
    tx._post(pmt.intern("tokens"), pdu(range(8)))
    tx._post(pmt.intern("system"), done())
    tb.start()
    tb.wait()
    assert sink.num_messages() == 2


def test_trailing_losses_are_known_from_the_end():
    packets, _, _ = packets_of([pdu(f) for f in frames_of(40)] + [end_of_stream(40)])
    frames, reports, statistics = received(packets[:20] + packets[40:])
    assert len(frames) == 41
    assert [meta_of(f)[keys.lost] for f in frames[:-1]] == [False] * 20 + [True] * 20
    assert statistics["packets_lost"] == 20 and statistics["frames_lost"] == 20
    report = pmt.to_python(reports[-1])
    assert report[keys.packets_received] == 20 and report[keys.packets_lost] == 20
    assert report[keys.loss_probability] > 0.5 and report[keys.mean_burst_packets] >= 1.0


def test_corrupted_packets_are_refused_by_the_crc():
    packets, _, _ = packets_of([pdu(f) for f in frames_of(200)] + [end_of_stream(200)])
    rng = np.random.default_rng(2)
    for n in range(0, 200, 4):
        data = bytearray(pmt.u8vector_elements(pmt.cdr(packets[n])))
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        packets[n] = pmt.cons(pmt.car(packets[n]), pmt.init_u8vector(len(data), list(data)))
    frames, _, statistics = received(packets)
    assert statistics["refused_crc"] == 50 and statistics["packets_lost"] == 50
    assert len(frames) == 201


def test_noise_and_wrong_messages_are_counted():
    packets, _, _ = packets_of([pdu(f) for f in frames_of(100)] + [end_of_stream(100)])
    rng = np.random.default_rng(3)
    noise = [
        pmt.cons(pmt.make_dict(), pmt.init_u8vector(n, [int(b) for b in rng.bytes(n)]))
        for n in range(1, 60)
    ]
    wrong = [pmt.PMT_T, pmt.PMT_NIL, pmt.from_long(3), pdu(range(8)), pmt.make_dict()]
    frames, _, statistics = received(wrong + packets[:50] + noise + packets[50:])
    assert len(frames) == 101 and not any(meta_of(f)[keys.lost] for f in frames[:-1])
    assert statistics["refused_messages"] == 5 and statistics["refused_crc"] >= 57


@pytest.mark.parametrize("mode", ["offline", "live"])
def test_end_packet_of_the_sender_ends_the_stream(mode):
    packets, _, _ = packets_of([pdu(f) for f in frames_of(12)] + [end_of_stream(12)])
    # Over a network only the bytes arrive.
    packets = [pmt.cons(pmt.make_dict(), pmt.cdr(p)) for p in packets]
    rx = largesc.uep_depacketizer(mode=mode, deadline_ms=0, end_with_sender=True)
    if mode == "live":
        tb = gr.top_block("test", catch_exceptions=False)
        sink = blocks.message_debug(False)
        tb.msg_connect(rx, "tokens", sink, "store")
        tb.start()
        for p in packets:
            rx._post(pmt.intern("packets"), p)
        # Behind the end packet, which counts nothing.
        rx._post(pmt.intern("packets"), pmt.PMT_NIL)
        wait_until(lambda: rx.statistics()["refused_messages"] == 1)
        assert rx.statistics()["packets_received"] == 12
        # As a decoder does, until there is nothing more: a pull may find nothing that is due.
        wait_until(lambda: ended(sink), lambda: rx._post(pmt.intern("pull"), pmt.make_dict()))
        tb.wait()
        assert sink.num_messages() == 13
    else:
        (out,) = run((rx, "packets"), packets, [(rx, "tokens")])
        assert len(out) == 13 and meta_of(out[-1])[keys.frame_index] == 12


def test_live_gives_one_frame_a_pull_and_repairs_beside():
    packets, _, _ = packets_of(
        [pdu(f, tokens_repeated=2, copy_distance=1) for f in frames_of(6)] + [end_of_stream(6)]
    )
    rx = largesc.uep_depacketizer(mode="live", deadline_ms=30)
    tb = gr.top_block("test", catch_exceptions=False)
    sink = blocks.message_debug(False)
    tb.msg_connect(rx, "tokens", sink, "store")
    tb.start()

    def pull(expected: int) -> None:
        rx._post(pmt.intern("pull"), pmt.make_dict())
        wait_until(lambda: sink.num_messages() >= expected)

    def push(n: int, received: int) -> None:
        rx._post(pmt.intern("packets"), packets[n])
        wait_until(lambda: rx.statistics()["packets_received"] == received)

    pull(0)
    push(0, 1)
    time.sleep(0.05)
    pull(1)
    pull(2)  # packet 1 is lost
    push(2, 2)
    pull(4)  # a repair of frame 1, and frame 2
    rx._post(pmt.intern("pull"), pmt.PMT_T)  # whatever it is, it is a pull
    wait_until(lambda: sink.num_messages() >= 5)
    tb.stop()
    tb.wait()
    metas = [meta_of(sink.get_message(i)) for i in range(sink.num_messages())]
    assert [m[keys.frame_index] for m in metas] == [0, 1, 1, 2, 3]
    assert [m[keys.repair] for m in metas] == [False, False, True, False, False]
    assert [m[keys.lost] for m in metas] == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames_per_packet": 0}, "frames_per_packet 0"),
        ({"frames_per_packet": 5}, "frames_per_packet 5"),
        ({"layout": "spiral"}, "layout 'spiral'"),
    ],
)
def test_bad_parameters_of_both_ends_are_named(options, words):
    for block in (largesc.uep_packetizer, largesc.uep_depacketizer):
        with pytest.raises(ValueError, match=words):
            block(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "slow"}, "mode 'slow'"),
        ({"deadline_ms": -1}, "deadline_ms -1"),
        ({"hold_packets": 0}, "hold_packets 0"),
        ({"report_interval_packets": 0}, "report_interval_packets 0"),
    ],
)
def test_bad_parameters_of_the_depacketizer_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        largesc.uep_depacketizer(**options)


class Watcher(gr.sync_block):
    """Sees whether the block upstream of it has finished."""

    def __init__(self) -> None:
        super().__init__("watcher", [np.float32], None)
        self.seen: list[bool] = []

    def work(self, input_items, output_items) -> int:
        count = len(input_items[0])
        self.seen.append(_blocks.input_done(self.gateway.detail(), 0, count))
        # What is there now was not there when this call was prepared, or is not all there is.
        assert not _blocks.input_done(self.gateway.detail(), 0, count - 1)
        time.sleep(0.02)
        return len(input_items[0])


def test_input_done_accepts_the_detail_of_a_python_block():
    tb = gr.top_block("test", catch_exceptions=False)
    source, watcher = blocks.vector_source_f([0.0] * 50_000, False), Watcher()
    tb.connect(source, watcher)
    tb.start()
    tb.wait()
    assert watcher.seen[-1] is True
    with pytest.raises((ValueError, IndexError)):
        _blocks.input_done(watcher.gateway.detail(), 1)


def test_end_of_stream_that_is_false_ends_nothing():
    packetizer = largesc.uep_packetizer()
    going_on = pdu(range(8), **{keys.end_of_stream: False})
    messages = [going_on, going_on, end_of_stream(2)]
    run((packetizer, "tokens"), messages, [(packetizer, "packets")])
    assert packetizer.statistics()["frames"] == 2

# SPDX-License-Identifier: GPL-3.0-or-later
"""The loss channel as a block: metadata, credit, delays, end of stream, bad input, its yml."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys

DONE = pmt.cons(pmt.intern("done"), pmt.from_long(1))
NO_META = pmt.make_dict()


def packet(n: int, frames: int = 1) -> object:
    data = [n % 256, n // 256 % 256] + [85] * 10
    meta = pmt.to_pmt({"extra": "kept"})
    meta = pmt.dict_add(meta, pmt.intern(keys.frame_index), pmt.from_long(n * frames))
    meta = pmt.dict_add(meta, pmt.intern(keys.frames), pmt.from_long(frames))
    return pmt.cons(meta, pmt.init_u8vector(len(data), data))


def end(frames: int) -> object:
    meta = pmt.dict_add(NO_META, pmt.intern(keys.end_of_stream), pmt.PMT_T)
    meta = pmt.dict_add(meta, pmt.intern(keys.frame_index), pmt.from_long(frames))
    return pmt.cons(meta, pmt.init_u8vector(2, [frames % 256, 0xE0]))


def run(channel, messages, done: bool = False) -> dict[str, list]:
    top = gr.top_block(catch_exceptions=False)
    sinks = {port: blocks.message_debug() for port in ("packets", "credit", "status")}
    for port, sink in sinks.items():
        top.msg_connect(channel, port, sink, "store")
    for message in messages:
        channel.to_basic_block()._post(pmt.intern("packets"), message)
    if done:
        channel.to_basic_block()._post(pmt.intern("system"), DONE)
    top.start()
    top.wait()
    return {
        port: [sink.get_message(n) for n in range(sink.num_messages())]
        for port, sink in sinks.items()
    }


def number(pdu: object) -> int:
    low, high = pmt.u8vector_elements(pmt.cdr(pdu))[:2]
    return low + 256 * high


def is_end(pdu: object) -> bool:
    return pmt.dict_has_key(pmt.car(pdu), pmt.intern(keys.end_of_stream))


def test_clean_channel_keeps_data_and_metadata():
    channel = largesc.loss_channel()
    got = run(channel, [packet(n) for n in range(50)] + [end(50)])
    assert [number(p) for p in got["packets"][:-1]] == list(range(50))
    assert pmt.equal(got["packets"][7], packet(7))
    assert pmt.equal(got["packets"][-1], end(50))
    assert got["credit"] == []
    assert channel.statistics()["sent"] == 50


def test_drops_give_credit_for_every_frame():
    channel = largesc.loss_channel(
        model="gilbert_elliott", loss_probability=0.3, mean_burst=3.0, seed=5
    )
    got = run(channel, [packet(n, frames=2) for n in range(2000)] + [end(4000)])
    arrived = {number(p) for p in got["packets"] if not is_end(p)}
    credited = [pmt.to_python(c) for c in got["credit"]]
    assert {c[keys.frame_index] // 2 for c in credited} == set(range(2000)) - arrived
    assert all(c[keys.frames] == 2 for c in credited)
    stats = channel.statistics()
    assert stats["dropped"] == len(credited) == 2000 - len(arrived)
    assert stats[keys.loss_probability] == pytest.approx(len(credited) / 2000)
    assert stats[keys.loss_probability] == pytest.approx(0.3, abs=0.06)
    assert stats[keys.mean_burst_packets] == pytest.approx(3.0, abs=0.6)


def test_everything_lost_still_ends():
    channel = largesc.loss_channel(loss_probability=1.0)
    got = run(channel, [packet(n) for n in range(20)] + [end(20)])
    assert len(got["packets"]) == 1 and is_end(got["packets"][0])
    assert len(got["credit"]) == 20


def test_late_packets_come_out_before_the_end():
    channel = largesc.loss_channel(jitter_ms=300.0, duplicate_probability=0.1, seed=3)
    got = run(channel, [packet(n) for n in range(500)] + [end(500)])
    order = [number(p) for p in got["packets"][:-1]]
    assert set(order) == set(range(500)) and order != sorted(order)
    assert is_end(got["packets"][-1])
    stats = channel.statistics()
    assert len(order) == 500 + stats["duplicated"]
    assert stats["delayed"] == 500 and stats["reordered"] > 0


def test_bit_errors_leave_other_copies_alone():
    channel = largesc.loss_channel(bit_error_rate=0.01, seed=3)
    sent = [packet(n) for n in range(500)]
    got = run(channel, sent + [end(500)])
    hit = [not pmt.equal(a, b) for a, b in zip(got["packets"], sent, strict=False)]
    assert sum(hit) == channel.statistics()["corrupted"] > 200
    assert pmt.equal(sent[3], packet(3))


def test_same_seed_same_losses():
    def arrived(seed):
        got = run(
            largesc.loss_channel(loss_probability=0.5, seed=seed),
            [packet(n) for n in range(200)] + [end(200)],
        )
        return [number(p) for p in got["packets"]]

    assert arrived(1) == arrived(1) != arrived(2)


def test_done_lets_queued_packets_pass_first():
    got = run(largesc.loss_channel(), [packet(n) for n in range(1000)], done=True)
    assert len(got["packets"]) == 1001
    assert is_end(got["packets"][-1])


def test_packets_without_metadata_pass():
    channel = largesc.loss_channel(loss_probability=0.5, seed=1)
    bare = [pmt.cons(pmt.PMT_NIL, pmt.init_u8vector(2, [n, 0])) for n in range(100)]
    got = run(channel, bare + [end(100)])
    assert 20 < len(got["packets"]) < 80 and got["credit"] == []


def test_wrong_messages_are_counted_and_survived():
    channel = largesc.loss_channel()
    wrong = [
        pmt.PMT_NIL,
        pmt.from_long(3),
        pmt.intern("word"),
        pmt.cons(NO_META, pmt.init_f32vector(2, [1.0, 2.0])),
        pmt.cons(NO_META, pmt.init_u16vector(8, [0] * 8)),
        pmt.cons(pmt.from_long(1), pmt.init_u8vector(1, [0])),
        NO_META,
    ]
    got = run(channel, wrong + [packet(0), end(1)])
    assert len(got["packets"]) == 2
    assert channel.statistics()["refused"] == len(wrong)


def test_status_comes_while_running_and_at_the_end():
    got = run(largesc.loss_channel(), [packet(n) for n in range(120)] + [end(120)])
    assert len(got["status"]) == 11
    last = pmt.to_python(got["status"][-1])
    assert last["sent"] == 120 and last[keys.loss_probability] == 0.0


def test_trace_decides(tmp_path):
    trace = tmp_path / "trace.txt"
    trace.write_text("0\n1\n1\n0\n")
    channel = largesc.loss_channel(model="trace", trace=str(trace), packet_ms=20)
    channel.set_loss_probability(0.9)
    got = run(channel, [packet(n) for n in range(8)] + [end(8)])
    assert [number(p) for p in got["packets"][:-1]] == [0, 3, 4, 7]


def test_setters_change_the_channel():
    channel = largesc.loss_channel(
        model="gilbert_elliott", loss_probability=0.1, mean_burst=2.0, packet_ms=80
    )
    channel.set_loss_probability(0.4)
    channel.set_mean_burst_ms(400)
    run(channel, [packet(n) for n in range(20000)] + [end(20000)])
    stats = channel.statistics()
    assert stats[keys.loss_probability] == pytest.approx(0.4, abs=0.03)
    assert stats[keys.mean_burst_packets] == pytest.approx(5.0, abs=0.3)


def test_sliders_cannot_leave_the_possible():
    channel = largesc.loss_channel(model="gilbert_elliott", loss_probability=0.1, mean_burst=1.0)
    channel.set_loss_probability(0.8)
    run(channel, [packet(n) for n in range(20000)] + [end(20000)])
    stats = channel.statistics()
    assert stats[keys.loss_probability] == pytest.approx(0.8, abs=0.02)
    assert stats[keys.mean_burst_packets] == pytest.approx(4.0, abs=0.2)
    channel.set_loss_probability(1.0)
    channel.set_mean_burst(1.0)


def test_a_setting_out_of_range_is_counted_and_the_old_one_stays():
    channel = largesc.loss_channel(model="gilbert_elliott", loss_probability=0.2, mean_burst=3.0)
    for bad in (-0.1, 1.1, float("nan")):
        channel.set_loss_probability(bad)
    for bad in (0.5, float("nan"), float("inf")):
        channel.set_mean_burst(bad)
    for bad in (-1.0, float("nan")):
        channel.set_mean_burst_ms(bad)
    assert channel.statistics()["refused_settings"] == 8
    run(channel, [packet(n) for n in range(20000)] + [end(20000)])
    stats = channel.statistics()
    assert stats[keys.loss_probability] == pytest.approx(0.2, abs=0.03)
    assert stats[keys.mean_burst_packets] == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "markov"}, "loss model 'markov' is unknown: use 'bernoulli'"),
        ({"loss_probability": 1.5}, "loss_probability 1.5 is out of range: use 0 to 1"),
        ({"loss_probability": -1}, "loss_probability -1"),
        ({"model": "gilbert_elliott", "mean_burst": 0.5}, "mean_burst 0.5"),
        (
            {"model": "gilbert_elliott", "loss_probability": 0.7, "mean_burst": 1.25},
            "loss_probability 0.7 cannot be reached with mean_burst 1.25: use at most 0.55",
        ),
        ({"model": "trace", "trace": "missing.txt"}, "trace 'missing.txt' cannot be read"),
        ({"packet_ms": 0}, "packet_ms 0"),
        ({"jitter_ms": -1}, "jitter_ms -1"),
        ({"reorder_probability": 2}, "reorder_probability 2"),
        ({"duplicate_probability": 2}, "duplicate_probability 2"),
        ({"bit_error_rate": 2}, "bit_error_rate 2"),
    ],
)
def test_bad_parameters_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        largesc.loss_channel(**arguments)


def test_delays_do_not_pile_up():
    channel = largesc.loss_channel(jitter_ms=500, reorder_probability=0.5)
    got = run(channel, [packet(n) for n in range(5000)] + [end(5000)])
    late = np.array([number(p) for p in got["packets"][:-1]]) - np.arange(5000)
    assert np.abs(late).max() <= 12

# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet core: lossless loopback, golden bytes, damage, redundancy against theory."""

import numpy as np
import pytest
from gnuradio.largesc import _core

ERASED = _core.ERASED_TOKEN


def frames_of(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2048, (count, 8))


def run(frames, decide, frames_per_packet=1, layout="sequential", lost=lambda n: False):
    tx = _core.Packetizer(frames_per_packet, layout)
    rx = _core.Depacketizer(frames_per_packet, layout)
    packets = []
    for n, tokens in enumerate(frames):
        packets += tx.push(list(tokens), decide(n))
    packets += tx.flush()
    for n, packet in enumerate(packets):
        if not lost(n):
            assert rx.push(packet)
    rx.flush(len(frames))
    out = []
    while (frame := rx.pop()) is not None:
        out.append(frame)
    return out, rx


@pytest.mark.parametrize("layout", ["sequential", "pair"])
@pytest.mark.parametrize("frames_per_packet", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 7, 600])
def test_lossless_loopback_is_bit_exact(layout, frames_per_packet, count):
    frames = frames_of(count)
    rng = np.random.default_rng(2)
    sent = rng.integers(0, 9, count)
    copies = [int(rng.integers(0, s + 1)) for s in sent]

    def decide(n):
        return _core.PacketDecision(int(sent[n]), copies[n], int(rng.integers(1, 9)))

    out, _ = run(frames, decide, frames_per_packet, layout)
    assert [f.index for f in out if not f.repair] == list(range(count))
    for f in (f for f in out if not f.repair):
        assert list(f.tokens[: sent[f.index]]) == list(frames[f.index][: sent[f.index]])
        assert all(t == ERASED for t in f.tokens[sent[f.index] :])
        assert not f.lost


def test_golden_bytes():
    tx = _core.Packetizer()
    first = tx.push([1, 2, 3, 4, 5, 6, 7, 8], _core.PacketDecision(2, 1, 1))
    second = tx.push([2047] * 8, _core.PacketDecision(1, 0, 1))
    # 0x00 slot 0; n_s 2, d 0; 00000000001 00000000010 00 -> 00 20 08
    assert first == [bytes.fromhex("0020002008")]
    # 0x01; n_s 1, d 1; 11111111111 00000000001 00 -> ff e0 04
    assert second == [bytes.fromhex("0111ffe004")]
    assert tx.end_packet() == bytes.fromhex("02e0")


@pytest.mark.parametrize("layout", ["sequential", "pair"])
def test_lost_frame_comes_back_by_its_copies(layout):
    frames = frames_of(40)
    out, rx = run(
        frames, lambda n: _core.PacketDecision(8, 3, 2), layout=layout, lost=lambda n: n == 10
    )
    got = {f.index: f.tokens for f in out}
    if layout == "sequential":
        assert list(got[10][:3]) == list(frames[10][:3]) and got[10][3] == ERASED
    else:
        # Half of the tokens rode in the other packet, the first three in both.
        assert list(got[10][:3]) == list(frames[10][:3]) and got[11][7] == frames[11][7]
    assert rx.statistics()["packets_lost"] == 1


def test_every_packet_lost_and_the_end_known():
    out, _ = run(frames_of(30), lambda n: _core.PacketDecision(), lost=lambda n: True)
    assert len(out) == 30 and all(f.lost for f in out)


def test_dtx_gap_is_silence_and_not_loss():
    def decide(n):
        if n == 10:
            return _core.PacketDecision(1, 0, 0, comfort=True)
        return _core.PacketDecision(skip=10 < n < 20)

    out, rx = run(frames_of(40), decide)
    assert [f.index for f in out if f.silence] == list(range(10, 20))
    assert rx.statistics()["packets_lost"] == 0 and not any(f.lost for f in out)


def test_noise_truncation_and_duplicates_are_survived():
    rng = np.random.default_rng(3)
    tx, rx = _core.Packetizer(), _core.Depacketizer()
    released = 0
    for n in range(3000):
        for packet in tx.push(list(frames_of(1, n)[0]), _core.PacketDecision(8, 2, 1)):
            rx.push(packet)
            rx.push(packet)
            rx.push(packet[: rng.integers(0, len(packet))])
            rx.push(rng.bytes(int(rng.integers(0, 60))))
        while rx.pop() is not None:
            released += 1
    assert released > 2500
    assert rx.statistics()["refused_format"] > 1000


def test_reordered_packets_are_put_in_order():
    frames = frames_of(200)
    tx, rx = _core.Packetizer(), _core.Depacketizer()
    packets = [p for f in frames for p in tx.push(list(f), _core.PacketDecision())]
    order = np.argsort(np.arange(200) + np.random.default_rng(4).uniform(0, 4, 200))
    for n in order:
        rx.push(packets[n])
    rx.flush(200)
    got = []
    while (f := rx.pop()) is not None:
        got.append(f)
    assert [f.index for f in got] == list(range(200))
    assert all(list(f.tokens) == list(frames[f.index]) for f in got)


def test_restarted_sender_is_followed():
    rx = _core.Depacketizer()
    for start, count in ((0, 100), (0, 50)):
        tx = _core.Packetizer()
        for f in frames_of(count, start):
            for p in tx.push(list(f), _core.PacketDecision()):
                rx.push(p)
    rx.flush()
    indices = []
    while (f := rx.pop()) is not None:
        indices.append(f.index)
    assert indices == sorted(indices)
    assert len(indices) >= 145
    assert rx.statistics()["resyncs"] == 1


def test_live_waits_for_the_deadline_and_then_gives_a_frame_a_pull():
    rx = _core.Depacketizer(live=True, deadline_ms=80)
    tx = _core.Packetizer()
    frames = frames_of(100)
    ms = 1_000_000
    got = []
    repairs = 0
    for n, f in enumerate(frames):
        now = n * 80 * ms
        for p in tx.push(list(f), _core.PacketDecision(8, 2, 2)):
            if n % 10 != 5:
                rx.push(p, now)
        while (r := rx.pop()) is not None:
            assert r.repair
            repairs += 1
        frame = rx.pull(now + 20 * ms + 1)
        if n == 0:
            assert frame is None
        else:
            got.append(frame)
    assert [f.index for f in got] == list(range(99))
    # The copy of a lost frame comes two packets later, after it was played.
    assert repairs == 10
    assert [f.index for f in got if f.lost] == [n for n in range(99) if n % 10 == 5]


def test_live_buffer_depth_follows_a_skewed_clock():
    rx = _core.Depacketizer(live=True, deadline_ms=160)
    tx = _core.Packetizer()
    now, due = 0.0, 0.0
    for n in range(20000):
        now = n * 80e6
        for p in tx.push(list(frames_of(1, n)[0]), _core.PacketDecision()):
            rx.push(p, int(now))
        # The player's clock is 0.1 % slow: its pulls come later and later.
        while due <= now:
            rx.pull(int(due))
            due += 80e6 * 1.001
    stats = rx.statistics()
    assert 12 <= stats["skew_dropped"] <= 25 and stats["skew_inserted"] == 0


@pytest.mark.parametrize("p", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("burst", [0.0, 1.25, 3.0, 5.0])
def test_redundancy_follows_theory(p, burst):
    """Share of lost first tokens: p^2 (Bernoulli), p (p + (1 - p) lambda^d) (Gilbert-Elliott)."""
    count = 60_000
    if burst:
        loss = _core.LossModel("gilbert_elliott", p, burst, seed=5).draw(count)
        correlation = 1 - 1 / burst - p / (burst * (1 - p))
    else:
        loss = _core.LossModel("bernoulli", p, seed=5).draw(count)
        correlation = 0.0
    for distance in (1, 2, 3, 5, 8):
        tx, rx = _core.Packetizer(), _core.Depacketizer()
        gone = np.zeros(count, dtype=bool)
        for n in range(count):
            for packet in tx.push([7] * 8, _core.PacketDecision(1, 1, distance)):
                if not loss[n]:
                    rx.push(packet)
            while (f := rx.pop()) is not None:
                gone[f.index] = f.lost
        gone = gone[: count - 20]
        expected = p * (p + (1 - p) * correlation**distance)
        # The chain is correlated: the error comes from the means of long blocks.
        blocks = gone[: len(gone) // 200 * 200].reshape(-1, 200).mean(axis=1)
        error = blocks.std(ddof=1) / np.sqrt(len(blocks))
        assert abs(gone.mean() - expected) < 3 * error + 1e-5, (distance, gone.mean(), expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0,), "frames_per_packet 0"),
        ((5,), "frames_per_packet 5"),
        ((1, "spiral"), "layout 'spiral'"),
    ],
)
def test_bad_parameters_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        _core.Packetizer(*arguments)
    with pytest.raises(ValueError, match=words):
        _core.Depacketizer(*arguments)

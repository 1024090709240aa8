# SPDX-License-Identifier: GPL-3.0-or-later
"""Parity over earlier frames: the controller's choice, and a link with it. Sums: tests/cpp."""

import numpy as np
import pytest
from gnuradio.largesc import _core, options
from gnuradio.largesc.control.policies import Channel, Controller, Frame

USUAL = np.array([1.0, 0.245, 0.156, 0.111, 0.083, 0.063, 0.05, 0.039, 0.031])


def decisions(channel: Channel, policy: str = "exact", frames: int = 600, **facts):
    controller = Controller(policy, layout="parity", **({"deadline_ms": 960} | facts))
    levels = np.where(np.arange(frames) // 10 % 2, -20.0, -55.0)
    return [controller.decide(Frame(np.zeros(4), level), channel) for level in levels]


def test_the_window_has_one_length():
    assert options.PARITY_WINDOW == _core.PARITY_WINDOW
    assert options.LinkOptions(layout="parity").wait_ms == 960
    assert options.LinkOptions(layout="parity", frames_per_packet=2).wait_ms == 1920
    assert options.LinkOptions(frames_per_packet=2).wait_ms == 160


@pytest.mark.parametrize("budget_bps", [137.5, 550, 1100, 2200])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_parity_stays_within_the_budget(budget_bps, p):
    found = decisions(Channel(p, 2.0), budget_bps=budget_bps)
    used = np.array([d.tokens_sent + d.tokens_repeated for d in found])
    sums = np.convolve(used, np.ones(_core.BUDGET_WINDOW_FRAMES), "valid")
    assert sums.max() * _core.TOKEN_BITS <= budget_bps * 2.0
    assert all(d.tokens_sent >= 1 for d in found)
    # Only of frames that send so many can so many be protected.
    assert all(d.tokens_sent >= d.tokens_protected for d in found[50:])


def test_parity_follows_the_loss():
    means = [
        np.mean([d.tokens_repeated for d in decisions(Channel(p))]) for p in (0.0, 0.1, 0.2, 0.3)
    ]
    assert means[0] == 0.0 and means == sorted(means) and means[-1] >= 2.0


def test_a_short_deadline_asks_for_less_depth():
    deep = decisions(Channel(0.2), deadline_ms=960)[-1].tokens_protected
    shallow = decisions(Channel(0.2), deadline_ms=160)[-1].tokens_protected
    assert 0 < shallow <= deep
    assert decisions(Channel(0.2), deadline_ms=0)[-1].tokens_repeated == 0


@pytest.mark.parametrize(("policy", "facts"), [("table", {}), ("fixed", {"tokens_repeated": 3})])
def test_other_policies_protect_as_many_tokens_as_they_have_sums(policy, facts):
    for d in decisions(Channel(0.3), policy, tokens_sent=5, **facts):
        assert d.tokens_protected == min(d.tokens_sent, d.tokens_repeated)


def test_dtx_is_refused():
    with pytest.raises(ValueError, match="dtx does not go with layout 'parity'"):
        Controller("exact", layout="parity", dtx=True)


def sent_and_received(lost: np.ndarray, frames_per_packet: int = 1) -> np.ndarray:
    """Received tokens of each frame, where 5 of it are sent and 3 protected by 3 sums."""
    packetizer = _core.Packetizer(frames_per_packet, "parity")
    receiver = _core.Depacketizer(frames_per_packet, "parity", crc=False)
    how = _core.PacketDecision(5, 3, tokens_protected=3)
    frames = np.random.default_rng(1).integers(0, 2048, (len(lost) * frames_per_packet, 8))
    packets = [p for f in frames.tolist() for p in packetizer.push(f, how)]
    for packet, gone in zip(packets, lost, strict=True):
        if not gone:
            receiver.push(packet)
    receiver.flush(len(frames))
    found = np.zeros(len(frames), dtype=int)
    while (frame := receiver.pop()) is not None:
        if not frame.repair:
            found[frame.index] = frame.received_tokens
            known = np.array(frame.tokens)[: frame.received_tokens]
            assert np.array_equal(known, frames[frame.index][: frame.received_tokens])
    return found


@pytest.mark.parametrize("frames_per_packet", [1, 2, 3, 4])
def test_a_third_of_the_packets_lost_leaves_hardly_a_frame_empty(frames_per_packet):
    lost = np.random.default_rng(2).random(2000) < 0.3
    found = sent_and_received(lost, frames_per_packet)
    # Copies of them in one later packet would leave 9 % empty.
    assert np.mean(found == 0) < 0.03
    assert np.all(found[np.repeat(~lost, frames_per_packet)] == 5)


def coefficient(sequence: int, number: int, lag: int, frame: int, token: int) -> int:
    """As docs/packet-format.md has it."""
    x = sequence | number << 8 | lag << 16 | (8 * frame + token) << 24
    x = x * 0x9E3779B1 % 2**32
    x ^= x >> 15
    x = x * 0x85EBCA77 % 2**32
    x ^= x >> 13
    return x % 2047 + 1


def product(a: int, b: int) -> int:
    """Of two polynomials modulo x^11 + x^2 + 1."""
    found = 0
    for bit in range(11):
        if b >> bit & 1:
            found ^= a
        a <<= 1
        if a & 2048:
            a ^= 0b100000000101
    return found


def packed(tokens: list[int]) -> bytes:
    bits = "".join(format(t, "011b") for t in tokens)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


@pytest.mark.parametrize("frames_per_packet", [1, 2])
def test_packets_are_those_of_the_document(frames_per_packet):
    tx = _core.Packetizer(frames_per_packet, "parity")
    how = _core.PacketDecision(4, 1, tokens_protected=2)
    slots = 300
    frames = np.random.default_rng(4).integers(0, 2048, (slots * frames_per_packet, 8)).tolist()
    packets = [p for f in frames for p in tx.push(f, how)]
    by_slot = [frames[n : n + frames_per_packet] for n in range(0, len(frames), frames_per_packet)]
    for slot, packet in enumerate(packets):
        reach = min(slot, 12)
        g = 0 if slot == 0 else 2 if reach < 12 else 10
        tokens = [t for f in by_slot[slot] for t in f[:4]]
        for number in range(frames_per_packet if reach else 0):
            total = 0
            for lag in range(1, reach + 1):
                for n, frame in enumerate(by_slot[slot - lag]):
                    for j in range(2):
                        total ^= product(coefficient(slot % 256, number, lag, n, j), frame[j])
            tokens.append(total)
        head = bytes([slot % 256, 0x40 | g, *[0x40] * (frames_per_packet - 1)])
        assert packet == head + packed(tokens), slot


def test_golden_bytes():
    tx = _core.Packetizer(1, "parity")
    how = _core.PacketDecision(4, 1, tokens_protected=2)
    tx.push([1, 2, 3, 4, 5, 6, 7, 8], how)
    assert tx.push([7, 8, 9, 10, 5, 6, 7, 8], how) == [bytes.fromhex("014200e0200480a80e")]


def test_noise_is_survived():
    rng = np.random.default_rng(3)
    receiver = _core.Depacketizer(1, "parity")
    for _ in range(3000):
        receiver.push(rng.bytes(rng.integers(0, 40)))
    receiver.flush()
    found = []
    while (frame := receiver.pop()) is not None:
        found += frame.tokens
    assert all(token < 2048 or token == 0xFFFF for token in found)
    counted = receiver.statistics()
    taken = ("packets_received", "refused_format", "duplicates", "late")
    # What is a packet by chance goes on to a place, or waits for others that agree.
    assert counted["refused_format"] > 2000 and sum(counted[name] for name in taken) <= 3000

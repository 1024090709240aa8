# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's core, with a clock of the test's own: many calls, none of which hears another."""

import logging
import os
import time

import numpy as np
import pytest
from gnuradio.largesc._core import Depacketizer, PacketDecision, Packetizer
from gnuradio.largesc.cli.audio import RECORDINGS
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.codec.speech_decoder import SpeechDecoder, SpeechDecoders
from gnuradio.largesc.codec.speech_encoder import SpeechEncoder
from gnuradio.largesc.gateway import gateway
from gnuradio.largesc.gateway.gateway import MOST_STRANGERS, Gateway
from gnuradio.largesc.gateway.key_ring import MOST_TRIES, KeyRing
from gnuradio.largesc.options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from gnuradio.largesc.packets import refusal
from gnuradio.largesc.packets.call_number import unwrapped, wrapped
from gnuradio.largesc.packets.report import Report
from gnuradio.largesc.packets.report import decode as decode_report
from gnuradio.largesc.packets.report import encode as encode_report
from gnuradio.largesc.packets.signature import PacketSigner, PacketVerifier
from gnuradio.largesc.speech.files import read_audio
from gnuradio.largesc.speech.format import FRAME_SAMPLES

TICK_NS = 80_000_000
NAMES = ("Front_Left", "Front_Right", "Rear_Center", "Side_Left")


@pytest.fixture(scope="module")
def spoken():
    """Tokens of four recordings."""
    encoder, found = SpeechEncoder(load_codec()), []
    for name in NAMES:
        encoder.reset()
        frames = encoder.push(read_audio(RECORDINGS / f"{name}.wav"))
        found.append([frame.tokens.tolist() for frame in frames])
    return found


@pytest.fixture(scope="module", autouse=True)
def one_decoder(spoken):
    """Recording the steps takes seconds: all gateways of this file share one codec."""
    shared = SpeechDecoders(load_codec(), 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "load_codec", lambda source: shared.codec)
        patch.setattr(gateway, "SpeechDecoders", lambda codec, most: shared)
        yield


class Kept:
    """An output that remembers."""

    def __init__(self, name: str) -> None:
        self.name, self.frames, self.said, self.closed = name, [], [], False

    def write(self, said, heard):
        assert said.shape == heard.shape == (FRAME_SAMPLES,) and not self.closed
        self.frames.append(heard)
        self.said.append(said)

    def close(self):
        self.closed = True

    def speech(self):
        return np.concatenate(self.frames) if self.frames else np.zeros(0, np.float32)


class World:
    """A gateway, its senders and the time."""

    def __init__(self, options=None, keys=None, **receiver) -> None:
        self.outputs, self.replies, self.now_ns = {}, [], 10**12
        self.gateway = Gateway(
            options or GatewayOptions(calls=8),
            LinkOptions(key="keys" if keys else ""),
            ReceiverOptions(**receiver),
            ReportOptions(),
            self.output,
            keys,
        )

    def output(self, name):
        kept = Kept(name)
        self.outputs.setdefault(name, []).append(kept)
        return kept

    def turn(self, datagrams=()):
        """80 ms: these datagrams come in, then a frame of each call is played."""
        for data, peer in datagrams:
            self.gateway.take(data, peer, self.now_ns)
        self.now_ns += TICK_NS
        self.replies += self.gateway.tick(self.now_ns)

    def run(self, senders, ticks):
        """Senders by address; each gives its next packets, None when it has ended."""
        for _ in range(ticks):
            self.turn(
                [(data, peer) for peer, sender in senders.items() for data in next(sender, ())]
            )

    def heard(self, name):
        return [kept.speech() for kept in self.outputs.get(name, [])]


def sender(tokens, sign=bytes, crc=True, end=True, repeat=1):
    """Packets of a sender, those of 80 ms each time."""
    packetizer = Packetizer(crc=crc)
    for frame in tokens * repeat:
        yield [sign(p) for p in packetizer.push(frame, PacketDecision())]
    if end:
        yield [sign(packetizer.end_packet()) for _ in range(3)]


def peer(n: int) -> tuple:
    return ("127.0.0.1", 40000 + n)


def name(n: int) -> str:
    return f"127.0.0.1:{40000 + n}"


def alone(tokens) -> np.ndarray:
    decoder = SpeechDecoder(load_codec())
    return np.concatenate([decoder.decode(np.array(frame, np.uint16)) for frame in tokens])


def distance(heard: np.ndarray, spoken_: np.ndarray) -> float:
    """Mean squared difference where ``heard`` holds ``spoken_`` at a frame's edge, as its share."""
    best = np.inf
    for shift in range(0, len(heard) - len(spoken_) + 1, FRAME_SAMPLES):
        part = heard[shift : shift + len(spoken_)]
        best = min(best, float(np.square(part - spoken_).mean() / np.square(spoken_).mean()))
    return best


def test_each_call_is_heard_and_none_hears_another(spoken):
    world = World()
    world.run({peer(n): sender(tokens) for n, tokens in enumerate(spoken)}, 40)
    for n, tokens in enumerate(spoken):
        (heard,) = world.heard(name(n))
        # The first frame fades in from comfort noise, as with one receiver alone.
        assert distance(heard, alone(tokens)) < 0.01
        others = [alone(other) for m, other in enumerate(spoken) if m != n]
        assert min(distance(heard, other) for other in others if len(other) <= len(heard)) > 0.5
        assert world.outputs[name(n)][0].closed
    assert not world.gateway.calls and world.gateway.counters["calls_ended"] == 4
    reports = [decode_report(data, True) for data, _ in world.replies]
    assert all(reports) and {where for _, where in world.replies} == {peer(n) for n in range(4)}


def test_calls_join_and_leave_while_others_go_on(spoken):
    world, long = World(), sender(spoken[0], repeat=4)
    rng = np.random.default_rng(1)
    senders, next_number = {peer(0): long}, 1
    for _ in range(60):
        world.run(senders, 1)
        if len(senders) < 5 and rng.random() < 0.2:
            senders[peer(next_number)] = sender(spoken[next_number % 4][:8])
            next_number += 1
        for who in list(senders)[1:]:
            if rng.random() < 0.05:
                # Gone without a word.
                del senders[who]
    (heard,) = world.heard(name(0))
    assert distance(heard, alone(spoken[0] * 2)) < 0.01
    assert next_number > 6


def test_lost_packets_are_concealed_by_the_one_call_alone(spoken):
    world, tokens = World(), spoken[0] * 3
    packets = [p for part in sender(tokens, end=False) for p in part]
    lost = set(range(6, len(packets), 5))
    whole = sender(spoken[1] * 3, end=False)
    for n, packet in enumerate(packets):
        mine = [] if n in lost else [(packet, peer(0))]
        world.turn(mine + [(p, peer(1)) for p in next(whole, ())])
    statistics = {n: c.statistics() for n, c in world.gateway.calls.items()}
    assert statistics[name(0)]["packets_lost"] == pytest.approx(len(lost), abs=1)
    assert statistics[name(0)]["frames_made_up"] == statistics[name(0)]["packets_lost"]
    assert statistics[name(1)]["frames_made_up"] == 0
    assert statistics[name(0)]["loss_probability"] > 0.1


def test_call_beyond_the_bound_is_told_why(spoken, caplog):
    world = World(GatewayOptions(calls=2))
    senders = {peer(n): sender(spoken[n % 4], end=False) for n in range(3)}
    with caplog.at_level(logging.WARNING):
        world.run(senders, 15)
    assert set(world.gateway.calls) == {name(0), name(1)} and name(2) not in world.outputs
    told = [refusal.decode(data, True) for data, where in world.replies if where == peer(2)]
    assert set(told) == {"all of its calls are taken"} and len(told) <= 2
    assert world.gateway.counters["calls_refused"] == 1
    assert [r.message for r in caplog.records if "is refused" in r.message] == [
        f"call of {name(2)} is refused: all of its calls are taken"
    ]
    # No report: it is no call.
    assert all(refusal.decode(d, True) for d, where in world.replies if where == peer(2))


def test_silent_call_gives_way_and_else_ends_after_its_time(spoken):
    world = World(GatewayOptions(calls=1, idle_s=12.0))
    world.run({peer(0): sender(spoken[0][:10], end=False)}, 10)
    world.run({peer(1): sender(spoken[1], end=False)}, 12)
    assert set(world.gateway.calls) == {name(0)}
    # As in a pause of DTX, of which one comfort frame is lost.
    world.run({peer(1): sender(spoken[1], end=False)}, 15)
    assert set(world.gateway.calls) == {name(0)}
    world.run({}, 75)
    world.run({peer(1): sender(spoken[1][:8], end=False)}, 8)
    assert set(world.gateway.calls) == {name(1)} and world.outputs[name(0)][0].closed
    world.run({}, 155)
    assert not world.gateway.calls and world.outputs[name(1)][0].closed


def test_no_memory_no_call(spoken, monkeypatch):
    monkeypatch.setattr("gnuradio.largesc.gateway.gateway.resident_mib", lambda: 901.0)
    world = World(GatewayOptions(memory_mib=900))
    world.run({peer(0): sender(spoken[0], end=False)}, 5)
    assert not world.gateway.calls
    assert refusal.decode(world.replies[0][0], True) == "it has no memory left for another call"


def test_garbage_of_a_thousand_senders_opens_no_call(spoken):
    world, rng = World(), np.random.default_rng(2)
    packets = sender(spoken[0], end=False)
    for turn in range(12):
        noise = [
            (rng.integers(0, 256, rng.integers(0, 40)).astype(np.uint8).tobytes(), peer(n))
            for n in rng.integers(100, 1100, 300)
        ]
        # Whoever joins in the middle of it is heard.
        world.turn(noise + [(p, peer(0)) for p in next(packets) if turn >= 5])
    assert set(world.gateway.calls) == {name(0)}
    assert len(world.gateway._strangers) <= MOST_STRANGERS
    assert world.gateway.counters["refused_packets"] > 2000


def test_one_right_packet_makes_no_call(spoken):
    world = World()
    for n in range(300):
        world.turn([(next(sender(spoken[0]))[0], peer(n))])
    assert not world.gateway.calls and not world.outputs
    world.run({}, 40)
    assert not world.gateway._strangers


def test_sender_that_changes_its_address_shuts_nobody_out(spoken):
    world = World(GatewayOptions(calls=3))
    good, moving = sender(spoken[0] * 12, end=False), sender(spoken[1] * 6, end=False)
    for n in range(90):
        datagrams = [(p, peer(0)) for p in next(good)]
        world.turn(datagrams + [(p, peer(10 + n // 12)) for p in next(moving)])
    assert name(0) in world.gateway.calls
    late = sender(spoken[2], end=False)
    world.run({peer(0): good}, 90)
    world.run({peer(0): good, peer(99): late}, 6)
    assert {name(0), name(99)} <= set(world.gateway.calls)


def test_conference_leaves_the_own_call_out(spoken):
    world = World(GatewayOptions(calls=4, conference=True))
    tokens = [t[:12] for t in spoken[:3]]
    world.run({peer(n): sender(t) for n, t in enumerate(tokens)}, 12)
    world.run({}, 2)
    apart = [alone(t) for t in tokens]
    (heard,) = world.heard(name(0))
    assert distance(heard, apart[1] + apart[2]) < 0.02
    assert distance(heard, sum(apart)) > 0.1
    # A file has what the call itself says.
    said = np.concatenate(world.outputs[name(0)][0].said)
    assert distance(said, apart[0]) < 0.01


def test_loud_conference_is_bent_and_not_cut():
    loud = gateway.bent(np.linspace(-5, 5, 1001, dtype=np.float32))
    assert np.abs(loud).max() < 1.0 + 1e-6 and np.all(np.diff(loud) >= 0)
    quiet = np.linspace(-0.7, 0.7, 11, dtype=np.float32)
    np.testing.assert_array_equal(gateway.bent(quiet), quiet)


def test_reports_and_ends_make_no_call(spoken):
    world = World()
    end = list(sender([]))[0]
    for n in range(20):
        report = encode_report(Report(0.1), n, True)
        world.turn([(report, peer(0)), (end[0], peer(1)), (refusal.encode(1, True), peer(2))])
    assert not world.gateway.calls and not world.outputs and not world.replies
    # Nor do they keep one.
    world.run({peer(0): sender(spoken[0], end=False)}, 5)
    heard_ns = world.gateway.calls[name(0)].heard_ns
    world.turn([(encode_report(Report(0.1), 1, True), peer(0))])
    assert world.gateway.calls[name(0)].heard_ns == heard_ns


def test_fault_in_one_call_ends_that_call_alone(spoken, caplog):
    world = World()
    senders = {peer(n): sender(spoken[n], end=False) for n in range(2)}
    world.run(senders, 6)
    world.gateway.calls[name(1)].output.write = None
    world.run(senders, 5)
    assert world.gateway.counters["failures"] == 1
    assert f"a fault in call {name(1)}" in caplog.text
    assert len(world.outputs[name(0)]) == 1 and len(world.outputs[name(0)][0].frames) == 10
    # Its sender goes on, and is a new call.
    first, second = world.outputs[name(1)]
    assert first.closed and second.frames and set(world.gateway.calls) == {name(0), name(1)}


def test_call_that_cannot_be_opened_keeps_nothing_and_tries_again(spoken, monkeypatch):
    world = World()
    packets, streams = sender(spoken[0], end=False), world.gateway._decoders._shapers
    before = set(streams)

    def full(name):
        raise OSError("too many files")

    with monkeypatch.context() as patch:
        patch.setattr(world.gateway, "_make_output", full)
        (first,), (second,), (third,) = next(packets), next(packets), next(packets)
        world.gateway.take(first, peer(0), world.now_ns)
        for data in (second, third):
            with pytest.raises(OSError, match="too many files"):
                world.gateway.take(data, peer(0), world.now_ns)
        assert set(streams) == before and not world.gateway.calls
    world.run({peer(0): packets}, 1)
    assert set(world.gateway.calls) == {name(0)}


def test_what_ended_calls_have_counted_is_kept(spoken):
    world = World()
    world.run({peer(n): sender(spoken[n]) for n in range(2)}, 40)
    packets = sum(len(tokens) for tokens in spoken[:2])
    assert not world.gateway.calls
    assert world.gateway.totals["packets_received"] == packets
    assert world.gateway.totals["frames"] >= packets - 2


@pytest.fixture
def ring(tmp_path):
    keys = {}
    for who in ("ada", "bob"):
        keys[who] = os.urandom(32)
        path = tmp_path / f"{who}.key"
        path.write_bytes(keys[who])
        path.chmod(0o600)
    return tmp_path, keys


def test_signed_calls_have_names_and_may_move(ring, spoken):
    folder, keys = ring
    world = World(keys=KeyRing(folder))
    ada = PacketSigner(keys["ada"])
    packets = sender(spoken[0], ada.sign, crc=False)
    kept = []
    for n in range(len(spoken[0]) + 1):
        mine = next(packets)
        kept += mine
        world.turn([(p, peer(n // 6)) for p in mine])
    world.run({}, 8)
    (heard,) = world.heard("ada")
    assert distance(heard, alone(spoken[0])) < 0.01
    assert not world.heard("bob") and world.gateway.counters["refused_signature"] == 0
    # Reports are signed for her, and for the way back.
    data, where = world.replies[-1]
    verifier = PacketVerifier(keys["ada"], direction="back")
    assert where != peer(0)
    assert decode_report(verifier.verify(data), False)
    # Played back, they are refused.
    before = dict(world.gateway.counters)
    world.run({peer(50): iter([[p] for p in kept])}, len(kept))
    refused = world.gateway.counters["refused_signature"] - before["refused_signature"]
    assert refused == len(kept) and not world.gateway.calls


def test_unsigned_and_foreign_packets_are_refused(ring, spoken):
    world = World(keys=KeyRing(ring[0]))
    stranger = PacketSigner(os.urandom(32))
    world.run({peer(0): sender(spoken[0]), peer(1): sender(spoken[0], stranger.sign, False)}, 10)
    assert not world.gateway.calls and not world.replies
    assert world.gateway.counters["refused_signature"] == 20


def test_calls_of_one_address_have_numbers(spoken):
    world = World()
    numbers = (0, 1, 258)
    senders = [
        sender(tokens, lambda p, n=n: wrapped(p, n, True) if n else p)
        for n, tokens in zip(numbers, spoken, strict=False)
    ]
    both = iter([[p for part in parts for p in part] for parts in zip(*senders, strict=False)])
    world.run({peer(0): both}, 40)
    for n, tokens in zip(numbers, spoken, strict=False):
        (heard,) = world.heard(f"{name(0)}/{n}" if n else name(0))
        apart = alone(tokens[: len(heard) // FRAME_SAMPLES - 4])
        assert distance(heard, apart[: 10 * FRAME_SAMPLES]) < 0.01
    back = [unwrapped(data, True) for data, _ in world.replies]
    assert {number for number, _ in back} == set(numbers)
    assert all(decode_report(packet, True) for _, packet in back)
    assert {where for _, where in world.replies} == {peer(0)}


def test_a_key_has_so_many_calls_and_not_all_of_the_gateway(ring, spoken, caplog):
    folder, keys = ring
    world = World(GatewayOptions(calls=4, calls_per_key=2), KeyRing(folder))
    ada, bob = PacketSigner(keys["ada"]), PacketSigner(keys["bob"])

    def numbered(n, signer, tokens):
        return sender(tokens, lambda p: signer.sign(wrapped(p, n, False)), crc=False, end=False)

    with caplog.at_level(logging.WARNING):
        world.run(
            {peer(n): numbered(n, ada, spoken[0]) for n in (1, 2, 3)}
            | {peer(4): numbered(1, bob, spoken[1])},
            15,
        )
    assert set(world.gateway.calls) == {"ada/1", "ada/2", "bob/1"}
    counters = world.gateway.counters
    assert counters["calls_refused"] == counters["calls_refused_key"] == 1
    assert [r.message for r in caplog.records if "is refused" in r.message] == [
        "call of ada/3 is refused: the sender's key has as many calls as it may"
    ]
    (told, *more) = [data for data, where in world.replies if where == peer(3)]
    number, told = unwrapped(PacketVerifier(keys["ada"], direction="back").verify(told), False)
    assert number == 3 and refusal.decode(told, False) == refusal.REASONS[refusal.KEY]
    assert len(more) <= 1
    # One that is silent gives way to another one of its own key, and not of another.
    world.run({peer(2): numbered(2, ada, spoken[0] * 4)}, 90)
    assert "ada/1" in world.gateway.calls
    world.run({peer(3): numbered(3, ada, spoken[0])}, 5)
    assert set(world.gateway.calls) == {"ada/2", "ada/3", "bob/1"}


def test_signature_covers_the_number_of_the_call(ring, spoken):
    folder, keys = ring
    world = World(keys=KeyRing(folder))
    ada = PacketSigner(keys["ada"])
    senders = [
        sender(tokens, lambda p, n=n: ada.sign(wrapped(p, n, False)), False, end=False)
        for n, tokens in enumerate(spoken[:2], 1)
    ]
    for parts in zip(*senders, strict=False):
        moved = [bytes([0, p[1], 9]) + p[3:] for p in parts[0]]
        world.turn([(p, peer(0)) for p in moved + parts[0] + parts[1]])
    assert set(world.outputs) == {"ada/1", "ada/2"}
    assert world.gateway.counters["refused_signature"] == world.gateway.counters["packets"] / 3
    verifier = PacketVerifier(keys["ada"], direction="back")
    back = [unwrapped(verifier.verify(data), False) for data, _ in world.replies]
    assert {number for number, _ in back} == {1, 2}
    assert all(decode_report(packet, False) for _, packet in back)
    (folder / "ada.key").unlink()
    world.gateway.read_keys_again()
    assert not world.gateway.calls


def test_call_numbers_on_the_wire():
    end = Packetizer(crc=True).end_packet()
    assert wrapped(b"\x00\xe0", 0x0102, False).hex() == "01fd0200e0"
    assert wrapped(end, 7, True).hex()[:10] == "00fd0700e0"
    for crc in (False, True):
        for packet in (Packetizer(crc=crc).end_packet(), encode_report(Report(0.3), 1, crc)):
            for number in (1, 255, 256, 65535):
                found = wrapped(packet, number, crc)
                assert len(found) == len(packet) + 3 and unwrapped(found, crc) == (number, packet)
                # A receiver of one call takes it for nothing.
                assert not Depacketizer(live=True, crc=crc).push(found, 0)
                assert decode_report(found, crc) is refusal.decode(found, crc) is None
            assert unwrapped(packet, crc) == (0, packet)
    good = wrapped(end, 7, True)
    for bad in (b"", b"\0", good[:-1], good + b"\1", bytes([good[0] ^ 1]) + good[1:]):
        assert unwrapped(bad, True) == (0, bad)
    # A report of 13 frames that wait is none, nor is the number 0.
    report = encode_report(Report(0.1, buffered_frames=13), 1, True)
    for other in (report, wrapped(end, 0, True)):
        assert unwrapped(other, True) == (0, other)


def test_keys_are_read_again(ring, spoken, caplog):
    folder, keys = ring
    world = World(keys=KeyRing(folder))
    senders = {
        peer(n): sender(spoken[n] * 3, PacketSigner(keys[who]).sign, False, end=False)
        for n, who in enumerate(("ada", "bob"))
    }
    world.run(senders, 8)
    assert set(world.gateway.calls) == {"ada", "bob"}
    (folder / "bob.key").unlink()
    (folder / "eve.key").write_bytes(os.urandom(32))
    (folder / "eve.key").chmod(0o600)
    world.gateway.read_keys_again()
    world.run(senders, 8)
    assert set(world.gateway.calls) == {"ada"} and world.outputs["bob"][0].closed
    assert len(world.outputs["ada"]) == 1
    # A folder that cannot be used changes nothing.
    for path in folder.glob("*.key"):
        path.unlink()
    with caplog.at_level(logging.ERROR):
        world.gateway.read_keys_again()
    assert "the keys stay as they are" in caplog.text and set(world.gateway.calls) == {"ada"}


def test_garbage_against_many_keys_takes_a_bounded_time(tmp_path, spoken):
    for n in range(200):
        (tmp_path / f"{n}.key").write_bytes(os.urandom(32))
        (tmp_path / f"{n}.key").chmod(0o600)
    ring = KeyRing(tmp_path)
    tried = []
    for verifier in ring._verifiers.values():
        verify = verifier.verify
        verifier.verify = lambda data, verify=verify: (tried.append(1), verify(data))[1]
    key = (tmp_path / "7.key").read_bytes()
    packets = sender(spoken[0], PacketSigner(key).sign, crc=False, end=False)
    world = World(keys=ring)
    world.run({peer(0): packets}, 3)
    assert set(world.gateway.calls) == {"7"}
    for _ in range(5):
        tried.clear()
        noise = [(os.urandom(30), peer(1 + n)) for n in range(256)]
        # Whoever is known is heard in spite of it.
        world.turn(noise + [(p, peer(0)) for p in next(packets)])
        assert len(tried) <= MOST_TRIES + 1
    assert world.gateway.calls["7"].statistics()["packets_received"] == 8


@pytest.fixture(scope="module")
def many_keys(tmp_path_factory):
    """More than are tried between two ticks."""
    folder = tmp_path_factory.mktemp("keys")
    for n in range(MOST_TRIES + 200):
        (folder / f"{n}.key").write_bytes(os.urandom(32))
        (folder / f"{n}.key").chmod(0o600)
    return folder


def signed_by(folder, who, tokens, wrap=bytes):
    signer = PacketSigner((folder / f"{who}.key").read_bytes())
    return sender(tokens, lambda p: signer.sign(wrap(p)), crc=False, end=False)


def test_no_key_is_too_far_behind_to_be_tried(many_keys, spoken):
    world = World(keys=KeyRing(many_keys))
    callers = [0, MOST_TRIES - 100, MOST_TRIES + 199]
    world.run({peer(n): signed_by(many_keys, n, spoken[0]) for n in callers}, 16)
    assert set(world.gateway.calls) == {str(n) for n in callers}


def noise(off_s: float) -> bytes:
    """Of a sender whose clock is off, under a key that nobody has."""
    return PacketSigner(os.urandom(32), clock=lambda: time.time() + off_s).sign(b"speech")


def test_garbage_with_any_counter_keeps_no_new_caller_out(many_keys, spoken):
    world = World(keys=KeyRing(many_keys))
    packets = signed_by(many_keys, 3, spoken[0])
    for _ in range(10):
        # Half of the two bytes of a counter are further off.
        garbage = [(noise(1900.0), peer(100 + n)) for n in range(256)]
        world.turn(garbage + [(p, peer(0)) for p in next(packets)])
    assert set(world.gateway.calls) == {"3"}


def test_caller_that_moves_is_known_by_its_host_in_spite_of_garbage(many_keys, spoken):
    world = World(keys=KeyRing(many_keys))
    packets = signed_by(many_keys, 600, spoken[0] * 2)
    world.run({peer(0): packets}, 8)
    assert set(world.gateway.calls) == {"600"}
    received = world.gateway.calls["600"].statistics()["packets_received"]
    for n in range(24):
        garbage = [(noise(0.0), ("10.0.0.1", 100 + k)) for k in range(256)]
        # It has another port each second.
        world.turn(garbage + [(p, peer(1 + n // 12)) for p in next(packets)])
    assert world.gateway.calls["600"].statistics()["packets_received"] == received + 24


def test_known_callers_of_one_relay_need_no_search(many_keys, spoken, monkeypatch):
    world = World(keys=KeyRing(many_keys))
    callers = dict(enumerate((0, 300, 600), 1))
    senders = [
        signed_by(many_keys, who, spoken[n] * 2, lambda p, n=n: wrapped(p, n, False))
        for n, who in callers.items()
    ]
    relayed = iter([[p for part in parts for p in part] for parts in zip(*senders, strict=False)])
    world.run({peer(0): relayed}, 12)
    assert set(world.gateway.calls) == {f"{who}/{n}" for n, who in callers.items()}
    # From here on there is no budget for a search.
    none = dict.fromkeys(("host", "far", "recent"), 0)
    monkeypatch.setattr(KeyRing, "next_tick", lambda ring: ring._left.update(none))
    world.turn()
    before = world.gateway.counters["refused_signature"]
    world.run({peer(0): relayed}, 5)
    assert world.gateway.counters["refused_signature"] == before
    assert len(world.gateway.calls) == 3


def test_replays_of_each_packet_are_heard_once(ring, spoken):
    folder, keys = ring
    world = World(keys=KeyRing(folder))
    packets = sender(spoken[0], PacketSigner(keys["ada"]).sign, crc=False)
    count = 0
    for mine in packets:
        again = [(p, who) for p in mine for who in (peer(0), peer(0), peer(7), peer(8))]
        count += 3 * len(mine)
        world.turn(again)
    world.run({}, 8)
    (heard,) = world.heard("ada")
    assert distance(heard, alone(spoken[0])) < 0.01 and set(world.outputs) == {"ada"}
    assert world.gateway.counters["refused_signature"] == count
    assert {where for _, where in world.replies} == {peer(0)}


def test_right_packets_from_ever_new_addresses_take_bounded_memory(spoken):
    world = World(GatewayOptions(calls=2))
    packets = sender(spoken[0] * 2, end=False)
    (first,) = next(sender(spoken[1], end=False))
    for turn in range(12):
        noise = [(first, ("10.0.0.1", 1000 + 256 * turn + n)) for n in range(256)]
        world.turn(noise + [(p, peer(0)) for p in next(packets) if turn >= 5])
        assert len(world.gateway._strangers) <= MOST_STRANGERS
    assert set(world.gateway.calls) == {name(0)}
    # Those that come again take the other place, and all but one are refused.
    for _ in range(3):
        noise = [(p, peer(100 + n)) for p in (first, first) for n in range(256)]
        world.turn(noise + [(p, peer(0)) for p in next(packets)])
    assert name(0) in world.gateway.calls and len(world.gateway.calls) <= 2
    world.run({peer(0): packets}, 40)
    assert not world.gateway._strangers
    world.run({}, 380)
    assert not world.gateway._refused and not world.gateway._senders


def test_key_that_two_senders_have_is_named_once(ring, caplog):
    folder, keys = ring
    keyed, now_s = KeyRing(folder), time.time()
    # Both begin at the same time, each with a call number of its own.
    ada, other = (PacketSigner(keys["ada"], clock=lambda: now_s) for _ in range(2))
    bob = PacketSigner(keys["bob"])
    for n in range(60):
        packets = [ada.sign(wrapped(b"one", 1, False)), other.sign(wrapped(b"two", 2, False))]
        assert [keyed.accept(p) is None for p in packets] == [False, True]
        doubled = bob.sign(b"speech")
        assert keyed.accept(doubled)
        # A network doubles some.
        if n % 20 == 0:
            assert keyed.accept(doubled) is None
    assert caplog.text.count("under the key ada came before") == 1
    assert "the key bob" not in caplog.text


def test_key_rings_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="has no keys"):
        KeyRing(tmp_path)
    for who in ("ada", "bob"):
        (tmp_path / f"{who}.key").write_bytes(b"k" * 32)
        (tmp_path / f"{who}.key").chmod(0o600)
    with pytest.raises(ValueError, match="the same key"):
        KeyRing(tmp_path)


def test_end_of_the_gateway_is_told(spoken):
    world = World()
    world.run({peer(0): sender(spoken[0], end=False)}, 6)
    ((data, where),) = world.gateway.close()
    assert refusal.decode(data, True) == "it is about to end" and where == peer(0)
    assert world.outputs[name(0)][0].closed


@pytest.mark.parametrize("method", ["context", "lm", "repeat", "silence"])
def test_other_concealers(spoken, method):
    world = World(method=method)
    packets = [p for part in sender(spoken[0] * 2, end=False) for p in part]
    for n, packet in enumerate(packets):
        world.turn([] if n % 7 == 5 else [(packet, peer(0))])
    (call,) = world.gateway.calls.values()
    assert call.frames > len(packets) - 6 and call.statistics()["packets_lost"] > 2
    assert np.all(np.isfinite(np.concatenate(world.outputs[name(0)][0].frames)))


def test_refusals_on_the_wire():
    for crc in (False, True):
        for reason, text in refusal.REASONS.items():
            assert refusal.decode(refusal.encode(reason, crc), crc) == text
    good = refusal.encode(refusal.CALLS, True)
    for bad in (b"", good[:-1], good + b"\0", bytes([good[0] ^ 1]) + good[1:], b"\x63\xf0"):
        assert refusal.decode(bad, True) is None
    assert refusal.decode(b"\x63\xf0", False) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("calls", 0), ("calls", 10**6), ("calls_per_key", 0), ("idle_s", 0.0), ("memory_mib", -1)],
)
def test_options_out_of_range(field, value):
    with pytest.raises(ValueError, match=f"{field} .* is out of range"):
        GatewayOptions(**{field: value}).checked()

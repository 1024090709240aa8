# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed packets: what is taken, what is refused and how it is counted."""

import hashlib
import hmac
import os
import random
import socket
import threading

import pmt
import pytest
import soundfile
from commands import Command
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.packets.key_file import read_key
from gnuradio.largesc.packets.signature import LABELS, PacketSigner, PacketVerifier, overhead_bytes
from helpers import free_port

KEY = bytes(range(32))
# Some time in 2026, in seconds.
NOW = 1_795_000_000.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock) -> PacketSigner:
    return PacketSigner(KEY, clock=clock)


@pytest.fixture
def verifier(clock) -> PacketVerifier:
    return PacketVerifier(KEY, clock=clock)


@pytest.fixture
def key_file(tmp_path) -> str:
    path = tmp_path / "link.key"
    path.write_text(KEY.hex() + "\n")
    path.chmod(0o600)
    return str(path)


def send(signer, clock, count: int, first: int = 0) -> list[bytes]:
    """Signed packets, one each 80 ms."""
    out = []
    for n in range(first, first + count):
        out.append(signer.sign(f"packet {n}".encode()))
        clock.now += 0.08
    return out


def refused(verifier) -> dict[str, int]:
    return {k: v for k, v in verifier.counters.items() if v and k != "accepted"}


def test_layout_is_the_documented_one(signer):
    counter = int(NOW * 16)
    tag = hmac.digest(
        KEY, LABELS["forward"] + counter.to_bytes(8, "big") + b"speech", hashlib.sha256
    )[:4]
    assert signer.sign(b"speech") == b"speech" + (counter % 65536).to_bytes(2, "big") + tag
    assert overhead_bytes() == 6


@pytest.mark.parametrize(
    "direction, tag",
    [
        ("forward", "58c9561c56c53b67df6808a719e0e627"),
        ("back", "9f55a239be3797248409524133dc2352"),
    ],
)
def test_tags_stay_what_they_were(direction, tag):
    # Made by another library (cryptography), so that both ends of a link may differ in age.
    signer = PacketSigner(bytes(range(32)), 16, lambda: 1_720_320_000.0, direction)
    assert signer.sign(b"a packet").hex() == b"a packet".hex() + "0000" + tag


def test_what_was_signed_is_taken_once(signer, verifier, clock):
    packets = send(signer, clock, 100)
    assert [verifier.verify(p) for p in packets] == [f"packet {n}".encode() for n in range(100)]
    assert all(verifier.verify(p) is None for p in packets)
    assert verifier.counters["accepted"] == 100
    assert refused(verifier)["refused_replay"] >= 50
    assert sum(verifier.counters.values()) == 200


def test_every_flipped_bit_is_refused(signer, verifier):
    good = signer.sign(b"speech")
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        assert verifier.verify(bytes(bad)) is None
    assert refused(verifier) == {"refused_tag": 8 * len(good)}
    assert verifier.verify(good) == b"speech"


def test_another_key_and_another_tag_length_are_refused(clock, verifier):
    assert verifier.verify(PacketSigner(bytes(32), clock=clock).sign(b"speech")) is None
    assert verifier.verify(PacketSigner(KEY, 8, clock).sign(b"speech")) is None
    assert refused(verifier) == {"refused_tag": 2}


def test_neither_direction_passes_for_the_other(signer, verifier, clock):
    report = PacketSigner(KEY, clock=clock, direction="back")
    report_verifier = PacketVerifier(KEY, clock=clock, direction="back")
    speech, back = signer.sign(b"same"), report.sign(b"same")
    assert verifier.verify(back) is None and report_verifier.verify(speech) is None
    assert refused(verifier) == refused(report_verifier) == {"refused_tag": 1}
    assert verifier.verify(speech) == report_verifier.verify(back) == b"same"
    with pytest.raises(ValueError, match="direction 'up' is unknown: use forward or back"):
        PacketSigner(KEY, direction="up")


def test_truncated_and_random_bytes_never_raise(signer, verifier):
    good = signer.sign(b"speech")
    for length in range(len(good)):
        assert verifier.verify(good[:length]) is None
    assert verifier.counters["refused_short"] == 7
    draw = random.Random(1)
    for _ in range(20_000):
        assert verifier.verify(draw.randbytes(draw.randrange(40))) is None
    assert verifier.verify(good) == b"speech"


def test_reordered_and_doubled_packets_within_the_window(signer, verifier, clock):
    packets = send(signer, clock, 400)
    draw = random.Random(2)
    order = sorted(range(400), key=lambda n: n + draw.uniform(0, 25))
    taken = [verifier.verify(packets[n]) for n in order for _ in range(2)]
    assert sorted(filter(None, taken)) == sorted(f"packet {n}".encode() for n in range(400))
    assert refused(verifier) == {"refused_replay": 400}


def test_too_old_is_refused(signer, verifier, clock):
    packets = send(signer, clock, 120)
    assert verifier.verify(packets[-1]) is not None
    # The window is 64 counts of a sixteenth of a second: 50 packets of 80 ms.
    assert [n for n in range(120) if verifier.verify(packets[n])] == list(range(70, 119))
    assert refused(verifier) == {"refused_old": 70, "refused_replay": 1}


def test_two_bytes_of_the_counter_wrap(signer, verifier, clock):
    clock.now = (int(NOW * 16) // 65536 * 65536 + 65536 - 80) / 16
    verifier = PacketVerifier(KEY, clock=clock)
    for _ in range(3):
        packets = send(signer, clock, 200)
        assert all(verifier.verify(p) is not None for p in packets)
        clock.now += 4096 - 16
    assert refused(verifier) == {}


@pytest.mark.parametrize("pause_s", [0.0, 1.0, 3600.0, 1e6, 3e8])
def test_sender_that_starts_anew_goes_on(signer, verifier, clock, pause_s):
    assert all(verifier.verify(p) for p in send(signer, clock, 30))
    clock.now += pause_s
    assert all(verifier.verify(p) for p in send(PacketSigner(KEY, clock=clock), clock, 30))


def test_sender_whose_clock_is_set_back_goes_on(signer, verifier, clock):
    for step_s in (-5.0, -600.0, 300.0, -1e9):
        packets = send(signer, clock, 30)
        clock.now += step_s
        packets += send(signer, clock, 30)
        clock.now = NOW + 60.0
        assert all(verifier.verify(p) for p in packets), step_s
    assert refused(verifier) == {}


def test_sender_that_starts_anew_with_an_earlier_clock_is_refused(signer, verifier, clock):
    assert all(verifier.verify(p) for p in send(signer, clock, 30))
    clock.now -= 60.0
    assert not any(verifier.verify(p) for p in send(PacketSigner(KEY, clock=clock), clock, 30))
    clock.now += 60.0
    assert all(verifier.verify(p) for p in send(PacketSigner(KEY, clock=clock), clock, 30))


def test_faster_than_time_runs_ahead_of_the_clock(signer, verifier):
    for n in range(100_000):
        assert verifier.verify(signer.sign(b"%d" % n)) is not None


def test_receiver_that_starts_anew_or_heard_nothing_for_an_hour(signer, verifier, clock):
    old = send(signer, clock, 30)
    assert all(verifier.verify(p) for p in old)
    clock.now += 3600.0
    packets = send(signer, clock, 30)
    assert all(verifier.verify(p) for p in packets)
    clock.now += 300.0
    anew = PacketVerifier(KEY, clock=clock)
    # What was recorded before is refused even by a receiver that remembers nothing.
    assert not any(anew.verify(p) for p in old + packets)
    # Those of an hour ago are searched for, and are too old as well.
    facts = refused(anew)
    assert set(facts) == {"refused_tag", "refused_old"} and sum(facts.values()) == 60
    assert facts["refused_old"] >= 50
    assert all(anew.verify(p) for p in send(signer, clock, 30))


@pytest.mark.parametrize("off_s", [-1500.0, -115.0, -1.0, 1.0, 115.0, 1500.0])
def test_clocks_that_differ(clock, off_s):
    other = Clock(NOW + off_s)
    signer, verifier = PacketSigner(KEY, clock=other), PacketVerifier(KEY, clock=clock)
    taken = [verifier.verify(p) is not None for p in send(signer, other, 30)]
    # A sender far behind is heard only once it has passed the receiver's start.
    assert all(taken) if off_s > -120 else not any(taken)
    other.now += max(0.0, -off_s)
    clock.now += max(0.0, -off_s)
    assert all(verifier.verify(p) for p in send(signer, other, 30))


class Times:
    """True time, and clocks of both ends that are off until they are set right."""

    def __init__(self, sender_off_s: float, receiver_off_s: float) -> None:
        self.now, self.off = 0.0, {"sender": sender_off_s, "receiver": receiver_off_s}

    def clock(self, end: str):
        return lambda: NOW + self.now + self.off[end]

    def monotonic(self) -> float:
        return 1234.0 + self.now

    def ends(self) -> tuple[PacketSigner, PacketVerifier]:
        verifier = PacketVerifier(KEY, clock=self.clock("receiver"), monotonic=self.monotonic)
        return PacketSigner(KEY, clock=self.clock("sender")), verifier

    def heard(self, signer, verifier, seconds: float) -> list[bool]:
        """Whether each packet of so many seconds is accepted."""
        taken = []
        for _ in range(round(seconds / 0.08)):
            taken.append(verifier.verify(signer.sign(b"speech")) is not None)
            self.now += 0.08
        return taken


@pytest.mark.parametrize("off_s", [120.0, 600.0, 3600.0, 7200.0, 50_000.0])
@pytest.mark.parametrize("who", ["sender", "receiver", "both"])
def test_clock_that_was_ahead_and_is_set_right_is_followed_within_seconds(who, off_s):
    times = Times(off_s * (who != "receiver"), off_s * (who != "sender"))
    signer, verifier = times.ends()
    times.heard(signer, verifier, 10.0)
    assert abs(verifier.sender_ahead_s - (times.off["sender"] - times.off["receiver"])) < 1.0
    times.off = {"sender": 0.0, "receiver": 0.0}
    times.heard(signer, verifier, 5.0)
    assert all(times.heard(signer, verifier, 60.0))


@pytest.mark.parametrize("foreign", [1, 12, 25, 100])
def test_foreign_packets_do_not_keep_a_sender_with_another_clock_out(foreign, monkeypatch):
    times = Times(7200.0, 0.0)
    signer, verifier = times.ends()
    stranger, made = PacketSigner(bytes(32)), []
    digest = hmac.digest
    for _ in range(400):
        noise = [stranger.sign(b"speech") for _ in range(foreign)]
        monkeypatch.setattr(hmac, "digest", lambda *of: (made.append(1), digest(*of))[1])
        assert not any(verifier.verify(p) for p in noise)
        # What they cost is bounded.
        assert len(made) <= 4 * foreign
        monkeypatch.undo()
        made.clear()
        if all(times.heard(signer, verifier, 0.08)):
            break
    assert abs(verifier.sender_ahead_s - 7200.0) < 1.0
    assert all(times.heard(signer, verifier, 5.0))


def test_recording_of_a_clock_that_was_ahead_is_taken_once_and_shuts_nobody_out():
    times = Times(7200.0, 0.0)
    signer, verifier = times.ends()
    recorded = []
    for _ in range(200):
        recorded.append(signer.sign(b"speech"))
        verifier.verify(recorded[-1])
        times.now += 0.08
    assert not any(verifier.verify(p) for p in recorded[10:])
    times.off["sender"] = 0.0
    # A sender with a right clock that begins anew, and the recording between its packets.
    anew, _ = times.ends()
    heard = []
    for n in range(500):
        heard.append(verifier.verify(anew.sign(b"speech")) is not None)
        assert verifier.verify(recorded[n % 190 + 10]) is None
        times.now += 0.08
    assert all(heard)
    # Nor is it taken when its time has come.
    for _ in range(20):
        times.now += 400.0
        assert not any(verifier.verify(p) for p in recorded[10:])
        assert verifier.verify(anew.sign(b"speech")) is not None


def test_recording_does_not_shut_out_a_sender_that_is_heard():
    times = Times(7200.0, 0.0)
    ahead, _ = times.ends()
    recorded = [ahead.sign(b"speech") for _ in range(100)]
    times.off["sender"] = 0.0
    signer, verifier = times.ends()
    assert all(times.heard(signer, verifier, 10.0))
    once = [verifier.verify(p) is not None for p in recorded * 3]
    # Each at most once: what it costs that a clock hours ahead is followed.
    assert sum(once) <= 100 and not any(once[200:])
    assert all(times.heard(signer, verifier, 60.0))


def test_what_is_refused_is_explained(key_file, monkeypatch, caplog):
    monotonic, clock = Clock(100.0), Clock()
    monkeypatch.setattr("gnuradio.largesc.blocks.packet_security.time.monotonic", monotonic)

    def explained(signer, count: int = 60) -> str:
        block = largesc.packet_verifier(key_file=key_file)
        block._core = PacketVerifier(KEY, clock=clock)
        for _ in range(count):
            block._on_packet(pdu(signer.sign(b"speech")))
            monotonic.now += 0.08
            clock.now += 0.08
        return block.statistics()["refusal_reason"]

    assert explained(PacketSigner(KEY, clock=clock)) == ""
    assert "another key" in explained(PacketSigner(bytes(32), clock=clock))
    late = explained(PacketSigner(KEY, clock=lambda: clock.now - 7200.0))
    assert "120 min behind" in late
    assert "two senders have one key" in explained(Repeater(PacketSigner(KEY, clock=clock)))
    assert sum("packets were refused" in r.message for r in caplog.records) == 3


class Repeater:
    """Sends one packet for ever."""

    def __init__(self, signer) -> None:
        self.packet = signer.sign(b"speech")

    def sign(self, packet: bytes) -> bytes:
        return self.packet


def test_bad_keys_name_the_remedy(tmp_path, key_file):
    path = tmp_path / "key"
    with pytest.raises(ValueError, match="openssl rand"):
        read_key(path)
    with pytest.raises(ValueError, match="is not a file"):
        read_key(tmp_path)
    path.write_bytes(KEY)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path) == KEY == read_key(key_file)
    for bad in (b"", KEY[:31], KEY + b"\n", b"zz" * 32, KEY.hex().encode()[:-2], b"\xff" * 64):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=f"has {len(bad)} bytes"):
            read_key(path)
    for tag_bytes in (3, 33):
        with pytest.raises(ValueError, match=f"tag_bytes {tag_bytes}"):
            largesc.packet_signer(key_file=key_file, tag_bytes=tag_bytes)


def pdu(data: bytes, **meta) -> object:
    return pmt.cons(pmt.to_pmt(meta or {"a": 1}), pmt.init_u8vector(len(data), list(data)))


def through(block, messages: list) -> list:
    """What comes out of ``packets`` until the stream ends."""
    tb = gr.top_block("test", catch_exceptions=False)
    sink = blocks.message_debug(False)
    tb.msg_connect(block, "packets", sink, "store")
    for message in messages:
        block.gateway._post(pmt.intern("packets"), message)
    block.gateway._post(pmt.intern("system"), pmt.cons(pmt.intern("done"), pmt.from_long(1)))
    tb.start()
    tb.wait()
    return [sink.get_message(n) for n in range(sink.num_messages())]


def bytes_of(message) -> bytes:
    return bytes(pmt.u8vector_elements(pmt.cdr(message)))


def is_end(message) -> bool:
    return pmt.dict_has_key(pmt.car(message), pmt.intern(keys.end_of_stream))


def test_blocks_keep_metadata_and_end(key_file):
    packets = [bytes([n] * 5) for n in range(40)]
    end = pdu(b"\x28\xe0", **{keys.end_of_stream: True})
    signed = through(
        largesc.packet_signer(key_file=key_file),
        [pdu(p, frame_index=n) for n, p in enumerate(packets)],
    )
    assert len(signed) == 41 and is_end(signed[-1]) and bytes_of(signed[-1]) == b""
    signed = through(
        largesc.packet_signer(key_file=key_file),
        [*(pdu(p, frame_index=n) for n, p in enumerate(packets)), end],
    )
    assert len(signed) == 41 and len(bytes_of(signed[-1])) == 2 + 6
    verifier = largesc.packet_verifier(key_file=key_file)
    bad = [pmt.PMT_NIL, pmt.from_long(3), pmt.cons(pmt.PMT_NIL, pmt.PMT_NIL), pdu(b"")]
    out = through(verifier, [*bad, pdu(b"forged forged"), *signed[:-1], signed[3], signed[-1]])
    assert [bytes_of(m) for m in out] == [*packets, b"\x28\xe0"]
    assert pmt.to_python(pmt.car(out[7]))["frame_index"] == 7 and is_end(out[-1])
    facts = verifier.statistics()
    assert facts["accepted"] == 41 and facts["refused_replay"] == 1 and facts["refused_tag"] == 1
    assert facts["refused_messages"] == 3 and facts["packets"] == 43


def test_end_goes_on_where_its_packet_is_refused(key_file):
    out = through(
        largesc.packet_verifier(key_file=key_file),
        [pdu(b"forged packet", **{keys.end_of_stream: True})],
    )
    assert len(out) == 1 and is_end(out[0]) and bytes_of(out[0]) == b""


def test_loopback_with_a_key(run_link, speech, key_file):
    tb, _ = run_link(speech, "--concealer", "repeat", "--key", key_file, "--bit-errors", "0.001")
    facts = tb.statistics()
    assert len(tb.sink.data()) == 50 * 1920
    assert facts["verifier"]["refused_tag"] > 0 and facts["depacketizer"]["refused_crc"] == 0
    assert facts["verifier"]["accepted"] == facts["depacketizer"]["packets_received"] + 1
    # 6 bytes of signature in place of 2 of CRC, 12.5 times a second and with the end packet.
    rates = []
    for options in ([], ["--key", key_file]):
        tb, _ = run_link(speech, "--concealer", "repeat", *options)
        rates.append(tb.statistics()["total_bps_radio"])
    assert rates[1] - rates[0] == pytest.approx(400 * 51 / 50, abs=0.2)


def test_pipe_takes_only_what_was_signed(tmp_path, speech, models, key_file):
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    common, pipe = ["--codec", models], str(tmp_path / "pipe")
    os.mkfifo(pipe)
    for sender_key, accepted in ((["--key", key_file], 51), ([], 0)):
        tx = Command(tmp_path, "tx", str(tmp_path / "in.wav"), *common, *sender_key, stdout=pipe)
        rx = Command(
            tmp_path, "rx", str(tmp_path / "out.wav"), *common, "--key", key_file,
            "--concealer", "repeat", "--json", stdin=pipe,
        )  # fmt: skip
        assert tx.wait() == 0 and rx.wait() == (not accepted), rx.said()
        facts = rx.facts()["blocks"]["verifier"]
        assert facts["accepted"] == accepted and facts["packets"] == 51


def attack(heard: socket.socket, port: int, speech: list[bytes], reports: list[bytes]) -> None:
    """Passes packets on, each with a forged, a changed and a truncated one, and once more; of the
    other direction as well, and with one that is sent back.
    """
    draw = random.Random(3)
    heard.settimeout(60.0)
    sender, receiver = None, ("127.0.0.1", port)
    while True:
        try:
            packet, peer = heard.recvfrom(2048)
        except OSError:
            return
        passed, to = (reports, sender) if peer == receiver else (speech, receiver)
        sender = sender if peer == receiver else peer
        passed.append(packet)
        changed = bytes([packet[0] ^ 1]) + packet[1:]
        for data in (draw.randbytes(len(packet)), changed, packet, packet[:6], packet):
            heard.sendto(data, to)
        heard.sendto(packet, peer)


def test_udp_under_attack(tmp_path, speech, models, key_file):
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    port, common = free_port(), ["--codec", models, "--key", key_file, "--json"]
    rx = Command(
        tmp_path, "rx", str(tmp_path / "out.wav"), "--listen", f"127.0.0.1:{port}", *common,
        "--concealer", "repeat", "--seconds", "60",
    )  # fmt: skip
    rx.hears("listening")
    passed, reports = [], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=attack, args=(heard, port, passed, reports), daemon=True)
        thread.start()
        to = f"127.0.0.1:{heard.getsockname()[1]}"
        tx = Command(tmp_path, "tx", str(tmp_path / "in.wav"), "--to", to, *common)
        assert tx.wait() == 0 and rx.wait() == 0, (tx.said(), rx.said())
    blocks = rx.facts()["blocks"]
    facts = blocks["verifier"]
    # The receiver ends with one of three end packets, and may not count what comes behind it.
    assert len(passed) == 53 and 51 <= facts["accepted"] <= 53
    # Beside the forged and changed ones, reports that were sent back.
    for kind, count, more in (("tag", 102, 4 + len(reports)), ("replay", 50, 3), ("short", 50, 3)):
        assert count <= facts[f"refused_{kind}"] <= count + more, facts
    facts = blocks["depacketizer"]
    assert facts["packets_received"] == 50
    assert facts["refused_crc"] == facts["refused_format"] == facts["duplicates"] == 0
    blocks = tx.facts()["blocks"]
    back = blocks["verifier"]
    # The last ones may come when the sender has gone.
    assert len(reports) - 2 <= back["accepted"] <= len(reports) and back["accepted"] >= 2
    reported = blocks["reports"]
    assert reported["reports"] == back["accepted"] and reported["refused"] == 0
    # The end of the stream.
    assert reported["other_packets"] <= 1
    # Each of its 53 packets came back to it.
    assert back["refused_tag"] >= 2 * back["accepted"] + 50
    assert back["refused_replay"] >= back["accepted"] - 1

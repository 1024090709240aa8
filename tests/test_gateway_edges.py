# SPDX-License-Identifier: GPL-3.0-or-later
"""What surrounds the gateway: its socket, outputs, phones, figures, and the command."""

import configparser
import csv
import itertools
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import wave
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import Command
from gnuradio.largesc._core import Depacketizer, PacketDecision, Packetizer
from gnuradio.largesc.cli import gateway as command
from gnuradio.largesc.cli.audio import RECORDINGS
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.codec.speech_decoder import SpeechDecoder
from gnuradio.largesc.gateway.call_outputs import CallOutputs, file_name
from gnuradio.largesc.gateway.clock import GatewayClock
from gnuradio.largesc.gateway.inbox import MOST_OF_ONE, MOST_OF_STRANGERS, Inbox
from gnuradio.largesc.gateway.metrics import GatewayMetrics, serve
from gnuradio.largesc.gateway.outputs import MOST_WAITING, QueuedOutput, WavOutput
from gnuradio.largesc.gateway.phones import Phones, Route
from gnuradio.largesc.gateway.rtp import PAYLOADS, RtpInput, RtpOutput, description
from gnuradio.largesc.models.packaged import absent
from gnuradio.largesc.options import LinkOptions, ReportOptions, SenderOptions
from gnuradio.largesc.packages import remedy
from gnuradio.largesc.packets.address import resolved
from gnuradio.largesc.packets.report import Report, encode
from gnuradio.largesc.speech.files import read_audio
from gnuradio.largesc.speech.format import FRAME_SAMPLES
from helpers import free_port, wait_until


def read_csv(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tone(hertz: float, frames: int) -> np.ndarray:
    t = np.arange(frames * FRAME_SAMPLES) / 24000
    return (0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32).reshape(-1, FRAME_SAMPLES)


def strongest_hertz(speech: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(speech)).argmax() * 24000 / len(speech))


# The socket


def test_inbox_takes_both_kinds_of_addresses_and_answers():
    port = free_port()
    inbox = Inbox(f"*:{port}")
    try:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as other:
                other.settimeout(5)
                try:
                    other.sendto(b"hello", (host, port))
                except OSError:
                    pytest.skip("there is no IPv6 here")
                wait_until(lambda: inbox._waiting)
                ((data, peer, came_ns),) = inbox.drain(Counter())
                assert data == b"hello" and came_ns <= time.monotonic_ns()
                # As whoever names this address would write it.
                assert peer == resolved(f"[{host}]:{other.getsockname()[1]}", False)[1]
                inbox.send(b"back", peer)
                assert other.recv(100) == b"back"
    finally:
        inbox.close()
    assert inbox.counters == {"received": 2, "sent": 2, "flooded": 0, "errors": 0}


def test_flood_of_strangers_drowns_no_known_address():
    inbox = Inbox(f"127.0.0.1:{free_port()}")
    known, several = ("10.0.0.1", 5), ("10.0.0.1", 6)
    inbox.drain(Counter([known, *2 * [several]]))
    for n in range(5000):
        inbox._put(b"x", ("10.0.0.2", n), 0)
    for _ in range(100):
        inbox._put(b"y", known, 0)
        inbox._put(b"z", several, 0)
    found = inbox.drain(Counter())
    inbox.close()
    assert [data for data, *_ in found].count(b"x") == MOST_OF_STRANGERS
    assert [data for data, *_ in found].count(b"y") == MOST_OF_ONE
    assert [data for data, *_ in found].count(b"z") == 2 * MOST_OF_ONE
    assert inbox.counters["flooded"] == 5200 - MOST_OF_STRANGERS - 3 * MOST_OF_ONE


def test_inbox_at_an_address_in_use_says_so():
    port = free_port()
    inbox = Inbox(f"127.0.0.1:{port}")
    with pytest.raises(ValueError, match="cannot be listened at"):
        Inbox(f"127.0.0.1:{port}")
    inbox.close()


def test_address_of_the_other_kind_is_refused_at_once():
    inbox = Inbox(f"127.0.0.1:{free_port()}")
    inbox.check_reach(("10.0.0.1", 5), "--phone x")
    with pytest.raises(ValueError, match="--phone x is an address of IPv6"):
        inbox.check_reach(("::1", 5, 0, 0), "--phone x")
    inbox.close()


def test_what_cannot_be_sent_is_counted():
    inbox = Inbox(f"127.0.0.1:{free_port()}")
    inbox.send(b"x" * 100_000, ("127.0.0.1", 9))
    inbox.close()
    assert inbox.counters["errors"] == 1


# Outputs


def test_wav_holds_what_was_written_without_being_closed(tmp_path):
    output = WavOutput(lambda: tmp_path / "a.wav")
    output.write(tone(440, 1)[0])
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (24000, FRAME_SAMPLES)
    output.close()


def test_slow_output_drops_its_own_oldest_frames():
    gate, got = threading.Event(), []

    class Slow:
        def write(self, samples):
            gate.wait(30)
            got.append(int(samples[0]))

        def close(self):
            got.append("closed")

    output = QueuedOutput("call", Slow)
    began = time.monotonic()
    for n in range(100):
        output.write(np.full(FRAME_SAMPLES, n, np.float32))
    output.close()
    assert time.monotonic() - began < 10
    gate.set()
    output.join(time.monotonic() + 30)
    assert output.closed and got[-1] == "closed"
    assert got[-MOST_WAITING - 1 : -1] == list(range(100 - MOST_WAITING, 100))
    assert output.counters["written"] + output.counters["dropped"] == 100


def test_output_that_fails_is_counted_and_harms_nobody(tmp_path, caplog):
    for make in (lambda: WavOutput(lambda: tmp_path / "nowhere" / "a.wav"), lambda: 1 / 0):
        output = QueuedOutput("ada", make)
        wait_until(lambda output=output: output.counters["errors"])
        for _ in range(100):
            output.write(tone(440, 1)[0])
        assert len(output._waiting) <= MOST_WAITING and output.counters["written"] == 0
        output.close()
        output.join(time.monotonic() + 30)
        assert output.closed
    assert caplog.text.count("speech of call ada is lost for now") == 2


def test_output_that_failed_is_opened_again(monkeypatch):
    monkeypatch.setattr("gnuradio.largesc.gateway.outputs.AGAIN_S", 0.01)
    opened, got = [], []

    def make():
        opened.append(1)
        if len(opened) < 3:
            raise OSError("unreachable")
        return SimpleNamespace(write=got.append, close=lambda: None)

    output = QueuedOutput("ada", make)
    wait_until(lambda: len(opened) == 3)
    output.write(tone(440, 1)[0])
    output.close()
    output.join(time.monotonic() + 30)
    assert len(got) == 1 and output.counters["errors"] == 2


def test_long_call_goes_on_in_another_file(tmp_path, monkeypatch):
    monkeypatch.setattr("gnuradio.largesc.gateway.outputs.MOST_FILE_SAMPLES", 2 * FRAME_SAMPLES)
    names = iter("abc")
    output = WavOutput(lambda: tmp_path / f"{next(names)}.wav")
    for frame in tone(440, 5):
        output.write(frame)
    output.close()
    assert [len(read_audio(tmp_path / f"{n}.wav")) // FRAME_SAMPLES for n in "abc"] == [2, 2, 1]


def test_description_that_cannot_be_written_ends_no_call(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(
        "gnuradio.largesc.gateway.call_outputs.RtpOutput",
        lambda host, port, payload: SimpleNamespace(write=lambda x: None, close=lambda: None),
    )
    outputs = CallOutputs(rtp=("127.0.0.1", 5000), sdp=tmp_path / "gone")
    output = outputs.of("ada")
    output.write(*tone(440, 2))
    output.close()
    outputs.join(30)
    assert outputs.counters == {"written": 1, "dropped": 0, "errors": 0}
    assert "0.sdp cannot be written" in caplog.text


def test_two_processes_write_one_call_of_one_second_to_two_files(tmp_path, monkeypatch):
    """A worker that died, and the one in its place."""
    monkeypatch.setattr(time, "strftime", lambda _: "now")
    for each in (CallOutputs(wav=tmp_path), CallOutputs(wav=tmp_path)):
        output = each.of("alice")
        output.write(np.zeros(FRAME_SAMPLES), np.zeros(FRAME_SAMPLES))
        output.close()
        each.join(20.0)
    assert {p.name for p in tmp_path.iterdir()} == {"now-0-alice.wav", "now-0-alice-2.wav"}


def test_each_call_gets_the_lowest_free_port_and_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "gnuradio.largesc.gateway.call_outputs.RtpOutput",
        lambda host, port, payload: SimpleNamespace(write=lambda x: None, close=lambda: None),
    )
    outputs = CallOutputs(wav=tmp_path, rtp=("127.0.0.1", 5000), sdp=tmp_path)
    first, second = outputs.of("127.0.0.1:1"), outputs.of("../../etc/passwd")
    assert "m=audio 5000 " in (tmp_path / "0.sdp").read_text()
    assert "m=audio 5002 " in (tmp_path / "1.sdp").read_text()
    first.close()
    wait_until(lambda: all(output.closed for output in (*first.files, *first.streams)))
    third = outputs.of("ada")
    assert "s=ada" in (tmp_path / "0.sdp").read_text()
    for output in (second, third):
        output.close()
    outputs.join(30)
    files = sorted(path.name.split("-", 2)[-1] for path in tmp_path.glob("*.wav"))
    assert files == ["0-127.0.0.1_1.wav", "1-.._.._etc_passwd.wav", "2-ada.wav"]
    assert file_name("///") == "call"


# RTP


@pytest.mark.parametrize("payload", PAYLOADS)
def test_rtp_comes_in_as_it_went_out(payload):
    port = free_port()
    source = RtpInput(port, payload)
    output, got = RtpOutput("127.0.0.1", port, payload), []

    def heard() -> bool:
        output.write(tones[len(sent) % len(tones)])
        sent.append(1)
        time.sleep(0.04)
        while (frame := source.pull()) is not None:
            got.append(frame)
        return len(got) >= 20

    tones, sent = tone(440, 30), []
    wait_until(heard)
    output.close()
    source.close()
    assert source.counters["began"] == 1
    speech = np.concatenate(got[8:20])
    assert strongest_hertz(speech) == pytest.approx(440, abs=5)
    assert speech.std() == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_descriptions_are_of_the_rfcs():
    assert description("10.0.0.1", 5004, "pcmu").splitlines()[-2:] == [
        "m=audio 5004 RTP/AVP 0",
        "a=rtpmap:0 PCMU/8000",
    ]
    assert "c=IN IP6 ::1" in description("::1", 5004, "opus")
    assert "a=rtpmap:97 opus/48000/2" in description("::1", 5004, "opus")


def test_a_player_of_debian_hears_a_call(tmp_path):
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("apt-get install ffmpeg")
    port = free_port()
    (tmp_path / "0.sdp").write_text(description("127.0.0.1", port, "opus"))
    player = subprocess.Popen(
        [ffmpeg, "-v", "error", "-protocol_whitelist", "file,udp,rtp", "-i", tmp_path / "0.sdp",
         "-t", "1", "-ar", "24000", "-ac", "1", tmp_path / "heard.wav"],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    output, tones = RtpOutput("127.0.0.1", port, "opus"), itertools.cycle(tone(440, 30))

    def over() -> bool:
        output.write(next(tones))
        time.sleep(0.08)
        return player.poll() is not None

    wait_until(over)
    output.close()
    assert player.returncode == 0
    assert strongest_hertz(read_audio(tmp_path / "heard.wav")[6000:]) == pytest.approx(440, abs=5)


def test_garbage_at_the_port_of_a_phone_is_survived():
    port = free_port()
    source, rng = RtpInput(port, "l16"), np.random.default_rng(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for _ in range(200):
            other.sendto(rng.bytes(rng.integers(0, 200)), ("127.0.0.1", port))
            time.sleep(0.002)
    output, tones = RtpOutput("127.0.0.1", port, "l16"), itertools.cycle(tone(440, 30))

    def heard() -> bool:
        output.write(next(tones))
        time.sleep(0.04)
        frame = source.pull()
        return frame is not None and strongest_hertz(frame) == pytest.approx(440, abs=15)

    wait_until(heard)
    output.close()
    source.close()


class Spoken:
    """A phone's speech without a network."""

    def __init__(self, *_) -> None:
        self.frames = []

    def pull(self):
        return self.frames.pop(0) if self.frames else None

    def close(self) -> None:
        pass


@pytest.fixture
def phones(monkeypatch):
    monkeypatch.setattr("gnuradio.largesc.gateway.phones.RtpInput", Spoken)
    routes = [Route(40000, ("127.0.0.1", 50000)), Route(40002, ("127.0.0.1", 50002))]
    return Phones(
        routes, "opus", link=LinkOptions(), sender=SenderOptions(dtx=True), reports=ReportOptions()
    )


def test_phones_are_coded_each_for_its_radio_user(phones):
    speech = read_audio(RECORDINGS / "Front_Left.wav")
    frames = list(speech[: 15 * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES))
    first, second = phones.phones.values()
    first.source.frames += frames
    got = {}
    for n in range(40):
        for packet, to in phones.tick(n * 80_000_000):
            got.setdefault(to, []).append(packet)
    # The second phone said nothing; the first one ended, and its radio user is told so.
    assert list(got) == [first.route.to] and 18 <= len(got[first.route.to]) <= 31
    depacketizer = Depacketizer(crc=True)
    assert all(depacketizer.push(packet) for packet in got[first.route.to])
    assert depacketizer.ended and second.route.to not in got
    # It begins anew, and is ended with the gateway.
    first.source.frames += frames[:4]
    assert [phones.tick(n) for n in range(4)][-1] and len(phones.close()) == 3


def test_reports_of_radio_users_change_what_is_sent(phones):
    first, _ = phones.phones.values()
    report = encode(Report(0.4, 1.0), 0, True)
    assert phones.take(report, first.route.to, 0)
    assert first.follower.belief(1.0).loss_probability == pytest.approx(0.4, abs=0.02)
    # Neither another address, nor speech, nor a damaged report.
    assert not phones.take(report, ("127.0.0.1", 1), 0)
    assert not phones.take(b"\x01\x40\x00", first.route.to, 0)
    assert phones.take(report[:-1] + bytes([report[-1] ^ 1]), first.route.to, 0)
    assert first.follower.counters["reports"] == 1


def test_two_phones_cannot_share_a_port_or_a_radio_user():
    for routes in (
        [Route(1, ("a", 1)), Route(1, ("b", 1))],
        [Route(1, ("a", 1)), Route(2, ("a", 1))],
    ):
        with pytest.raises(ValueError, match="two phones have the same"):
            Phones(
                routes, "opus", link=LinkOptions(), sender=SenderOptions(), reports=ReportOptions()
            )
    with pytest.raises(ValueError, match="phones at 6 and 7: RTCP"):
        Phones(
            [Route(6, ("a", 1)), Route(7, ("a", 2))], "opus",
            link=LinkOptions(), sender=SenderOptions(), reports=ReportOptions(),
        )  # fmt: skip


def test_port_of_a_phone_that_is_taken_is_said():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        for mine in (port, port - 1):
            with pytest.raises(ValueError, match=f"127.0.0.1:{port} cannot be listened at"):
                RtpInput(mine, "opus")


# The clock and the figures


class Idle:
    """A gateway of no calls, whose ticks take as long as they are told."""

    def __init__(self, takes_s=()) -> None:
        self.takes_s, self.ticks = list(takes_s), []
        self.calls, self.counters, self.step_ms = {}, {"packets": 3}, [1.0, 2.0]
        self.totals = Counter(packets_lost=4)

    def peers(self):
        return []

    def statistics_of_calls(self):
        return {name: call.statistics() for name, call in self.calls.items()}

    def tick(self, now_ns):
        self.ticks.append(now_ns)
        if self.takes_s:
            time.sleep(self.takes_s.pop(0))
        return []

    def take(self, *_):
        raise AssertionError

    def close(self):
        return []


def clock_of(idle):
    phones = SimpleNamespace(phones={}, tick=lambda now_ns: [], take=lambda *_: False, close=list)
    inbox = SimpleNamespace(drain=lambda known: [], send=None, counters={"received": 3})
    return GatewayClock(idle, phones, inbox, lambda: False), inbox


def test_clock_that_falls_behind_goes_on_from_now():
    idle = Idle([0.0, 1.0])
    clock, _ = clock_of(idle)
    clock.run(lambda: len(idle.ticks) >= 5)
    # The second tick took twelve: of those some are left out.
    assert 6 <= clock.skipped < 100
    assert len(clock.tick_ms) == 5 and max(clock.tick_ms) > 900


def test_fault_of_the_gateway_is_counted_and_ends_no_call(caplog):
    idle = Idle()
    clock, inbox = clock_of(idle)
    inbox.drain = lambda known: [(b"x", ("10.0.0.1", 1), 0)]
    clock.run(lambda: len(idle.ticks) >= 3)
    assert clock.failures == 3 and caplog.text.count("a fault of the gateway") == 1


def test_figures_are_served_for_people_and_for_prometheus():
    idle = Idle()
    idle.calls["<b>"] = SimpleNamespace(
        name="<b>",
        concealer=object(),
        statistics=lambda: {
            "loss_probability": 0.25, "playout_delay_ms": 100.0, "packets_lost": 7, "frames": 40,
            "frames_made_up": 5, "refused_format": 1, "refused_crc": 2,
        },
    )  # fmt: skip
    clock, inbox = clock_of(idle)
    port = free_port()
    metrics = GatewayMetrics(idle, clock, inbox, lambda: CallOutputs().counters)
    server = serve(f"127.0.0.1:{port}", metrics)
    try:
        with pytest.raises(ValueError, match="--metrics"):
            serve(f"127.0.0.1:{port}", metrics)

        def read(path):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30).read()

        figures = read("/metrics").decode().splitlines()
        assert "largesc_calls 1.0" in figures and "largesc_packets_total 3.0" in figures
        assert 'largesc_call_loss{call="<b>"} 0.25' in figures
        assert "largesc_total_packets_lost_total 11.0" in figures
        assert 'largesc_call_total{call="<b>",what="packets_lost"} 7.0' in figures
        page = read("/").decode()
        assert "<td>&lt;b&gt;</td><td>25%</td><td>100</td><td>40</td><td>5</td><td>3</td>" in page
    finally:
        server.shutdown()
        server.server_close()


# The command


def test_unit_of_systemd_names_options_that_are_there():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(Path(__file__).parents[1] / "apps" / "largesc-gateway.service")
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[1] == "gateway"
    args = command.parser().parse_args(words[2:])
    assert args.keys and args.wav and args.metrics
    assert unit["Service"]["ExecReload"].endswith("-HUP $MAINPID")


def test_figures_of_the_page_are_those_of_the_studies():
    root = Path(__file__).parents[1] / "docs"
    page = (root / "gateway.md").read_text().replace("\n", " ")
    rows = {(r["kind"], r["way"], int(r["calls"])): r for r in read_csv(root / "results/calls.csv")}
    costs = {key: float(row["computing_ms_a_call"]) for key, row in rows.items()}
    for kind in ("receive", "send", "both"):
        many = [costs.get((kind, "one process", n)) for n in (1, 4, 16, 64)]
        cells = [f"{costs[kind, 'a process a call', 4]:.1f}"]
        cells += ["–" if cost is None else f"{cost:.1f}" for cost in many]
        assert f"| {kind} | {' | '.join(cells)} |" in page
    for kind, doing in (("send", "sending computes"), ("receive", "receiving")):
        ratio = costs[kind, "a process a call", 4] / costs[kind, "one process", 16]
        assert f"{doing} {ratio:.1f} times" in page
        p95 = float(rows[kind, "one process", 64]["step_ms_p95"])
        assert f"{p95:.0f} ms {'sending' if kind == 'send' else 'receiving'}" in page
        assert p95 > 80 > float(rows[kind, "one process", 16]["step_ms_p95"])
    flood = read_csv(root / "results/gateway_flood.csv")
    assert all(row["packets_lost"] == "0" and row["calls"] == "8" for row in flood)
    p95 = {(row["keys"], row["load"]): float(row["tick_ms_p95"]) for row in flood}
    for keys, words in (("0", "without keys"), ("200", "with 200")):
        ratio = p95[keys, "all"] / p95[keys, "nothing"]
        assert f"{ratio:.1f} times {words}" in page
        assert max(p95[keys, row["load"]] for row in flood) < 1.5 * p95[keys, "nothing"]
    more = max(float(row["memory_mib_more"]) for row in flood)
    assert f"memory by {more:g} MiB" in page
    last = read_csv(root / "results/depacketizers.csv")[-1]
    assert f"{100 * float(last['share']):.1f} % of the tick of 64 calls" in page
    assert f"takes {float(last['tick_ms']):.0f} ms of processor time" in page
    workers = {
        (r["workers"], r["calls"]): r for r in read_csv(root / "results/gateway_workers.csv")
    }
    row = workers["1", "64"]
    assert row["turns_skipped"] == "0" < workers["1", "96"]["turns_skipped"]
    assert f"64 calls, the p95 of its step is {float(row['step_ms_p95']):.0f} ms" in page
    assert f"{float(row['first_process_ms_a_call']):.2f} ms a call and tick" in page
    churn = read_csv(root / "results/call_churn.csv")
    memory = [float(row["memory_mib"]) for row in churn]
    assert max(memory) / min(memory) < 1.005 and f"for {len(churn)} minutes" in page
    assert all(
        r["heard_another"] == "0" and r["datagrams"] == r["datagrams_counted"] for r in churn
    )


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError) as error:
        command.gateway(["--listen", f"127.0.0.1:{free_port()}", "--rtp", "127.0.0.1:40000"])
    assert "./bootstrap gateway" in remedy(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nobody would hear the calls"),
        (["--wav", "W", "--calls", "0"], "calls 0 is out of range"),
        (["--wav", "/proc/no"], "/proc/no cannot be written"),
        (["--rtp", "127.0.0.1:65500"], "use a lower port or fewer calls"),
        (["--rtp", "127.0.0.1"], "host:port"),
        (["--wav", "W", "--sdp", "S"], "give --rtp as well"),
        (["--wav", "W", "--conference"], "a conference needs listeners"),
        (["--wav", "W", "--phone", "5004"], "PORT=HOST:PORT"),
        (["--wav", "W", "--phone", "x=127.0.0.1:1"], "PORT=HOST:PORT"),
        (["--wav", "W", "--phone", "1=127.0.0.1:1", "--keys", "K"], "unsigned"),
        (["--wav", "W", "--calls-per-key", "3"], "give --keys FOLDER"),
        (["--wav", "W", "--metrics", "9000"], "host:port"),
        (["--wav", "W", "--ray", "-1"], "ray -1 is out of range"),
        (["--wav", "W", "--ray", "3", "--calls", "2"], "use no more than one a call"),
        (["--rtp", "127.0.0.1:6000", "--ray", "2", "--conference"], "leave --ray out"),
        (["--wav", "W", "--keys", "K"], "has no keys"),
        (["--rtp", "*:40000"], "name the host"),
        (["--rtp", "no.such.host.invalid:40000"], "was not found"),
    ],
)
def test_wrong_options_are_said_at_once(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        command.gateway(["--listen", f"127.0.0.1:{free_port()}", *arguments])


class Talker:
    """A sender that holds a call for as long as the test wants it."""

    def __init__(self, port: int) -> None:
        self._to, self._over = ("127.0.0.1", port), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        packetizer, rng = Packetizer(crc=True), np.random.default_rng(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
            while not self._over.wait(0.08):
                tokens = rng.integers(0, 2048, 8).tolist()
                for packet in packetizer.push(tokens, PacketDecision()):
                    mine.sendto(packet, self._to)
            for _ in range(3):
                mine.sendto(packetizer.end_packet(), self._to)

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def test_a_real_gateway_with_real_senders(tmp_path):
    """A call that is refused and told so, one to a file and as RTP; then SIGTERM."""
    port, rtp, web = free_port(), free_port(), free_port()
    gateway = Command(
        tmp_path, "gateway", "--listen", f"127.0.0.1:{port}", "--calls", "1",
        "--wav", str(tmp_path / "wav"), "--rtp", f"127.0.0.1:{rtp}", "--sdp", str(tmp_path),
        "--metrics", f"127.0.0.1:{web}", "--json", str(tmp_path / "g.json"),
    )  # fmt: skip
    gateway.hears("listening at")
    talker, speech = Talker(port), str(RECORDINGS / "Front_Left.wav")
    gateway.hears("begins")
    refused = Command(tmp_path, "tx", speech, "--to", f"127.0.0.1:{port}")
    refused.hears("the gateway takes no call: all of its calls are taken")
    assert refused.wait() == 0
    # The reason comes back to the call it is of.
    numbered = Command(tmp_path, "tx", speech, "--to", f"127.0.0.1:{port}", "--call", "3")
    numbered.hears("the gateway takes no call: all of its calls are taken")
    assert numbered.wait() == 0
    talker.end()
    gateway.hears("its sender has ended")
    phone = RtpInput(rtp, "opus")
    heard = Command(tmp_path, "tx", speech, "--to", f"127.0.0.1:{port}")
    assert heard.wait() == 0 and "takes no call" not in heard.said()
    wait_until(lambda: gateway.said().count("its sender has ended") == 2)
    # New keys are asked for, of which there are none.
    gateway.signal(signal.SIGHUP)
    page = urllib.request.urlopen(f"http://127.0.0.1:{web}/", timeout=30).read().decode()
    assert "<td>calls_begun</td><td>2</td>" in page
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    phone.close()
    summary = gateway.facts(tmp_path / "g.json")["summary"]
    assert summary["calls_begun"] == summary["calls_ended"] == 2 and summary["calls_refused"] == 2
    path = sorted((tmp_path / "wav").glob("*.wav"))[-1]
    found = read_audio(path)
    assert len(found) > 20000 and np.abs(found).max() > 0.05
    assert phone.counters["received"] > 3 and (tmp_path / "0.sdp").is_file()


def test_a_phone_of_ffmpeg_at_a_gateway_with_a_worker(tmp_path):
    """RTP in, tokens out to a radio user whose reports count, while a worker has a call."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None or absent(["ray"]):
        pytest.skip("apt-get install ffmpeg; pip install -r requirements-evaluation.txt")
    port, phone = free_port(), free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as user:
        user.bind(("127.0.0.1", 0))
        user.settimeout(5.0)
        gateway = Command(
            tmp_path, "gateway", "--listen", f"127.0.0.1:{port}", "--wav", str(tmp_path / "wav"),
            "--phone", f"{phone}=127.0.0.1:{user.getsockname()[1]}", "--ray", "1",
            "--json", str(tmp_path / "g.json"),
        )  # fmt: skip
        gateway.hears("listening at")
        talker = Talker(port)
        gateway.hears("begins")
        speaks = subprocess.Popen(
            [ffmpeg, "-v", "error", "-re", "-stream_loop", "2", "-i",
             RECORDINGS / "Front_Left.wav", "-ar", "48000", "-ac", "1", "-c:a", "libopus",
             "-f", "rtp", f"rtp://127.0.0.1:{phone}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        depacketizer, decoder, heard = Depacketizer(crc=True), SpeechDecoder(load_codec()), []
        while not depacketizer.ended:
            data, where = user.recvfrom(2048)
            assert where == ("127.0.0.1", port) and depacketizer.push(data)
            while (frame := depacketizer.pop()) is not None:
                heard.append(decoder.decode(np.array(frame.tokens, np.uint16)))
            user.sendto(encode(Report(0.2, 1.0), len(heard) % 256, True), where)
        assert speaks.wait() == 0
    talker.end()
    gateway.hears("its sender has ended")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    speech = np.concatenate(heard)
    assert len(speech) > 2 * 24000 and np.abs(speech).max() > 0.05
    summary = gateway.facts(tmp_path / "g.json")["summary"]
    assert summary["calls_begun"] == summary["calls_ended"] == 1
    # Its reports were the phone's, and came to no worker.
    assert summary["refused_packets"] == summary["tick_failures"] == summary["failures"] == 0
    assert summary["datagrams_received"] > summary["packets"]

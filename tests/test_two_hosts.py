# SPDX-License-Identifier: GPL-3.0-or-later
"""largesc tx and rx as two hosts: network namespaces with a cable between them, or ZMQ."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import Command, enter_network
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.packets.report import decode
from helpers import free_port

# Seconds for an answer that should take 2, on a machine that has other things to do.
SOON_S = 5.0
START_S = 120.0
PORT = 52100
# Each loss for so long, the last half of which is looked at.
PHASE_S = 6.0


class Program:
    """A largesc command, what it says, and when."""

    def __init__(self, folder: Path, arguments: list[str], host: str | None = None) -> None:
        self.lines: list[tuple[float, str]] = []
        prepare = partial(enter_network, host) if host else None
        self._command = Command(folder, *arguments, prepare=prepare)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with open(self._command.stderr) as file:
            while True:
                over = not self._command.process.is_alive()
                while line := file.readline():
                    self.lines.append((time.monotonic(), line.strip()))
                if over:
                    return
                time.sleep(0.01)

    def said(self, words: str, since: float = 0.0, seconds: float = START_S) -> float:
        """Waits for a line with these words after ``since``; returns when it came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            over = not self._reader.is_alive()
            for at, line in list(self.lines):
                if words in line and at >= since:
                    return at
            assert not over, f"it ended without {words!r}: {self.lines}"
            time.sleep(0.02)
        raise AssertionError(f"{words!r} was not said: {self.lines}")

    def signal(self, number: int) -> None:
        self._command.signal(number)

    def wait(self) -> int:
        """Its exit status."""
        return self._command.wait()

    def output(self) -> list[str]:
        """Whole lines of stdout so far."""
        return Path(self._command.stdout).read_text().split("\n")[:-1]

    def kill(self) -> float:
        self._command.process.kill()
        self._command.process.join()
        return time.monotonic()

    def facts(self) -> dict:
        """Ends it as Ctrl-C does; its counters by block, and the summary."""
        if self._command.process.is_alive():
            self._command.signal(signal.SIGINT)
        assert self._command.wait() == 0, self.lines
        found = self._command.facts()
        return found["blocks"] | {"summary": found["summary"]}


@pytest.fixture
def start(tmp_path, speech, models):
    """Starts `tx`, `rx` or `channel`; ends what still runs behind the test."""
    source = str(tmp_path / "in.wav")
    soundfile.write(source, np.tile(speech, 60), 24000)
    first = {"tx": [source], "rx": [str(tmp_path / "out.wav")], "channel": []}
    programs = []

    def begin(command: str, *options: str, host: str | None = None) -> Program:
        model = [] if command == "channel" else ["--codec", models]
        more = ["--concealer", "repeat"] if command == "rx" else []
        words = [command, *first[command], *options, *model, *more, "--json"]
        programs.append(Program(tmp_path, words, host))
        return programs[-1]

    yield begin
    for program in programs:
        program.kill()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Hosts:
    """Hosts a and b, by the names of their network namespaces."""

    def __init__(self) -> None:
        name = f"largesc{os.getpid()}"
        self.names = [f"{name}a", f"{name}b"]
        for host in self.names:
            ip("netns", "add", host)
        self.a, self.b = self.names
        ip("link", "add", "va", "netns", self.names[0], "type", "veth", "peer", "name", "vb",
           "netns", self.names[1])  # fmt: skip
        for host, end, number in zip(self.names, ("va", "vb"), (1, 2), strict=True):
            ip("-n", host, "addr", "add", f"10.77.0.{number}/24", "dev", end)
            ip("-n", host, "link", "set", end, "up")
            ip("-n", host, "link", "set", "lo", "up")

    def netem(self, *how: str) -> bool:
        """Impairs both directions; False where the kernel has no netem."""
        done = [
            subprocess.run(
                ["ip", "netns", "exec", host, "tc", "qdisc", "add", "dev", end, "root", "netem"]
                + list(how),
                capture_output=True,
            ).returncode
            for host, end in zip(self.names, ("va", "vb"), strict=True)
        ]
        return done == [0, 0]

    def move_a(self) -> float:
        """Gives host a another address, after half a second without any."""
        ip("-n", self.names[0], "addr", "del", "10.77.0.1/24", "dev", "va")
        time.sleep(0.5)
        # From here on: packets may go before the command has ended.
        begin = time.monotonic()
        ip("-n", self.names[0], "addr", "add", "10.77.0.3/24", "dev", "va")
        return begin

    def close(self) -> None:
        for host in self.names:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


@pytest.fixture
def hosts():
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    made = None
    try:
        made = Hosts()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    yield made
    made.close()


class Relay(threading.Thread):
    """Passes packets on between a sender and ``receiver``; ``loss`` of them, both ways, is lost.

    They are lost at even distances: of drawn ones a few seconds say too little.
    ``reports`` are those that came to it, with their times, ``passed`` what it did with each packet
    of the sender. It lives on the host of that name.
    """

    def __init__(self, host: str, at: tuple[str, int], receiver: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.loss = 0.0
        self.reports: list[tuple[float, float]] = []
        self.passed: list[bool] = []
        self._host, self._at, self._receiver = host, at, receiver
        self._owed = {True: 0.0, False: 0.0}

    def run(self) -> None:
        # This thread only.
        enter_network(self._host)
        sender = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
            heard.bind(self._at)
            while True:
                packet, peer = heard.recvfrom(2048)
                back = peer == self._receiver
                passed = not self._due(back)
                if back:
                    to, (_, report) = sender, decode(packet, True)
                    self.reports.append((time.monotonic(), report.loss_probability))
                else:
                    sender, to = peer, self._receiver
                    self.passed.append(passed)
                if passed:
                    heard.sendto(packet, to)

    def _due(self, back: bool) -> bool:
        self._owed[back] += self.loss
        due = self._owed[back] >= 1.0
        self._owed[back] -= due
        return due


def test_speech_and_reports_follow_a_loss_that_changes(hosts, start, tmp_path, record_property):
    at, receiver = ("10.77.0.1", PORT + 1), ("10.77.0.2", PORT)
    relay = Relay(hosts.names[0], at, receiver)
    relay.start()
    rx = start("rx", "--listen", "{}:{}".format(*receiver), host=hosts.b)
    rx.said("listening")
    tx = start("tx", "--to", "{}:{}".format(*at), host=hosts.a)
    tx.said("sending")
    rx.said("packets come from")
    time.sleep(PHASE_S / 2)
    found, losses = [], (0.0, 0.1, 0.2, 0.3)
    for relay.loss in losses:
        begin, before = time.monotonic(), len(relay.passed)
        time.sleep(PHASE_S)
        # A report is a mean over 3 s.
        late = [p for t, p in relay.reports if t - begin > PHASE_S / 2]
        found.append((1.0 - np.mean(relay.passed[before:]), np.mean(late)))
    got, sent = rx.facts(), tx.facts()
    record_property("lost, p", str(np.round(found, 2).tolist()))
    print(found, sent, got)
    assert all(abs(lost - p) < 0.1 for lost, p in found), found
    out, _ = soundfile.read(tmp_path / "out.wav")
    phases = out[-int(24000 * PHASE_S) * len(losses) :].reshape(len(losses), -1)
    levels = np.sqrt(np.mean(phases**2, axis=1))
    print(levels)
    assert np.all(levels > 0.3 * levels[0]) and levels[0] > 0.001
    assert sent["reports"]["reports"] > 11 and sent["summary"]["loss_probability"] > 0.1


def test_report_comes_back_through_a_bad_network(hosts, start):
    to = f"10.77.0.2:{PORT}"
    rx = start("rx", "--listen", to, "--deadline-ms", "240", host=hosts.b)
    if not hosts.netem("loss", "30%", "delay", "100ms", "100ms", "duplicate", "10%"):
        way = f"10.77.0.1:{PORT + 1}"
        bad = ["--loss", "0.3", "--jitter-ms", "200", "--duplicate", "0.1", "--reorder", "0.1"]
        channel = start("channel", "--listen", way, "--to", to, *bad, host=hosts.a)
        channel.said("listening")
        to = way
    rx.said("listening")
    tx = start("tx", "--to", to, host=hosts.a)
    tx.said("sending")
    time.sleep(8.0)
    got, sent = rx.facts(), tx.facts()
    concealer, got = got["concealer"], got["depacketizer"]
    lost = got["packets_lost"] / max(1, got["packets_lost"] + got["packets_received"])
    print(sent, got)
    # On a loaded machine more is lost: what comes too late.
    assert lost > 0.15 and got["duplicates"] > 0 and concealer["failures"] == 0
    assert got["packets_received"] > 20
    assert sent["reports"]["reports"] >= 3
    assert sent["summary"]["loss_probability"] > 0.1
    assert sent["controller"]["tokens_repeated"] > 0


def test_restarts_and_a_new_address(hosts, start, tmp_path, record_property):
    to = f"10.77.0.2:{PORT}"
    rx = start("rx", "--listen", to, host=hosts.b)
    listening = rx.said("listening")
    took = {"absent sender": rx.said("no packet for 2 s") - listening}
    tx = start("tx", "--to", to, host=hosts.a)
    took["first packet"] = rx.said("packets come from 10.77.0.1") - tx.said("sending")
    killed = tx.kill()
    took["sender killed"] = rx.said("no packet for 2 s", killed) - killed
    tx = start("tx", "--to", to, host=hosts.a)
    sending = tx.said("sending")
    took["sender again"] = rx.said("packets come again", killed) - sending
    time.sleep(2.0)
    moved = hosts.move_a()
    took["sender moved"] = rx.said("packets come from 10.77.0.3", moved) - moved
    time.sleep(2.0)
    killed = rx.kill()
    heard = soundfile.info(str(tmp_path / "out.wav")).duration
    assert killed - listening - 2.0 < heard < killed - listening + 1.0
    took["receiver killed"] = tx.said("no report of the receiver for 2 s", killed) - killed
    rx = start("rx", "--listen", to, host=hosts.b)
    listening = rx.said("listening")
    took["receiver again"] = tx.said("reports of the receiver come again", killed) - listening
    sent, got = tx.facts(), rx.facts()
    record_property("seconds", str({what: round(s, 2) for what, s in took.items()}))
    print(took)
    assert max(took.values()) < SOON_S, took
    assert sent["reports"]["timeouts"] >= 1 and got["depacketizer"]["packets_received"] > 0
    assert got["concealer"]["failures"] == 0


def test_absent_receiver_is_named_and_p_rises(start):
    tx = start("tx", "--to", f"127.0.0.1:{free_port()}", "--cautious-loss", "0.25")
    sending = tx.said("sending")
    assert tx.said("no report of the receiver for 2 s") - sending < SOON_S
    assert tx.said("After 3 s p rises to 0.25") - sending < SOON_S
    time.sleep(6.0)
    facts = tx.facts()
    assert facts["summary"]["loss_probability"] == 0.25 and facts["reports"]["timeouts"] == 1


@pytest.mark.parametrize("scheme", ["", "zmq://"])
def test_port_in_use_is_said(capsys, scheme):
    kind = socket.SOCK_STREAM if scheme else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if scheme:
            other.listen()
        at = f"{scheme}127.0.0.1:{other.getsockname()[1]}"
        assert main(["rx", "--listen", at]) == 2
    said = capsys.readouterr().err
    assert "in use" in said and at in said and said.count("\n") == 1


@pytest.mark.parametrize("to", ["nowhere.invalid:5000", "127.0.0.1", "zmq://5000", "1.2.3.4:0"])
def test_bad_address_is_said(tmp_path, capsys, speech, to):
    source = str(tmp_path / "in.wav")
    soundfile.write(source, speech, 24000)
    assert main(["tx", source, "--to", to]) == 2
    said = capsys.readouterr().err
    assert re.search("not found|host:port", said) and said.count("\n") == 1


def test_zmq_carries_speech_and_reports_and_gaps_count(start):
    port, way, back = (f"zmq://127.0.0.1:{free_port(socket.SOCK_STREAM)}" for _ in range(3))
    rx = start("rx", "--listen", port, "--report-to", back)
    channel = start("channel", "--listen", way, "--to", port, "--loss", "0.3")
    rx.said("listening")
    channel.said("listening")
    tx = start("tx", "--to", way, "--report-from", back)
    tx.said("sending")
    time.sleep(8.0)
    # The receiver first: once the sender has gone, it waits for packets that it takes for lost.
    got, sent, between = rx.facts(), tx.facts(), channel.facts()
    got = got["depacketizer"]
    assert between["channel"]["dropped"] > 0 and got["packets_lost"] > 0
    print(sent, got, between)
    # Each gap counts; on a loaded machine also what comes too late.
    total = got["packets_lost"] + got["packets_received"]
    assert got["packets_lost"] > 0.15 * total and got["packets_received"] > 20
    assert sent["reports"]["reports"] >= 3 and sent["summary"]["loss_probability"] > 0.1

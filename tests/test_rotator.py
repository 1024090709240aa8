# SPDX-License-Identifier: GPL-3.0-or-later
"""The example that turns an antenna, on hamlib's dummy rotator."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from commands import Command, ignore_interrupts, main_of
from helpers import free_port, wait_until

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "rotator.py"
SPEC = importlib.util.spec_from_file_location("rotator", EXAMPLE)
rotator = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(rotator)


@pytest.fixture
def port():
    if shutil.which("rotctld") is None:
        pytest.skip("rotctld is not installed: apt-get install libhamlib-utils")
    number = free_port(socket.SOCK_STREAM)
    command = ["rotctld", "-m", "1", "-T", "127.0.0.1", "-t", str(number)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", number), 1.0).close()
            break
        except OSError:
            time.sleep(0.05)
    yield number
    process.terminate()
    process.wait()


def test_commands_turn_the_dummy_rotator(port, monkeypatch):
    own = rotator.Rotator(f"127.0.0.1:{port}")
    asked = []
    turn = own.turn
    monkeypatch.setattr(own, "turn", lambda *to: (asked.append(to), turn(*to)))
    monkeypatch.setattr(own, "position", lambda: (175.0, 85.0))
    assert [own.do(label) for label in ("left", "right", "up", "down", "stop", "go")] == [True] * 6
    assert not own.do("seven") and not own.do("P 1 1\nP 2 2")
    assert asked == [(165.0, 85.0), (185.0, 85.0), (175.0, 90.0), (175.0, 75.0), (0.0, 0.0)]
    own.close()


class Answers(socketserver.StreamRequestHandler):
    """A rotctld whose rotator turns within ``server.range``, from ``server.azimuth``."""

    def handle(self) -> None:
        for line in self.rfile:
            command, *values = line.decode().split()
            if command == "p":
                self.wfile.write(f"{self.server.azimuth:f}\n20.000000\n".encode())
                continue
            low, high = self.server.range
            inside = command != "P" or low <= float(values[0]) <= high
            if command == "P" and inside:
                self.server.azimuth = float(values[0])
            self.wfile.write(b"RPRT 0\n" if inside else b"RPRT -1\n")


@pytest.fixture
def fake():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("span", "at", "label", "then"),
    [
        ((-180, 180), 175.0, "right", -175.0),
        ((-180, 180), -175.0, "left", 175.0),
        ((0, 360), 5.0, "left", 355.0),
        ((0, 360), 355.0, "right", 5.0),
        ((0, 450), 355.0, "right", 365.0),
        ((-180, 180), 90.0, "right", 100.0),
    ],
)
def test_it_turns_on_beyond_the_end_of_the_range(fake, span, at, label, then):
    fake.range, fake.azimuth = span, at
    own = rotator.Rotator("{}:{}".format(*fake.server_address))
    assert own.do(label) and fake.azimuth == then
    own.close()


@pytest.mark.parametrize("alone", [True, False])
def test_what_the_rotator_refuses_is_said(fake, alone):
    fake.range, fake.azimuth = (40, 100), 100.0
    lines = [json.dumps({"label": name, "understood": True}) for name in ("right", "left")]
    host, port = fake.server_address
    done = subprocess.run(
        [sys.executable, EXAMPLE, *(["right"] if alone else []), "--rotctld", f"{host}:{port}"],
        input="\n".join(lines), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "rotator: right: rotctld refuses 'P 110.0 20.0': RPRT -1" in done.stderr
    assert done.returncode == (1 if alone else 0)
    assert done.stdout == ("" if alone else "left: azimuth 90.0, elevation 20.0\n")


def test_decisions_on_stdin_are_done(port):
    lines = [
        json.dumps({"label": "right", "understood": True}),
        json.dumps({"label": "left", "understood": False}),
        "no json",
        json.dumps([1]),
        json.dumps({"label": "seven", "understood": True}),
    ]
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--rotctld", f"127.0.0.1:{port}"],
        input="\n".join(lines), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 2 and said[0].startswith("right: azimuth")
    assert said[1].startswith("seven is no command")


def test_without_a_rotctld_it_says_so():
    nobody = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    done = subprocess.run(
        [sys.executable, EXAMPLE, "stop", "--rotctld", nobody],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "is rotctld running?" in done.stderr


def test_a_signal_ends_it_in_the_background_too(fake, tmp_path):
    fake.range, fake.azimuth = (0, 360), 90.0
    os.mkfifo(tmp_path / "decisions")
    address = "{}:{}".format(*fake.server_address)
    # For reading too, else it waits for a reader.
    decisions = os.open(tmp_path / "decisions", os.O_RDWR)
    example = Command(
        tmp_path, "--rotctld", address, stdin=str(tmp_path / "decisions"),
        main=partial(main_of, "rotator", folder=str(EXAMPLE.parent)), prepare=ignore_interrupts,
    )  # fmt: skip
    os.write(decisions, b'{"label": "right", "understood": true}\n')
    said = Path(example.stdout)
    wait_until(lambda: said.exists() and "right: azimuth 100.0" in said.read_text())
    example.signal(signal.SIGINT)
    assert example.wait() == 128 + signal.SIGINT
    os.close(decisions)

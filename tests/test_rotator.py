# SPDX-License-Identifier: GPL-3.0-or-later
"""The example that turns an antenna, on hamlib's dummy rotator."""

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import free_port

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
    assert asked == [(165.0, 85.0), (180.0, 85.0), (175.0, 90.0), (175.0, 75.0), (0.0, 0.0)]
    own.close()


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

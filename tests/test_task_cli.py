# SPDX-License-Identifier: GPL-3.0-or-later
"""`largesc task` as a user calls it."""

import json
import socket

import numpy as np
import pytest
import soundfile
from commands import Command
from gnuradio.largesc.cli import task as cli
from gnuradio.largesc.packets.posterior import packet_of
from gnuradio.largesc.tasks.model import load_task
from helpers import free_port, wait_until

RATE = 24000
LABELS = ("on", "off", "_unknown_", "_silence_")


@pytest.fixture(scope="module")
def hums(tmp_path_factory) -> str:
    """A recording of two commands, or what passes for such."""
    t = np.arange(4 * RATE) / RATE
    loud = ((t > 0.5) & (t < 1.0)) | ((t > 2.0) & (t < 2.6))
    noise = 1e-3 * np.random.default_rng(0).standard_normal(len(t))
    path = tmp_path_factory.mktemp("hums") / "hums.wav"
    soundfile.write(path, noise + 0.3 * np.sin(2 * np.pi * 200 * t) * loud, RATE)
    return str(path)


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
def test_say_prints_a_decision_a_command(models, hums, capsys, channel):
    options = ["--model", models, "--symbols", "32", "--snr", "3", "--channel", channel]
    assert cli.task(["say", hums, *options, "--confidence", "0"]) == 0
    found = lines_of(capsys.readouterr().out)
    assert [f["index"] for f in found] == [0, 1]
    assert [f["start_s"] for f in found] == pytest.approx([0.38, 1.88], abs=0.05)
    for one in found:
        assert one["label"] in LABELS and 0 <= one["probability"] <= 1 and one["snr_db"] == 3.0
        assert one["understood"] == (one["label"] in LABELS[:2])


def test_say_without_a_command_says_why(models, tmp_path, capsys):
    t = np.arange(3 * RATE) / RATE
    for name, samples, why in (
        ("silence", 0 * t, "silent or too short"),
        ("long", 0.3 * np.sin(1e3 * t) * (t < 2.5), "1 utterances were longer than 1.6 s"),
    ):
        path = str(tmp_path / f"{name}.wav")
        soundfile.write(path, samples, RATE)
        assert cli.task(["say", path, "--model", models, "--symbols", "32"]) == 1
        assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--snr", "nan"], "--snr nan is out of range"),
        (["--symbols", "33"], "symbols 33 is unknown to the model: use one of 8, 32"),
        (["--confidence", "2"], "confidence 2.0 is out of range"),
        (["--seed", "-1"], "--seed -1 is out of range"),
        (["--model", "/nowhere"], "unknown model"),
        (["--to", "127.0.0.1:1"], "--symbols would do nothing with --to, which has no channel"),
    ],
)
def test_bad_options_are_named(models, hums, options, said):
    with pytest.raises(ValueError, match=said):
        cli.task(["say", hums, "--symbols", "32", "--model", models, *options])
    with pytest.raises(ValueError, match="does not exist"):
        cli.task(["say", "/no/such.wav", "--model", models])


def program(tmp_path, text: str) -> str:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_what_is_said_here_is_done_there(models, hums, tmp_path):
    port = free_port()
    done = tmp_path / "done"
    listener = Command(
        tmp_path, "task", "listen", "--listen", f"127.0.0.1:{port}", "--model", models,
        "--confidence", "0", "--seconds", "60",
        "--exec", program(tmp_path, f'echo "$#" "$1" >> {done}'),
    )  # fmt: skip
    listener.hears("listening at")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for packet in (
            packet_of(np.array([9.0, 0, 0, 0]), 0, LABELS),
            packet_of(np.array([0, 0, 9.0, 0]), 1, LABELS),
            b"nonsense",
            packet_of(np.array([9.0, 0, 0, 0]), 2, ("x", *LABELS[1:])),
            packet_of(np.array([0, 9.0, 0, 0]), 3, LABELS),
        ):
            out.sendto(packet, ("127.0.0.1", port))
    wait_until(lambda: done.exists() and len(done.read_text().split()) >= 4)
    listener.signal(15)
    assert listener.wait() == 0
    assert sorted(done.read_text().splitlines()) == ["1 off", "1 on"]
    with open(listener.stdout) as out:
        found = lines_of(out.read())
    assert [(f["index"], f["label"], f["understood"]) for f in found] == [
        (0, "on", True), (1, "_unknown_", False), (3, "off", True)
    ]  # fmt: skip
    assert "a packet is refused" in listener.said() and "2 packets were refused" in listener.said()


def test_say_sends_packets(models, hums, capsys):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(30)
        to = f"127.0.0.1:{heard.getsockname()[1]}"
        assert cli.task(["say", hums, "--model", models, "--to", to]) == 0
        packets = [heard.recv(2048) for _ in range(2)]
    assert all(len(p) == 9 for p in packets)
    assert [f["sent"] for f in lines_of(capsys.readouterr().out)] == [True, True]
    with pytest.raises(ValueError, match="host:port"):
        cli.task(["say", hums, "--model", models, "--to", "nowhere"])


def test_programs_that_fail_or_hang_do_not_stop_it(tmp_path, capsys):
    with pytest.raises(ValueError, match="--exec '/no/such' is no program that can be run"):
        cli.Programs("/no/such")
    failing = cli.Programs(program(tmp_path, "exit 3"))
    failing.run("on")
    failing.finish()
    assert failing.counters == {"started": 1, "failed": 1, "passed_over": 0}
    assert "on ended with status 3" in capsys.readouterr().err
    gone = cli.Programs(program(tmp_path, "exit 0"))
    (tmp_path / "program").unlink()
    gone.run("on")
    assert gone.counters["failed"] == 1 and "could not be started" in capsys.readouterr().err
    hanging = cli.Programs(program(tmp_path, "exec sleep 60"))
    for _ in range(6):
        hanging.run("on")
    assert hanging.counters == {"started": 4, "failed": 0, "passed_over": 2}
    for one in hanging._running:
        one.kill()
        one.wait()


def test_labels_are_never_a_command_line(tmp_path):
    """A label is one argument, whatever stands in it."""
    out = tmp_path / "out"
    programs = cli.Programs(program(tmp_path, f'printf "%s|" "$@" > {out}'))
    programs.run("a; rm -rf $HOME `id`")
    programs.finish()
    assert out.read_text() == "a; rm -rf $HOME `id`|"


def test_model_of_the_tests_is_what_these_expect(models):
    assert load_task(models).config.labels == LABELS

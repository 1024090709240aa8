# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line, as a user calls it."""

import io
import json
import os
import queue
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import soundfile
from commands import Command
from gnuradio.largesc.cli.main import main
from helpers import LARGESC, PATIENCE_S, free_port


def write(path, samples, rate=24000):
    soundfile.write(path, samples, rate)
    return str(path)


def test_help_names_every_command():
    text = subprocess.run([*LARGESC, "--help"], check=True, capture_output=True, text=True).stdout
    for name in ("loopback", "tx", "channel", "rx", "doctor", "demo"):
        assert name in text


def test_loopback_resamples_mixes_and_says_so(tmp_path, capsys, speech, models):
    stereo = np.repeat(speech[::3, None], 2, axis=1)
    source = write(tmp_path / "in.wav", stereo, 8000)
    options = ["--codec", models, "--loss", "0.2", "--burst", "3", "--concealer", "repeat"]
    assert main(["loopback", source, str(tmp_path / "out.wav"), *options, "--json"]) == 0
    said = capsys.readouterr()
    assert "resampled from 8000" in said.err and "2 channels" in said.err
    facts = json.loads(said.out)["summary"]
    assert facts["frames"] == 51 and facts["total_bps_udp"] > facts["total_bps_radio"]
    assert facts["total_bps_radio"] > facts["payload_bps"] > 0
    out, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 24000 and abs(len(out) - len(speech)) <= 3


def test_loopback_from_pipe_to_pipe(tmp_path, speech, models):
    source = Path(write(tmp_path / "in.wav", speech)).read_bytes()
    ways = [str(tmp_path / name) for name in ("to", "from")]
    for way in ways:
        os.mkfifo(way)
    small = ["--codec", models, "--concealer", "repeat"]
    done = Command(tmp_path, "loopback", "-", "-", *small, stdin=ways[0], stdout=ways[1])
    heard = queue.Queue()
    threading.Thread(target=lambda: heard.put(Path(ways[1]).read_bytes()), daemon=True).start()
    Path(ways[0]).write_bytes(source)
    out, rate = soundfile.read(io.BytesIO(heard.get(timeout=PATIENCE_S)))
    assert done.wait() == 0
    assert rate == 24000 and len(out) == len(speech)


def test_three_processes_over_pipes(tmp_path, speech, models):
    source, target = write(tmp_path / "in.wav", speech), str(tmp_path / "out.wav")
    sent, passed = (str(tmp_path / name) for name in ("sent", "passed"))
    for way in (sent, passed):
        os.mkfifo(way)
    tx = Command(tmp_path, "tx", source, "--codec", models, stdout=sent)
    channel = Command(tmp_path, "channel", "--loss", "0.2", stdin=sent, stdout=passed)
    small = ["--codec", models, "--concealer", "repeat"]
    rx = Command(tmp_path, "rx", target, *small, stdin=passed)
    assert tx.wait() == channel.wait() == rx.wait() == 0
    out, _ = soundfile.read(target)
    assert abs(len(out) - 50 * 1920 + 480) <= 2 * 1920


def lose_end_packets(heard: socket.socket, address: str, count: int) -> None:
    """Passes packets on, but for so many end packets."""
    host, port = address.split(":")
    heard.settimeout(60.0)
    while True:
        try:
            packet = heard.recv(2048)
        except OSError:
            return
        if packet[1] == 0xE0 and count > 0:
            count -= 1
            continue
        heard.sendto(packet, (host, int(port)))


def test_two_processes_over_udp_that_loses_two_end_packets(tmp_path, speech, models):
    source, target = write(tmp_path / "in.wav", speech), str(tmp_path / "out.wav")
    address = f"127.0.0.1:{free_port()}"
    common = ["--codec", models, "--json"]
    rx = Command(
        tmp_path, "rx", target, "--listen", address, "--seconds", "60", *common,
        "--concealer", "repeat",
    )  # fmt: skip
    rx.hears("listening")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        between = (heard, address, 2)
        threading.Thread(target=lose_end_packets, args=between, daemon=True).start()
        to = f"127.0.0.1:{heard.getsockname()[1]}"
        tx = Command(tmp_path, "tx", source, "--to", to, *common)
        assert tx.wait() == 0 and rx.wait() == 0, (tx.said(), rx.said())
    assert tx.facts()["summary"]["packets"] == 50 + 3
    facts = rx.facts()["summary"]
    # The receiver ends with the sender's end packet, not 5 s later or with --seconds.
    assert 45 <= facts["frames_released"] <= 60
    out, _ = soundfile.read(target)
    assert len(out) >= 45 * 1920


def test_bad_options_are_one_line(tmp_path, capsys, speech, models):
    source = write(tmp_path / "in.wav", speech)
    for options, words in (
        (["--budget", "50"], "budget_bps 50"),
        (["--loss", "2"], "loss_probability 2"),
        (["--frames-per-packet", "9"], "9"),
        (["--distance", "0"], "--distance 0"),
        (["--codec", "nowhere"], "nowhere"),
    ):
        small = ["--codec", models, "--concealer", "repeat"]
        assert main(["loopback", source, str(tmp_path / "o.wav"), *small, *options]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, (options, said)


def test_doctor_speaks_of_every_part(capsys):
    status = main(["doctor"])
    said = capsys.readouterr().out
    for part in ("GNU Radio", "module", "bindings", "torch", "moshi", "models", "GPU", "GRC"):
        assert part in said
    assert status == (1 if "missing " in said else 0)

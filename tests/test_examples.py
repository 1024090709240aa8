# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example compiles; those without a display run."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from commands import Command, ignore_interrupts, main_of
from helpers import wait_until

ROOT = Path(__file__).parent.parent
YMLS = sorted((ROOT / "grc").glob("*.block.yml"))
GRCS = sorted((ROOT / "examples").glob("*.grc"))
OFFSCREEN = os.environ | {"QT_QPA_PLATFORM": "offscreen"}


@pytest.mark.parametrize("path", YMLS, ids=lambda p: p.name)
def test_block_description_is_complete(path):
    found = yaml.safe_load(path.read_text())
    assert found["category"].startswith("[LargeSC]")
    assert found["asserts"]
    for section in ("Input", "Output", "Parameters", "Metadata"):
        assert section in found["documentation"], section
    from gnuradio import largesc

    assert hasattr(largesc, found["id"].removeprefix("largesc_"))


@pytest.mark.parametrize("path", GRCS, ids=lambda p: p.name)
def test_flowgraph_compiles(path, tmp_path):
    environment = os.environ | {"GRC_BLOCKS_PATH": str(ROOT / "grc")}
    done = subprocess.run(
        ["grcc", "-o", str(tmp_path), str(path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("Error while loading", done.stdout + done.stderr)
    assert (tmp_path / f"{path.stem}.py").exists()


@pytest.mark.parametrize("path", GRCS, ids=lambda p: p.name)
def test_a_steady_stream_has_a_clock(path):
    """Without one, silence runs as fast as a core can."""
    found = [b for b in yaml.safe_load(path.read_text())["blocks"] if "_tx" in b["id"]]
    steady = any(block["parameters"].get("continuous") == "True" for block in found)
    paced = "id: blocks_throttle" in path.read_text()
    assert paced or not steady


def test_what_companion_writes_collides_with_nothing():
    """F6 writes ID.py beside the flowgraph."""
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "examples"], capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    written = {
        f"examples/{yaml.safe_load(p.read_text())['options']['parameters']['id']}.py" for p in GRCS
    }
    assert len(written) == len(GRCS)
    assert not written & set(tracked.stdout.split())
    # Nor do they stand among what is to be committed.
    ignored = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", *sorted(written)], capture_output=True, text=True
    )
    assert set(ignored.stdout.split()) == written


def compiled(name: str, folder: Path) -> str:
    environment = os.environ | {"GRC_BLOCKS_PATH": str(ROOT / "grc")}
    grc = str(ROOT / "examples" / f"{name}.grc")
    subprocess.run(
        ["grcc", "-o", str(folder), grc], check=True, capture_output=True, env=environment
    )
    return str(folder / f"{name}.py")


# Packets over UDP; samples over ZMQ, with a modem and a channel in between.
@pytest.mark.parametrize("prefix", ["", "radio_"])
def test_two_processes(tmp_path, prefix):
    script_tx, script_rx = (compiled(prefix + end, tmp_path) for end in ("tx", "rx"))
    out = tmp_path / "out.wav"

    def receiving() -> bool:
        """The receiver plays, if only comfort noise."""
        return out.exists() and out.stat().st_size > 48_000

    def speech_came_out() -> bool:
        """The receiver plays more than comfort noise."""
        pcm = np.frombuffer(out.read_bytes()[44:], dtype=np.uint8)
        samples = pcm[: len(pcm) // 2 * 2].view(np.int16) / 32768.0
        return np.sqrt(np.mean(samples**2)) > 1e-3

    with ExitStack() as stack:
        for script, arguments, ready in (
            (script_rx, ["--wav-out", str(out)], receiving),
            (script_tx, [], speech_came_out),
        ):
            command = [sys.executable, script, *arguments]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=OFFSCREEN)
            stack.callback(process.wait, timeout=60)
            stack.callback(process.send_signal, signal.SIGINT)
            wait_until(ready, every_s=0.2)
    speech = soundfile.read(out)[0]
    assert np.sqrt(np.mean(speech**2)) > 1e-3, "nothing but comfort noise came out"


def test_text_and_call_sign_are_read_on_the_console(tmp_path, speech):
    """As radio.py tells them, without a look at the window."""
    script, said = compiled("radio_rx", tmp_path), tmp_path / "said"
    soundfile.write(tmp_path / "in.wav", np.tile(speech, 20), 24000)
    sender = [str(ROOT / "examples" / "radio.py"), "tx", str(tmp_path / "in.wav"), "--simulate"]
    address = f"ipc://{tmp_path}/air"
    # The rate that the flowgraph has as it comes.
    words = ["--sample-rate", "48e3", "--call-sign", "N0CALL", "--text", "QTH Köln"]
    with ExitStack() as stack:
        stderr = stack.enter_context(said.open("w"))
        for command in (
            [script, "--wav-out", str(tmp_path / "out.wav"), "--address", address],
            [*sender, "--to", address, *words],
        ):
            process = subprocess.Popen(
                [sys.executable, *command], stdout=stderr, stderr=stderr, env=OFFSCREEN
            )
            stack.callback(process.wait, timeout=60)
            stack.callback(process.send_signal, signal.SIGINT)
        wait_until(lambda: "Text: N0CALL: QTH Köln\n" in said.read_text(), every_s=0.2)


def test_loopback_with_a_display_runs(tmp_path):
    script = compiled("loopback", tmp_path)
    done = subprocess.run(
        ["timeout", "15", sys.executable, script], capture_output=True, text=True, env=OFFSCREEN
    )
    assert done.returncode == 124, done.stderr
    assert "Traceback" not in done.stderr


def test_analogue_speech_with_a_display_is_heard(tmp_path):
    script, said, out = compiled("analogue_speech", tmp_path), tmp_path / "said", tmp_path / "o.wav"
    with said.open("w") as log:
        command = [sys.executable, "-u", script, "--wav-out", str(out)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=OFFSCREEN)
        try:
            wait_until(lambda: "bursts 2" in said.read_text(), every_s=0.2)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    assert "Traceback" not in said.read_text()
    assert "SNR of a symbol" in said.read_text() and out.stat().st_size > 48_000


def test_headless_loopback_runs(tmp_path):
    samples = 0.1 * np.random.default_rng(0).standard_normal(24000)
    soundfile.write(tmp_path / "in.wav", samples, 24000)
    script = str(ROOT / "examples" / "loopback_headless.py")
    files = [str(tmp_path / "in.wav"), str(tmp_path / "out.wav")]
    subprocess.run([sys.executable, script, *files, "--loss", "0.3"], check=True, timeout=120)
    # The end of a WAV is whole frames.
    assert len(soundfile.read(tmp_path / "out.wav")[0]) == 13 * 1920


def in_the_background(folder: Path, name: str, *arguments: str) -> Command:
    """An example as a script starts it with `&`."""
    main = partial(main_of, name, folder=str(ROOT / "examples"))
    return Command(folder, *arguments, main=main, prepare=ignore_interrupts)


def test_interrupted_loopback_is_as_long_as_what_was_done(tmp_path, speech):
    soundfile.write(tmp_path / "in.wav", np.tile(speech, 50), 24000)
    out = tmp_path / "out.wav"
    example = in_the_background(tmp_path, "loopback_headless", "in.wav", "out.wav")
    wait_until(lambda: out.exists() and out.stat().st_size > 50000)
    example.signal(signal.SIGINT)
    assert example.wait() == 128 + signal.SIGINT
    assert "'frames'" in Path(example.stdout).read_text()
    assert 1920 < len(soundfile.read(out)[0]) < 100 * len(speech)


def test_interrupted_station_says_what_it_did(tmp_path, speech):
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    files = ["--source", "in.wav", "--sink", "out.wav", "--concealer", "repeat"]
    example = in_the_background(tmp_path, "push_to_talk", "--headless", "--simulate", *files)
    out = tmp_path / "out.wav"
    wait_until(lambda: out.exists() and out.stat().st_size > 10000)
    example.signal(signal.SIGINT)
    assert example.wait() == 0
    assert json.loads(Path(example.stdout).read_text().splitlines()[-1])["packets_sent"] == 0


def test_signals_end_an_example_but_that_of_a_terminal_under_nohup(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from transceiver import on_signals

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    came = []
    try:
        on_signals(lambda: came.append("stop"))
        for number in numbers:
            signal.raise_signal(number)
        assert came == ["stop", "stop"]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        on_signals(lambda: came.append("stop"))
        signal.raise_signal(signal.SIGHUP)
        assert came == ["stop"] * 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What surrounds a command: full and closed outputs, signals, a home, and a peer that differs."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import CLOSED, Command, ignore_interrupts
from gnuradio.largesc.cli import doctor, facts
from gnuradio.largesc.cli.main import main

SPEECH_S = 1.0
KEY = bytes(range(32))


@pytest.fixture
def largesc(tmp_path, speech, models):
    """Starts a command with small models, in a folder with in.wav, long.wav and key."""
    soundfile.write(tmp_path / "in.wav", speech[: int(24000 * SPEECH_S)], 24000)
    soundfile.write(tmp_path / "long.wav", np.tile(speech, 100), 24000)
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    options = {"tx": ["--codec", models], "channel": []}
    options["rx"] = options["loopback"] = ["--codec", models, "--concealer", "repeat"]
    running = []

    def start(name: str, *arguments: str, **surroundings: object) -> Command:
        more = options.get(name, [])
        running.append(Command(tmp_path, name, *arguments, *more, **surroundings))
        return running[-1]

    yield start
    for command in running:
        command.process.kill()


@pytest.fixture
def packets(tmp_path, largesc) -> str:
    """A file of the packets of in.wav."""
    tx = largesc("tx", "in.wav", stdout=str(tmp_path / "packets"))
    assert tx.wait() == 0, tx.said()
    return tx.stdout


def free_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def packets_of(data: bytes) -> list[bytes]:
    """The packets of a pipe, which must be nothing else."""
    found = []
    while data:
        size = int.from_bytes(data[:2], "big")
        assert 0 < size < 128 and len(data) >= 2 + size
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


def test_full_output_is_one_line(largesc, packets):
    full = {"stdout": "/dev/full"}
    for command in (
        largesc("tx", "in.wav", **full),
        largesc("channel", stdin=packets, **full),
        largesc("loopback", "in.wav", "-", **full),
        largesc("loopback", "in.wav", "/dev/full"),
        largesc("rx", "-", stdin=packets, **full),
        largesc("rx", "/dev/full", stdin=packets),
        largesc("doctor", **full),
        largesc("loopback", "in.wav", "out.wav", "--json", **full),
    ):
        assert command.wait() == 2, command.said()
        assert command.said().count("No space left") == 1, command.said()


def no_reader() -> None:
    """Stdout becomes a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.dup2(write, 1)
    os.close(read)
    os.close(write)


def test_reader_that_has_gone_is_no_error(largesc, packets):
    for command in (
        largesc("tx", "long.wav", prepare=no_reader),
        largesc("channel", stdin=packets, prepare=no_reader),
        largesc("rx", "-", stdin=packets, prepare=no_reader),
        largesc("loopback", "long.wav", "-", prepare=no_reader),
    ):
        # Soon, and not behind 400 s of speech.
        assert command.wait() == 0 and "written" not in command.said()


def test_closed_descriptors(largesc, packets):
    tx = largesc("tx", "in.wav", "--json", "facts.json", stderr=CLOSED)
    assert tx.wait() == 0
    assert Path(tx.stdout).read_bytes() == Path(packets).read_bytes()
    for command, words in (
        (largesc("tx", "in.wav", stdout=CLOSED), "stdout is closed"),
        (largesc("tx", stdin=CLOSED), "stdin is closed"),
        (largesc("channel", stdin=CLOSED), "stdin is closed"),
        (largesc("rx", "out.wav", stdin=CLOSED), "stdin is closed"),
        (largesc("rx", stdin=packets, stdout=CLOSED), "stdout is closed"),
        (largesc("loopback", "in.wav", "-", stdout=CLOSED), "stdout is closed"),
    ):
        assert command.wait() == 2 and words in command.said()
        assert command.said().count("\n") == 1
    # Nothing but the null device is in the place of what was closed.
    assert largesc("loopback", "in.wav", "out.wav", stdin=CLOSED, stdout=CLOSED).wait() == 0


def test_outputs_are_checked_before_the_work(tmp_path, capsys, largesc, models):
    source, small = str(tmp_path / "in.wav"), ["--codec", models, "--concealer", "repeat"]
    nowhere = str(tmp_path / "nowhere" / "out.wav")
    for arguments, words in (
        (["loopback", source, nowhere, *small], "nowhere/out.wav cannot be written"),
        (["loopback", source, source, *small], "is the input as well"),
        (["loopback", source, "out.wav", "--json", nowhere, *small], "ends in .json"),
        (["loopback", source, "out.wav", "--json", nowhere + ".json", *small], "be written"),
        (["tx", source, "--json"], "packets go to stdout"),
        (["tx", "--json", source], "ends in .json"),
        (["rx", "--json"], "speech goes to stdout"),
        (["demo", source, "--output", "/dev/null/x"], "/dev/null/x cannot be written"),
        (["study", "closed_loop", "--output", "/dev/null/x"], "be written"),
    ):
        before = Path(source).read_bytes()
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, (arguments, said)
        assert Path(source).read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_a_live_command_with_statistics(largesc, tmp_path, number):
    at, way = free_address(), free_address()
    quiet = {"prepare": ignore_interrupts}
    rx = largesc("rx", "out.wav", "--listen", at, "--json", **quiet)
    channel = largesc("channel", "--listen", way, "--to", at, "--json", **quiet)
    rx.hears("listening")
    channel.hears("listening")
    tx = largesc("tx", "long.wav", "--to", way, "--json", **quiet)
    rx.hears("packets come from")
    time.sleep(1.0)
    for command, name in ((tx, "packets"), (channel, "sent"), (rx, "packets_received")):
        command.signal(number)
        assert command.wait() == 0, command.said()
        found = command.facts()
        assert found["interrupted"] and found["summary"][name] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_file_is_truthful(largesc, tmp_path, number):
    command = largesc("loopback", "long.wav", "out.wav", "--json", prepare=ignore_interrupts)
    while not (tmp_path / "out.wav").exists() or (tmp_path / "out.wav").stat().st_size < 50000:
        time.sleep(0.02)
        assert command.process.is_alive(), command.said()
    command.signal(number)
    assert command.wait() == 128 + number
    found = command.facts()
    assert found["interrupted"] and "times_real_time" not in found["summary"]
    out, _ = soundfile.read(tmp_path / "out.wav")
    heard = found["blocks"]["decoder"]["frames"] * 1920
    assert heard - 8 * 1920 < len(out) <= heard < 400 * 24000
    assert (tmp_path / "out.wav").stat().st_size == 44 + 2 * len(out)


def test_interrupted_demo_says_what_is_done(largesc, tmp_path):
    command = largesc("demo", "long.wav", "--output", "demo")
    while not (tmp_path / "demo" / "original.wav").exists():
        time.sleep(0.02)
        assert command.process.is_alive(), command.said()
    time.sleep(2.0)
    command.signal(signal.SIGTERM)
    assert command.wait() == 128 + signal.SIGTERM
    assert "interrupted: 0 of 3 settings are done" in command.said()
    assert not (tmp_path / "demo" / "loss-free.wav").exists()


def test_interrupted_pipe_is_truthful(largesc, tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    # Whoever holds the other end neither writes nor reads.
    end = os.open(fifo, os.O_RDWR)
    for arguments, files in (
        (("channel",), {"stdin": fifo}),
        (("rx", "out.wav"), {"stdin": fifo}),
        (("tx", "long.wav"), {"stdout": fifo}),
    ):
        command = largesc(*arguments, "--json", "facts.json", **files)
        if files.get("stdout"):
            # Until the pipe is full.
            time.sleep(1.0)
        time.sleep(1.0)
        command.signal(signal.SIGTERM)
        assert command.wait() == 128 + signal.SIGTERM, command.said()
    os.close(end)


def test_receiver_that_understands_nothing_says_why(largesc, tmp_path, packets):
    wrong = tmp_path / "wrong"
    for data, words in (
        (b"", "no packet came from stdin"),
        (b"hello, this is text\n" * 9, "stdin is no stream of packets"),
        ((tmp_path / "in.wav").read_bytes(), "stdin is no stream of packets"),
        (bytes(5000), "stdin is no stream of packets"),
        (b"\0\x05\x01\x02\x03\x04\x05" * 20, "none of 20 packets was understood: refused_"),
    ):
        wrong.write_bytes(data)
        rx = largesc("rx", "out.wav", stdin=str(wrong))
        assert rx.wait() != 0 and words in rx.said(), rx.said()
    for options, words in ((["--key", "key"], "refused_"), (["--no-crc"], "understood")):
        rx = largesc("rx", "out.wav", *options, stdin=packets)
        status = rx.wait()
        if options == ["--no-crc"] and status == 0:
            continue
        assert status == 1 and words in rx.said(), rx.said()


def test_what_is_whole_of_a_cut_stream_is_read(largesc, tmp_path, packets):
    data = Path(packets).read_bytes()
    (tmp_path / "cut").write_bytes(data[:-1])
    rx = largesc("rx", "out.wav", "--json", stdin=str(tmp_path / "cut"))
    assert rx.wait() != 0 and "ends within a packet" in rx.said()
    assert rx.facts()["summary"]["packets_received"] > 5


def homeless() -> None:
    os.environ["HOME"] = "/dev/null/home"


def test_home_that_cannot_be_written(largesc):
    assert largesc("loopback", "in.wav", "out.wav", prepare=homeless).wait() == 0
    command = largesc("doctor", prepare=homeless)
    assert command.wait() == 1
    assert re.search("missing  home .*/dev/null/home", Path(command.stdout).read_text())


def test_json_has_one_form(largesc, tmp_path, packets):
    for command, path, blocks in (
        (largesc("loopback", "in.wav", "a.wav", "--json"), None, "encoder channel decoder"),
        (largesc("tx", "in.wav", "--json", "tx.json"), "tx.json", "encoder packetizer"),
        (largesc("channel", "--json", "c.json", stdin=packets), "c.json", "channel"),
        (largesc("rx", "b.wav", "--json", stdin=packets), None, "depacketizer concealer decoder"),
    ):
        assert command.wait() == 0, command.said()
        found = command.facts(tmp_path / path if path else None)
        assert list(found) == ["largesc", "command", "interrupted", "summary", "blocks"]
        assert set(blocks.split()) <= set(found["blocks"])
        for counters in (found["summary"], *found["blocks"].values()):
            numbers = {k: v for k, v in counters.items() if k != "refusal_reason"}
            assert numbers and all(isinstance(v, int | float) for v in numbers.values())
        assert "{" not in command.said()


def test_json_is_rounded_and_valid():
    whole = facts.document("rx", {"loss": 1 / 3, "b": {"x": float("nan"), "n": 123456789}}, False)
    assert whole["summary"] == {"loss": 0.333333}
    assert whole["blocks"] == {"b": {"x": None, "n": 123456789}}


def test_doctor_checks_each_of_the_weights(tmp_path, monkeypatch, models):
    monkeypatch.setattr(doctor, "EMBEDDED", Path(models))
    assert "checksums right" in doctor._models()
    for part in doctor.PARTS:
        folder = tmp_path / part
        folder.mkdir()
        for path in Path(models).iterdir():
            (folder / path.name).symlink_to(path)
        monkeypatch.setattr(doctor, "EMBEDDED", folder)
        (folder / f"{part}.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=f"{part}.safetensors is missing"):
            doctor._models()
        (folder / f"{part}.safetensors").write_bytes(b"something else")
        with pytest.raises(ValueError, match=f"{part}.safetensors is corrupt"):
            doctor._models()


@pytest.fixture
def bare(tmp_path) -> list[str]:
    """Runs `largesc` without site-packages: neither GNU Radio, numpy nor torch is there."""
    import gnuradio.largesc

    # Nothing that may lie beside the module is on the path.
    alone = tmp_path / "alone"
    (alone / "gnuradio").mkdir(parents=True)
    (alone / "gnuradio" / "largesc").symlink_to(Path(gnuradio.largesc.__file__).parent)
    run = "from gnuradio.largesc.cli.main import main; sys.exit(main(sys.argv[1:]))"
    program = f"import sys; sys.path.insert(0, {str(alone)!r}); {run}"
    return [sys.executable, "-I", "-S", "-c", program]


def test_bare_python_has_a_doctor_and_remedies(bare):
    done = subprocess.run([*bare, "doctor"], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    for name in ("GNU Radio", "numpy", "soundfile", "torch", "moshi"):
        assert re.search(f"missing  {name} .*\n *remedy: .*install", done.stdout), done.stdout
    assert "found    models" in done.stdout
    for option in ("--version", "--help"):
        done = subprocess.run([*bare, option], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith(("largesc ", "usage: largesc"))
    for command in ("loopback", "tx", "channel", "rx", "demo"):
        done = subprocess.run([*bare, command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and f"usage: largesc {command}" in done.stdout, done.stderr
    done = subprocess.run([*bare, "tx", "in.wav"], capture_output=True, text=True)
    assert done.returncode == 2 and "install" in done.stderr and done.stderr.count("\n") == 1


def test_doctor_sees_another_installation(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    assert "not used" not in doctor._prefix()
    (tmp_path / "gnuradio" / "largesc").mkdir(parents=True)
    (tmp_path / "gnuradio" / "largesc" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert f"another one, which is not used, in {tmp_path}" in doctor._prefix()


def test_doctor_knows_numpy_2_and_another_pybind11(monkeypatch):
    import numpy
    from gnuradio import blocks
    from gnuradio.largesc import _blocks

    def refuse(*_: object) -> None:
        raise TypeError("incompatible constructor arguments")

    assert doctor._numpy() == numpy.__version__
    monkeypatch.setattr(numpy, "__version__", "2.3.0")
    assert doctor._numpy() == "2.3.0"
    monkeypatch.setattr(blocks, "vector_source_c", refuse)
    with pytest.raises(doctor.CureError, match="2.3.0 is too new") as found:
        doctor._numpy()
    assert found.value.remedy == "pip install 'numpy<2'"
    assert "GNU Radio takes them" in doctor._bindings()
    monkeypatch.setattr(_blocks, "loss_channel", refuse)
    with pytest.raises(doctor.CureError, match="does not take the blocks") as found:
        doctor._bindings()
    assert "pybind11-dev" in found.value.remedy


def test_block_without_torch_names_the_remedy():
    block = "import sys; sys.modules['torch'] = None; from gnuradio import largesc; "
    block += "largesc.mimi_encoder"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    assert "mimi_encoder: the Python package torch is missing" in done.stderr
    assert "pip install" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("loopback --seed -1", "seed -1"),
        ("loopback --seed 99999999999999999999", "seed 9999"),
        ("loopback --samples 0", "samples 0"),
        ("loopback --top-k 0", "top_k 0"),
        ("loopback --temperature nan", "temperature nan"),
        ("loopback --threads 0", "threads 0"),
        ("loopback --threads 1000000", "threads 1000000"),
        ("loopback --loss nan", "loss_probability nan"),
        ("loopback --budget inf", "budget_bps inf"),
        ("loopback --burst -1", "mean_burst -1"),
        ("loopback --jitter-ms -1", "jitter_ms -1"),
        ("loopback --bit-errors 2", "bit_error_rate 2"),
        ("loopback --raw 0", "a rate of 0 Hz"),
        ("loopback --raw 999999999", "a rate of 999999999 Hz"),
        ("loopback --trace /dev/zero", "/dev/zero"),
        ("loopback --trace /", "/"),
        ("tx --cautious-loss 2 --to 127.0.0.1:9", "cautious_loss 2"),
        ("tx --expected-burst 0", "mean_burst_packets 0"),
        ("tx --to 127.0.0.1:99999", "host:port"),
        ("rx --deadline-ms -5 --listen 127.0.0.1:52398", "deadline_ms -5"),
        ("rx --max-deadline-ms 999999 --listen 127.0.0.1:52398", "max_deadline_ms 999999"),
        ("rx --seconds nan", "--seconds nan"),
        ("rx --raw 8000", "--raw 8000"),
        ("rx --report-interval-ms -1 --listen 127.0.0.1:52398", "interval_ms -1"),
        ("channel --seconds -1", "--seconds -1"),
        ("channel --seed -1", "seed -1"),
    ],
)
def test_number_out_of_range_is_one_line(tmp_path, capsys, speech, models, arguments, words):
    name, *options = arguments.split()
    source = str(tmp_path / "in.wav")
    soundfile.write(source, speech[:4800], 24000)
    files = {"loopback": [source, str(tmp_path / "out.wav")], "tx": [source]}
    files["rx"] = [str(tmp_path / "out.wav")]
    small = [] if name == "channel" else ["--codec", models]
    if name in ("rx", "loopback"):
        small += ["--concealer", "repeat"]
    with open("/dev/null") as nothing:
        sys.stdin, before = nothing, sys.stdin
        status = main([name, *files.get(name, []), *options, *small])
        sys.stdin = before
    said = capsys.readouterr().err
    assert status == 2 and words in said and said.count("\n") == 1, said

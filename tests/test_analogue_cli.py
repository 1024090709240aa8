# SPDX-License-Identifier: GPL-3.0-or-later
"""The command analogue: what it writes, and what it says of bad input."""

import json
from pathlib import Path

import pytest
import soundfile
from commands import Command
from gnuradio.largesc.cli.main import main
from test_analogue import RATE, tone


@pytest.fixture(scope="module")
def wav(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("said") / "in.wav"
    soundfile.write(path, tone(1.6), RATE)
    return str(path)


def test_the_command_gives_as_much_as_it_got(wav, tmp_path, capsys):
    out = tmp_path / "out.wav"
    options = ["--snr", "0", "--channel", "rayleigh", "--doppler", "0.5", "--seed", "3", "--json"]
    assert main(["analogue", wav, str(out), *options]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert facts["bursts_sent"] == 3 and 0 <= facts["bursts"] <= 3
    assert facts["bandwidth_hz"] == 2250 and facts["delay_s"] == pytest.approx(1.38, abs=0.01)
    assert "bursts read, 2250 Hz" in said.err
    heard, rate = soundfile.read(out)
    assert rate == RATE and len(heard) == round(1.6 * RATE)


def test_the_command_reads_raw_speech_from_stdin(tmp_path):
    (tmp_path / "pcm").write_bytes((32767 * tone(0.7)).astype("<i2").tobytes())
    options = ["--raw", "24000", "--channel", "none", "--profile", "narrow", "--json"]
    done = Command(tmp_path, "analogue", "-", "out.wav", *options, stdin=str(tmp_path / "pcm"))
    assert done.wait() == 0, Path(done.stderr).read_text()
    assert json.loads(Path(done.stdout).read_text())["bursts"] == 2
    assert len(soundfile.read(tmp_path / "out.wav")[0]) == round(0.7 * RATE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--snr", "nan"], "--snr nan is out of range: use -100 to 100"),
        (["--snr", "1000"], "--snr 1000 is out of range"),
        (["--channel", "rayleigh", "--doppler", "-1"], "--doppler -1 is out of range"),
        (["--doppler", "1"], "--doppler would do nothing with --channel awgn: use --channel rayl"),
        (["--channel", "none", "--snr", "0", "--seed", "1"], "--snr and --seed would do nothing"),
        (["--seed", "-1"], "--seed -1 is out of range"),
        (["--codec", "/nowhere"], "unknown model '/nowhere'"),
        (["--model", "/nowhere"], "unknown model '/nowhere'"),
    ],
)
def test_bad_options_are_named(wav, tmp_path, capsys, options, said):
    out = tmp_path / "out.wav"
    assert main(["analogue", wav, str(out), *options]) == 2
    assert said in capsys.readouterr().err and not out.exists()


def test_the_command_says_when_nothing_was_read(wav, tmp_path, capsys):
    assert main(["analogue", wav, str(tmp_path / "out.wav"), "--snr", "-60", "--json"]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert facts["bursts"] == 0 and facts["symbol_snr_db"] is None and facts["unsure"] is None
    assert "bursts was read, and nothing but comfort noise is heard: raise --snr" in said.err


def test_files_that_cannot_be_are_named(wav, tmp_path, capsys):
    assert main(["analogue", wav, "-"]) == 2
    assert "the output - is no file: name a WAV file" in capsys.readouterr().err
    before = Path(wav).read_bytes()
    assert main(["analogue", wav, wav]) == 2
    assert "is the input as well: give another file" in capsys.readouterr().err
    assert Path(wav).read_bytes() == before
    assert main(["analogue", "/no/such.wav", str(tmp_path / "out.wav")]) == 2
    assert "/no/such.wav" in capsys.readouterr().err
    for target in (tmp_path / "nowhere" / "out.wav", tmp_path):
        assert main(["analogue", wav, str(target)]) == 2
        assert f"{target} cannot be written: use a folder that is there" in capsys.readouterr().err

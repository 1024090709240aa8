# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of largesc rx, which is right while it grows."""

import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.flowgraphs import speech_writer as module
from gnuradio.largesc.flowgraphs.speech_writer import speech_writer, wav_header
from gnuradio.largesc.speech.files import AudioError

WRITE_FOR_EVER = """
import sys
from gnuradio import analog, gr
from gnuradio.largesc._blocks import real_time
from gnuradio.largesc.flowgraphs.speech_writer import speech_writer
tb = gr.top_block()
tone = analog.sig_source_f(24000, analog.GR_COS_WAVE, 100, 0.5)
pace, sink = real_time(), speech_writer(target=sys.argv[1])
tb.connect(tone, pace, sink)
tb.run()
"""


def write(path, samples, **options) -> speech_writer:
    sink = speech_writer(target=path if isinstance(path, int) else str(path), **options)
    for part in np.array_split(np.asarray(samples, dtype=np.float32), 100):
        assert sink.work([part], []) == len(part)
    return sink


@pytest.mark.parametrize("seconds", [0.0, 0.3, 3.3])
def test_file_is_that_of_soundfile(tmp_path, seconds):
    samples = np.random.default_rng(1).uniform(-1, 1, int(24000 * seconds)).astype(np.float32)
    write(tmp_path / "ours.wav", samples).stop()
    soundfile.write(tmp_path / "theirs.wav", samples, 24000, subtype="PCM_16")
    ours, theirs = ((tmp_path / f"{name}.wav").read_bytes() for name in ("ours", "theirs"))
    assert ours[:44] == theirs[:44] == wav_header(2 * len(samples)) and len(ours) == len(theirs)
    error = np.frombuffer(ours[44:], "<i2").astype(int) - np.frombuffer(theirs[44:], "<i2")
    assert np.max(np.abs(error), initial=0) <= 1


def test_raw_skip_and_what_is_no_number(tmp_path):
    sink = write(tmp_path / "out.raw", [0.1] * 1000 + [np.nan, 2.0, -np.inf], raw=True)
    sink.stop()
    assert (tmp_path / "out.raw").stat().st_size == 2 * 1003
    write(tmp_path / "out.raw", [0.1] * 1000 + [np.nan, 2.0], raw=True, skip_samples=1000).stop()
    assert (tmp_path / "out.raw").read_bytes() == struct.pack("<2h", 0, 32767)


def test_killed_while_it_writes_loses_less_than_a_second(tmp_path):
    path = tmp_path / "out.wav"
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(path)])
    while not path.exists() or path.stat().st_size < 3 * 48000:
        time.sleep(0.05)
        assert writer.poll() is None
    writer.kill()
    writer.wait()
    out, rate = soundfile.read(path)
    assert rate == 24000 and len(out) >= 2 * 24000 and np.std(out) > 0.3
    # Nothing but what the header does not know yet is behind it.
    assert 0 <= path.stat().st_size - 44 - 2 * len(out) <= 24000


def test_header_stands_still_where_its_count_ends(tmp_path, monkeypatch):
    assert wav_header(1 << 33)[40:] == struct.pack("<I", 0xFFFFFFFE - 44)
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    write(tmp_path / "out.wav", np.zeros(5000)).stop()
    assert (tmp_path / "out.wav").stat().st_size == 44 + 10000
    assert len(soundfile.read(tmp_path / "out.wav")[0]) == 500


def test_pipe_that_cannot_be_set_back():
    read, write_end = os.pipe()
    write(write_end, np.full(20000, 0.5)).stop()
    os.close(write_end)
    with open(read, "rb") as end:
        data = end.read()
    assert data[:44] == wav_header(module.MOST_BYTES)
    assert len(data) == 44 + 40000 and np.all(np.frombuffer(data[44:], "<i2") == 16384)


def test_full_disk_and_bad_path_are_said(tmp_path, capsys):
    sink = write("/dev/full", np.zeros(50000), raw=True)
    sink.stop()
    assert "/dev/full cannot be written: No space left" in sink.error
    with pytest.raises(AudioError, match="No such file"):
        speech_writer(target=str(tmp_path / "nowhere" / "out.wav"))
    # Said at once, not behind an hour of speech.
    bad = [str(tmp_path / "nowhere" / "out.wav"), "--listen", "127.0.0.1:52199"]
    assert main(["rx", *bad, "--concealer", "repeat"]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said and said.count("\n") == 1


def test_descriptor_keeps_what_was_there(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with open(path, "r+b", buffering=0) as out:
        out.seek(0, 2)
        write(out.fileno(), np.zeros(20000)).stop()
    assert path.read_bytes()[:10] == b"beforeRIFF" and path.stat().st_size == 6 + 44 + 40000


def test_no_more_than_was_read():
    read, write_end = os.pipe()
    write(write_end, np.zeros(5000), raw=True, skip_samples=100, most_samples=lambda: 300).stop()
    os.close(write_end)
    with open(read, "rb") as end:
        assert len(end.read()) == 600

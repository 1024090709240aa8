# SPDX-License-Identifier: GPL-3.0-or-later
"""The format of speech, its one scale in 16 bit, and its files."""

import io

import numpy as np
import pytest
import soundfile
from gnuradio.largesc import _core
from gnuradio.largesc.speech import files, format


def test_frame_is_that_of_the_core():
    assert _core.FRAME_MS == format.FRAME_MS == 80 and format.FRAME_S == 0.08
    assert format.FRAME_SAMPLES == format.FRAME_S * format.SAMPLE_RATE_HZ


def test_every_16_bit_sample_comes_back_the_same():
    pcm = np.arange(-32768, 32768).astype(np.int16)
    for dtype in (np.float32, np.float64):
        floats = files.from_pcm16(pcm, dtype)
        assert floats.dtype == dtype and np.array_equal(files.to_pcm16(floats), pcm)
    assert files.to_pcm16(np.array([1.0, 1.5, -1.0, -2.0])).tolist() == [
        32767,
        32767,
        -32768,
        -32768,
    ]


def test_scale_is_that_of_a_file(tmp_path):
    pcm = np.arange(-32768, 32768, 7).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", pcm, format.SAMPLE_RATE_HZ)
    read = files.read_audio(tmp_path / "x.wav")
    assert np.array_equal(read, files.from_pcm16(pcm))
    written = io.BytesIO()
    files.write_audio(written, np.append(read, [2.0, -2.0]), "WAV")
    written.seek(0)
    again, _ = soundfile.read(written, dtype="int16")
    assert np.array_equal(again, np.append(pcm, [32767, -32768]))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 44100, 48000])
def test_any_rate_and_channels_become_speech(tmp_path, rate_hz):
    tone = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    soundfile.write(tmp_path / "x.wav", np.stack([0.5 * tone, 0.1 * tone], axis=1), rate_hz)
    read = files.read_audio(tmp_path / "x.wav")
    assert read.dtype == np.float32 and len(read) == format.SAMPLE_RATE_HZ
    wanted = 0.3 * np.sin(2 * np.pi * 440 * np.arange(24000) / 24000)
    assert np.abs(read - wanted)[500:-500].max() < 0.005


def test_what_is_no_number_becomes_silence():
    assert files.as_speech(np.array([[np.nan], [np.inf], [0.5]]), 24000).tolist() == [0.0, 0.0, 0.5]

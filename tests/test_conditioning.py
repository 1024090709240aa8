# SPDX-License-Identifier: GPL-3.0-or-later
"""Input of cheap sound cards and wrong cables, before gate and codec."""

import logging

import numpy as np
import pytest
import soundfile
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.speech.conditioning import InputConditioner, Mixer
from gnuradio.largesc.speech.files import read_audio
from gnuradio.largesc.speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from gnuradio.largesc.speech.silence import SilenceGate


@pytest.fixture
def talk(speech) -> np.ndarray:
    """16 s of syllables and pauses."""
    return np.tile(speech, 4)


def conditioned(samples: np.ndarray, block: int = FRAME_SAMPLES) -> np.ndarray:
    core = InputConditioner()
    samples = np.asarray(samples, dtype=np.float32)
    return np.concatenate(
        [core.push(samples[n : n + block]) for n in range(0, len(samples), block)]
    )


def levels(samples: np.ndarray) -> np.ndarray:
    """Of each frame, dBFS."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    return 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)


def silent_frames(samples: np.ndarray) -> int:
    gate = SilenceGate()
    return sum(gate.silent(level) for level in levels(samples))


@pytest.mark.parametrize("block", [480, 1920])
@pytest.mark.parametrize("gain_db", [-12, 0, 6])
def test_good_speech_passes_unchanged(talk, block, gain_db):
    samples = (talk * 10 ** (gain_db / 20)).astype(np.float32)
    assert np.max(np.abs(samples)) <= 1.0
    assert np.array_equal(conditioned(samples, block), samples)


@pytest.mark.parametrize("offset", [-0.3, 0.02, 0.1])
def test_offset_is_taken_out_and_the_gate_closes(talk, offset, caplog):
    out = conditioned(talk + offset)
    later = SAMPLE_RATE_HZ
    assert silent_frames(talk + offset) < silent_frames(talk) / 2 or abs(offset) < 0.05
    assert abs(silent_frames(out[later:]) - silent_frames(talk[later:])) <= 3
    assert abs(np.mean(out[later:])) < 1e-4
    # Nothing clicks, and the speech is the same but for what lies below a voice.
    assert np.max(np.abs(np.diff(out))) < 1.5 * np.max(np.abs(np.diff(talk))) + 0.001
    assert np.corrcoef(out[later:], talk[later:])[0, 1] > 0.98
    assert len([r for r in caplog.records if "offset" in r.getMessage()]) == 1


@pytest.mark.parametrize("gain_db", [-30, -40])
def test_far_too_quiet_speech_is_raised_and_the_gate_opens(talk, gain_db, caplog):
    quiet = talk * 10 ** (gain_db / 20)
    out = conditioned(quiet)
    later = 6 * SAMPLE_RATE_HZ
    loudest = np.percentile(levels(out[later:]), 90)
    assert -32 < loudest < -20 or gain_db == -40 and loudest > -35
    # As many pauses as before, and as much speech.
    assert abs(silent_frames(out[later:]) - silent_frames(talk[later:])) <= 8
    assert np.max(np.abs(out)) <= 1.0
    assert len([r for r in caplog.records if "quiet" in r.getMessage()]) == 1


def test_noise_of_a_converter_stays_what_it_is():
    noise = np.random.default_rng(1).standard_normal(10 * SAMPLE_RATE_HZ) * 1e-4
    assert np.array_equal(conditioned(noise), noise.astype(np.float32))
    assert np.array_equal(conditioned(np.zeros(48000)), np.zeros(48000, dtype=np.float32))


@pytest.mark.parametrize("times", [3.0, 10.0])
def test_what_goes_beyond_full_scale_is_lowered_not_clipped(talk, times, caplog):
    loud = talk * times / np.max(np.abs(talk))
    out = conditioned(loud)
    assert np.max(np.abs(out)) <= 1.0
    clipped = np.clip(loud, -1, 1)
    assert np.corrcoef(out, loud)[0, 1] > np.corrcoef(clipped, loud)[0, 1]
    assert len([r for r in caplog.records if "full scale" in r.getMessage()]) == 1


def test_nothing_absurd_lasts(talk):
    hit = talk.copy()
    hit[5 * SAMPLE_RATE_HZ] = 1e30
    out = conditioned(hit)
    later = 9 * SAMPLE_RATE_HZ
    assert np.all(np.isfinite(out)) and np.array_equal(out[later:], talk[later:])


def piecewise(audio: np.ndarray, size: int) -> np.ndarray:
    mixer = Mixer(SAMPLE_RATE_HZ)
    return np.concatenate([mixer.push(audio[n : n + size]) for n in range(0, len(audio), size)])


@pytest.mark.parametrize("size", [100, 960, 10**6])
def test_channels_in_opposite_phase_do_not_cancel_out(talk, size, caplog):
    rng = np.random.default_rng(0)
    for right in (-talk, -0.9 * talk):
        out = piecewise(np.stack([talk, right], axis=1), size)
        assert np.corrcoef(out, talk)[0, 1] > 0.999 and np.std(out) > 0.9 * np.std(talk)
    assert all("opposite phase" in r.getMessage() for r in caplog.records)
    assert len(caplog.records) == 2
    for right in (talk, np.zeros_like(talk), 0.3 * talk, rng.permutation(talk)):
        audio = np.stack([talk, right], axis=1)
        assert np.array_equal(piecewise(audio, size), audio.mean(axis=1))


def test_files_and_speech_source_take_one_of_two_channels_in_opposite_phase(talk, tmp_path):
    wav = str(tmp_path / "wide.wav")
    soundfile.write(wav, np.stack([talk, -talk], axis=1)[:48000], SAMPLE_RATE_HZ)
    assert np.std(read_audio(wav)) > 0.9 * np.std(talk[:48000])
    tb, sink = gr.top_block(catch_exceptions=False), blocks.vector_sink_f()
    tb.connect(largesc.speech_source(kind="file", wav_file=wav, repeat=False), sink)
    tb.run()
    assert np.std(sink.data()) > 0.9 * np.std(talk[:48000])


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_card_whose_channels_cancel_out(talk, channels, monkeypatch, caplog):
    from gnuradio.largesc.blocks import speech_audio

    both = np.repeat(np.stack([talk[:24000], -talk[:24000]]), 2, axis=1)
    kept = []

    class Card(gr.sync_block):
        """48 kHz, as the driver gives it: asked for one channel of two, their mean."""

        def __init__(self, rate_hz: int, device: str, blocking: bool) -> None:
            gr.sync_block.__init__(self, "card", None, [np.float32] * channels)
            self.at = 0
            kept.append(self)

        def work(self, input_items: list, output_items: list) -> int:
            count = min(len(output_items[0]), both.shape[1] - self.at)
            for n, out in enumerate(output_items):
                out[:count] = both[n, self.at : self.at + count]
            self.at += count
            return count or -1

    monkeypatch.setattr(speech_audio.audio, "source", Card)
    tb, sink = gr.top_block(catch_exceptions=False), blocks.vector_sink_f()
    tb.connect(largesc.speech_source(kind="sound_card"), sink)
    tb.run()
    assert 0.9 < np.std(sink.data()) / np.std(talk[:24000]) < 1.1
    assert len([r for r in caplog.records if "opposite" in r.getMessage()]) == channels - 1


def test_dtx_skips_as_many_frames_of_speech_with_an_offset(run_link, talk, caplog):
    talk = talk[: 8 * SAMPLE_RATE_HZ]
    facts = {}
    for name, samples in (("clean", talk), ("offset", talk + 0.1)):
        tb, _ = run_link(samples.astype(np.float32), "--dtx", "--concealer", "repeat")
        facts[name] = tb.statistics()
    assert facts["clean"]["controller"]["skipped"] > 10
    assert facts["clean"]["encoder"]["frames_offset_removed"] == 0
    assert facts["offset"]["encoder"]["frames_offset_removed"] > 80
    more = facts["clean"]["controller"]["skipped"] - facts["offset"]["controller"]["skipped"]
    assert abs(more) <= 6
    assert any(r.levelno == logging.WARNING and "offset" in r.getMessage() for r in caplog.records)

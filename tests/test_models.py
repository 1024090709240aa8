# SPDX-License-Identifier: GPL-3.0-or-later
"""Codec, language model and controller: streaming equals offline, full-size Mimi, robustness."""

import gc
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.codec.load import Codec, load_codec
from gnuradio.largesc.codec.speech_decoder import SpeechDecoder
from gnuradio.largesc.codec.speech_encoder import SpeechEncoder
from gnuradio.largesc.concealment import lm_stream, load
from gnuradio.largesc.concealment.concealer import ReceivedFrame, make_concealer
from gnuradio.largesc.concealment.lm_stream import LanguageModelStream
from gnuradio.largesc.concealment.load import load_language_model
from gnuradio.largesc.control.load import load_controller
from gnuradio.largesc.models.store import ModelError
from scipy.signal import resample_poly

FRAME = 1920


@pytest.fixture(scope="module")
def recorded() -> tuple[SpeechEncoder, SpeechDecoder]:
    """Both ends of the codec."""
    return SpeechEncoder(load_codec()), SpeechDecoder(load_codec())


@pytest.fixture
def ends(recorded) -> tuple[SpeechEncoder, SpeechDecoder]:
    """The same, as at their begin."""
    for end in recorded:
        end.reset()
    return recorded


def test_streaming_equals_offline_in_any_chunks(speech, ends):
    whole = load_codec("embedded").model
    with torch.inference_mode():
        latent = whole._encode_to_unquantized_latent(torch.from_numpy(speech)[None, None])[0].T
        codes = whole.encode(torch.from_numpy(speech)[None, None])
        offline = whole.decode(codes)[0, 0].numpy()
    encoder, decoder = ends
    rng, frames, at = np.random.default_rng(1), [], 0
    while at < len(speech):
        count = int(rng.integers(1, 5000))
        frames += encoder.push(speech[at : at + count])
        at += count
    frames += encoder.flush()
    assert np.abs(np.stack([f.latent for f in frames]) - latent.numpy()).max() < 1e-4
    tokens = np.stack([f.tokens for f in frames])
    with torch.inference_mode():
        for k in (1, 5, 8):
            left = latent.T[None] - whole.quantizer.decode(codes[:, :k])
            errors = np.array([f.distortion[k] for f in frames])
            assert np.allclose(errors, left[0].square().sum(dim=0).numpy(), rtol=1e-3, atol=1e-3)
    assert np.array_equal(tokens, codes[0].T.numpy())
    streamed = np.concatenate([decoder.decode(t) for t in tokens])
    assert np.abs(streamed - np.clip(offline, -1, 1)).max() < 1e-4


def odd_signals() -> dict[str, np.ndarray]:
    """Two seconds each of what is no clean speech at a usual level."""
    rng, t = np.random.default_rng(2), np.arange(48000) / 24000
    noise = rng.standard_normal(48000)
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6, 440.0, 1760.0))
    buzz = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 31))
    return {
        "silence": np.zeros(48000),
        "noise": 0.1 * noise,
        "music": 0.1 * chord,
        "clipped": np.sign(noise),
        "dc": np.full(48000, 0.5),
        "-40 dBFS": 0.01 * buzz / np.std(buzz),
        "-20 dBFS": 0.1 * buzz / np.std(buzz),
        "0 dBFS": buzz / np.abs(buzz).max(),
        "8 kHz": resample_poly(0.1 * buzz[::3], 3, 1),
        "too loud": 3.0 * noise,
    }


@pytest.mark.parametrize("kind", list(odd_signals()))
def test_odd_input_gives_no_burst(kind, ends):
    signal = odd_signals()[kind].astype(np.float32)
    encoder, decoder = ends
    out = np.concatenate([decoder.decode(f.tokens) for f in encoder.push(signal)])
    assert np.all(np.isfinite(out)) and np.abs(out).max() <= 1.0
    rms_in, rms_out = (np.sqrt(np.mean(x**2)) for x in (np.clip(signal, -1, 1), out))
    assert rms_out < 2.0 * rms_in + 0.005
    if kind == "silence":
        assert rms_out < 0.003


def test_decoder_survives_whatever_tokens_come(ends):
    rng, (_, decoder) = np.random.default_rng(3), ends
    for _ in range(40):
        tokens = rng.integers(0, 2048, 8).astype(np.uint16)
        tokens[rng.integers(0, 9) :] = ERASED_TOKEN
        out = decoder.decode(tokens, float(rng.random()))
        assert out.shape == (FRAME,) and np.all(np.isfinite(out)) and np.abs(out).max() <= 1.0


def test_full_size_mimi_runs_through_the_same_code():
    from moshi.models.loaders import get_mimi

    def mimi() -> Codec:
        torch.manual_seed(0)
        return Codec(get_mimi(None, device="cpu", num_codebooks=8).eval(), 0, 512, "random Mimi")

    noise = (0.1 * np.random.default_rng(0).standard_normal(4 * FRAME)).astype(np.float32)
    whole = mimi().model
    with torch.inference_mode():
        latent = whole._encode_to_unquantized_latent(torch.from_numpy(noise)[None, None])
    del whole
    frames = SpeechEncoder(mimi()).push(noise)
    assert np.abs(np.stack([f.latent for f in frames], 1) - latent[0].numpy()).max() < 1e-3
    # Each takes half a gigabyte.
    gc.collect()
    decoder = SpeechDecoder(mimi())
    for frame in frames:
        assert decoder.decode(frame.tokens).shape == (FRAME,)


@pytest.fixture(scope="module")
def recorded_streams(models) -> list[LanguageModelStream]:
    """Two of the same model."""
    return [LanguageModelStream(load_language_model(models).model) for _ in range(2)]


@pytest.fixture
def streams(recorded_streams) -> list[LanguageModelStream]:
    """The same, as at their begin."""
    for stream in recorded_streams:
        stream.reset()
    return recorded_streams


def test_rewind_equals_a_fresh_run(streams):
    rng = np.random.default_rng(4)
    frames = rng.integers(0, 2048, (40, 8)).astype(np.uint16)
    right, wrong = streams
    for n, tokens in enumerate(frames):
        right.step(tokens)
        wrong.step(frames[0] if n == 33 else tokens)
    assert not torch.allclose(right._hidden, wrong._hidden, atol=1e-5)
    assert wrong.replace(len(frames) - 33, frames[33])
    assert torch.allclose(right._hidden, wrong._hidden, atol=1e-5)
    assert not wrong.replace(100, frames[0])


def test_recorded_step_equals_the_model_itself_and_another_beside_it(models, streams, monkeypatch):
    """Bit by bit; and what one stream hears is nothing to another."""
    frames = np.random.default_rng(6).integers(0, 2048, (12, 8)).astype(np.uint16)
    frames[5:7] = ERASED_TOKEN
    first, second = streams
    monkeypatch.setattr(lm_stream, "record", lambda module, function, *inputs: function)
    plain = LanguageModelStream(load_language_model(models).model)
    for frame in frames:
        right = plain.step(frame)
        second.step(frame[::-1])
        assert np.array_equal(first.step(frame), right)
    assert torch.equal(first._hidden, plain._hidden)
    assert first.replace(3, frames[0]) and plain.replace(3, frames[0])
    assert torch.equal(first._hidden, plain._hidden)


def test_recording_leaves_the_weights_as_they_are(models):
    model = load_language_model(models).model
    before = {name: (p.requires_grad, p.clone()) for name, p in model.named_parameters()}
    LanguageModelStream(model)
    for name, p in model.named_parameters():
        assert p.requires_grad == before[name][0] and torch.equal(p, before[name][1])


def test_received_tokens_are_kept_and_holes_filled(models):
    make = lambda: make_concealer("lm", load_language_model(models).model, seed=3)  # noqa: E731
    first, second = make(), make()
    rng = np.random.default_rng(5)
    for n in range(20):
        tokens = rng.integers(0, 2048, 8).astype(np.uint16)
        tokens[rng.random(8) < 0.5] = ERASED_TOKEN
        done = first.step(ReceivedFrame(n, tokens))
        kept = tokens != ERASED_TOKEN
        assert np.array_equal(done.tokens[kept], tokens[kept])
        played = 1 + np.flatnonzero(kept)[-1] if kept.any() else 4
        assert np.all(done.tokens[:played] < 2048) and np.all(done.tokens[played:] == ERASED_TOKEN)
        assert done.concealed_tokens == played - np.count_nonzero(kept)
        assert np.array_equal(done.tokens, second.step(ReceivedFrame(n, tokens)).tokens)


def test_model_that_fails_is_replaced_by_repetition(models):
    concealer = make_concealer("lm", load_language_model(models).model)
    known = np.arange(8, dtype=np.uint16)
    concealer.step(ReceivedFrame(0, known))

    def broken(tokens):
        raise RuntimeError("out of memory")

    concealer.stream.step = broken
    done = concealer.step(ReceivedFrame(1, np.full(8, ERASED_TOKEN, dtype=np.uint16)))
    assert np.array_equal(done.tokens, known)
    assert concealer.statistics()["failures"] == 1


def test_long_gap_fades_out():
    concealer = make_concealer("repeat", fade_after_frames=3)
    concealer.step(ReceivedFrame(0, np.arange(8, dtype=np.uint16)))
    lost = np.full(8, ERASED_TOKEN, dtype=np.uint16)
    gains = [concealer.step(ReceivedFrame(n, lost)).gain for n in range(1, 10)]
    assert gains[:3] == [1.0, 1.0, 1.0] and gains[5:] == [0.0] * 4
    assert gains == sorted(gains, reverse=True)


def test_controller_streaming_equals_offline(models):
    network, fresh = load_controller(models), load_controller(models)
    latent = torch.randn(1, 16, 30)
    with torch.inference_mode():
        offline = network(latent, torch.full((1, 30), 0.2))[0]
    for n in range(30):
        assert fresh.step(latent[0, :, n].numpy(), 0.2) == pytest.approx(
            tuple(offline[:, n].tolist()), abs=1e-5
        )


def test_soft_step_is_finite_and_monotone():
    from gnuradio.largesc.control.network import soft_step

    i = torch.linspace(-50, 50, 1001)
    values = soft_step(torch.tensor(3.0), i, 4.0)
    assert torch.isfinite(values).all() and (values.diff() >= -1e-5).all()
    assert values[0] == pytest.approx(0.0, abs=1e-4) and values[-1] == pytest.approx(1.0, abs=1e-4)


def test_eight_bit_weights_are_close_and_small(tmp_path) -> None:
    from gnuradio.largesc.models.store import load_weights, save_model

    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Embedding(50, 64), torch.nn.Linear(64, 30))
    save_model(model, {}, tmp_path, "lm", int8=True)
    assert (tmp_path / "lm.safetensors").stat().st_size < 0.4 * 4 * (50 * 64 + 64 * 30)
    other = torch.nn.Sequential(torch.nn.Embedding(50, 64), torch.nn.Linear(64, 30))
    load_weights(other, tmp_path, "lm")
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        step = mine.abs().amax(-1, keepdim=True) / 127
        assert ((mine - theirs).abs() <= 0.51 * step + 1e-3 * mine.abs()).all()


def test_official_weights_need_memory_but_not_that_of_the_page_cache(tmp_path, monkeypatch) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(1000))
    free = 1024 * int(
        re.search(r"^MemFree:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M).group(1)
    )
    assert load.available_memory() > 0.9 * free
    monkeypatch.setattr(load, "available_memory", lambda: 999)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="use a machine with more memory"):
        load_language_model(str(tmp_path))

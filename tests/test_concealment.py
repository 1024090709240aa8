# SPDX-License-Identifier: GPL-3.0-or-later
"""Language models with and without acoustic delay, stepped with any subset of tokens given."""

from functools import cache

import numpy as np
import pytest
import torch
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.concealment.concealer import (
    LanguageModelConcealer,
    ReceivedFrame,
    make_concealer,
)
from gnuradio.largesc.concealment.depth import depth_step, no_past, token_logits
from gnuradio.largesc.concealment.dynamic_int8 import quantised
from gnuradio.largesc.concealment.lm_stream import LanguageModelStream, mean_tokens
from helpers import small_lm

LOST = np.full(8, ERASED_TOKEN, dtype=np.uint16)


def tiny_model(acoustic_delay: int, streams: int = 8):
    """The shape of a 7 B Moshi (16 streams, delay 1) in small, or of the embedded model."""
    others = [0] + [acoustic_delay] * 7 if streams == 16 else []
    delays = [0, 0, *[acoustic_delay] * 7, *others]
    return small_lm(1, n_q=streams, depformer_num_layers=2, context=64, delays=delays)


@cache
def tiny_stream(acoustic_delay: int, streams: int, number: int, **options) -> LanguageModelStream:
    """A stream of a tiny model of its own, recorded once; ``number`` tells several apart."""
    return LanguageModelStream(tiny_model(acoustic_delay, streams), **options)


def frames_of(count: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2048, (count, 8)).astype(np.uint16)


def test_depth_step_equals_moshi():
    model = tiny_model(0)
    hidden = torch.randn(1, 1, 32)
    tokens = [3, 5, 900, 7, 2047, 11, 13, 17]
    past = no_past(model)
    with torch.no_grad(), model.depformer.streaming(1):
        for k, token in enumerate(tokens):
            right = model.forward_depformer(k, torch.tensor([[[token]]]), hidden)[0, 0, 0]
            features, past = depth_step(model, k, torch.tensor([[token]]), hidden, past)
            found = token_logits(model, k, features)[0]
            assert torch.allclose(found, right, atol=1e-5)


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("streams", [8, 16])
def test_stream_equals_offline_forward(delay, streams):
    """Logits of each step are those of the model's own forward over the delayed sequence."""
    model = tiny_model(delay, streams)
    frames = frames_of(12)
    others = [100 + k for k in range(streams - 8)]
    codes = torch.tensor(frames.astype(np.int64)).T[None]
    text = torch.full((1, 1, 12), model.text_padding_token_id)
    rest = torch.tensor(others, dtype=torch.long)[None, :, None].expand(1, -1, 12)
    with torch.no_grad():
        logits = model(torch.cat([text, codes, rest], dim=1)).logits
    stream = LanguageModelStream(model, 0.0, other_tokens=others or None)
    # The most likely first token of a lost frame, given all frames before it.
    for n in range(11):
        with torch.inference_mode():
            assert stream._first_token() == int(logits[0, 0, n].argmax())
        stream.step(frames[n])


@pytest.mark.parametrize("mode", ["speculative", "wait"])
def test_delay_keeps_what_was_received(mode):
    model = tiny_model(1, 16)
    concealer = make_concealer("lm", model, delay_mode=mode, seed=3)
    frames = frames_of(30)
    frames[5:9, 3:] = ERASED_TOKEN
    frames[12:14] = ERASED_TOKEN
    frames[20, 0] = ERASED_TOKEN
    done = [concealer.step(ReceivedFrame(n, f)) for n, f in enumerate(frames)]
    done.append(concealer.finish())
    done = [d for d in done if d is not None]
    assert [d.index for d in done] == list(range(30))
    for frame, out in zip(frames, done, strict=True):
        known = frame != ERASED_TOKEN
        # A lost frame gets four tokens, a hole is filled, nothing is added behind a prefix.
        played = 1 + np.flatnonzero(known)[-1] if known.any() else 4
        assert np.array_equal(out.tokens[known], frame[known])
        assert np.all(out.tokens[:played] < 2048) and np.all(out.tokens[played:] == ERASED_TOKEN)
        assert out.concealed_tokens == played - np.count_nonzero(known)
    assert concealer.statistics()["failures"] == 0


def test_weights_of_eight_bit_run_as_well():
    frames, model = frames_of(6), tiny_model(0)
    exact, packed = LanguageModelStream(model), LanguageModelStream(quantised(tiny_model(0)))
    for frame in frames:
        assert np.array_equal(packed.step(frame), exact.step(frame))
    assert 0.0 < (packed._hidden - exact._hidden).abs().max() < 0.1 * exact._hidden.abs().max()
    assert np.max(packed.step(LOST)) < 2048
    # Unrecorded they would take longer than those of 32 bit, which they are there to beat.
    assert all(isinstance(s, torch.jit.ScriptModule) for s in packed._step_depth)


def test_waiting_completes_with_the_next_first_token():
    """What waits knows more: its depth transformer sees the true first token of the next frame."""
    frames = frames_of(8)
    frames[6, 2:] = ERASED_TOKEN
    model = tiny_model(1)
    stream = LanguageModelStream(model, 0.0, delay_mode="wait")
    out = [stream.step(f) for f in frames]
    codes = torch.tensor(np.array([*out[1:], frames[7]]).astype(np.int64)).T[None]
    text = torch.full((1, 1, 8), model.text_padding_token_id)
    with torch.no_grad():
        logits = model(torch.cat([text, codes], dim=1)).logits
    # forward() undoes the delays: position 6 holds the logits of frame 6 for every token.
    assert out[7][2] == int(logits[0, 2, 6].argmax())


def test_guess_is_kept_when_the_next_frame_is_lost():
    stream = LanguageModelStream(tiny_model(1), 0.7, seed=5)
    for frame in frames_of(4):
        stream.step(frame)
    partial = frames_of(1)[0]
    partial[4:] = ERASED_TOKEN
    stream.step(partial)
    guess = stream._guess
    assert stream.step(LOST)[0] == guess


@pytest.mark.parametrize("frames_ago", [1, 3, 9])
@pytest.mark.parametrize("mode", ["speculative", "wait"])
def test_repair_equals_a_fresh_run_with_delay(mode, frames_ago):
    frames = frames_of(40)
    right, wrong = (tiny_stream(1, 16, number, delay_mode=mode) for number in (1, 2))
    for stream in (right, wrong):
        stream.reset()
    for n, tokens in enumerate(frames):
        right.step(tokens)
        wrong.step(frames[0] if n == 40 - frames_ago else tokens)
    assert not torch.allclose(right._hidden, wrong._hidden, atol=1e-5)
    assert wrong.replace(frames_ago, frames[-frames_ago])
    assert torch.allclose(right._hidden, wrong._hidden, atol=1e-5)


def test_late_frames_and_failures_with_a_waiting_model():
    concealer = make_concealer("lm", tiny_model(1), delay_mode="wait")
    assert isinstance(concealer, LanguageModelConcealer)
    frames = frames_of(10)
    out = [concealer.step(ReceivedFrame(n, f)) for n, f in enumerate(frames[:5])]
    out.append(concealer.late_step(ReceivedFrame(5, LOST)))
    concealer.stream.step = lambda tokens: 1 / 0
    out += [concealer.step(ReceivedFrame(n, frames[n])) for n in range(6, 10)]
    concealer.stream.flush = lambda: 1 / 0
    out.append(concealer.finish())
    assert [d.index for d in out if d is not None] == list(range(10))
    assert concealer.statistics()["failures"] == 5 and concealer.statistics()["late"] == 1


def test_other_delays_are_refused():
    model = tiny_model(0)
    model.delays = [0, 0, 2, 2, 2, 2, 2, 2, 2]
    with pytest.raises(ValueError, match="acoustic delay of 0 or 1"):
        LanguageModelStream(model)
    with pytest.raises(ValueError, match="other_tokens"):
        LanguageModelStream(tiny_model(0, 16), other_tokens=[1, 2])
    with pytest.raises(ValueError, match="delay_mode"):
        LanguageModelStream(tiny_model(1), delay_mode="hope")


def test_late_frame_is_played_as_received_or_repeated():
    concealer = make_concealer("lm", tiny_model(0))
    frames = frames_of(2)
    assert np.all(concealer.late_step(ReceivedFrame(0, LOST)).tokens == ERASED_TOKEN)
    concealer.step(ReceivedFrame(1, frames[0]))
    prefix = frames[1].copy()
    prefix[2:] = ERASED_TOKEN
    assert np.array_equal(concealer.late_step(ReceivedFrame(2, prefix)).tokens, prefix)
    assert np.array_equal(concealer.late_step(ReceivedFrame(3, LOST)).tokens, prefix)


def test_mean_of_samples_is_filled_in():
    """Entries on a line: what is filled in adds up to the mean of what was drawn."""
    codebooks = np.zeros((8, 2048, 1), dtype=np.float32)
    codebooks[0, :, 0] = np.arange(2048)
    codebooks[1:, :, 0] = np.linspace(-0.5, 0.5, 2048)
    column = np.full(8, LOST[0], dtype=np.int64)
    drawn = np.array([[10, 1024], [12, 1024], [12, 1024], [12, 1024]])
    filled = mean_tokens(column, drawn, codebooks)
    total = sum(codebooks[k, filled[k], 0] for k in range(8))
    assert abs(total - 11.5) < 1e-3 and filled[0] in (11, 12)
    column[:2] = 7, 9
    filled = mean_tokens(column, np.full((3, 4), 1024), codebooks)
    assert filled[0] == 7 and filled[1] == 9
    assert abs(sum(codebooks[k, filled[k], 0] for k in range(2, 8))) < 2e-3


@pytest.mark.parametrize("delay", [0, 1])
def test_mean_keeps_what_was_received(delay):
    codebooks = np.random.default_rng(0).standard_normal((8, 2048, 3)).astype(np.float32)
    stream = LanguageModelStream(tiny_model(delay), samples=4, codebooks=codebooks)
    frame = LOST.copy()
    frame[:3] = 5, 6, 7
    first = [stream.step(f) for f in (frame, LOST, frame, LOST)]
    assert np.array_equal(first[0][:3], [5, 6, 7]) and np.max(first) < 2048
    stream.reset()
    again = [stream.step(f) for f in (frame, LOST, frame, LOST)]
    assert np.array_equal(first, again)
    with pytest.raises(ValueError, match="samples 4"):
        LanguageModelStream(tiny_model(delay), samples=4)


def test_codebooks_of_a_codec(models):
    from gnuradio.largesc.codec.codebooks import codebooks_of
    from gnuradio.largesc.codec.load import load_codec

    model = load_codec(models).model
    books = codebooks_of(model)
    assert books.shape == (8, 2048, 16)
    own = model.quantizer.vq.layers[3]._codebook.embedding.numpy()
    assert np.allclose(books[3], own, atol=1e-3)


@pytest.mark.parametrize("method", ["repeat", "silence"])
def test_what_the_sender_kept_is_no_loss(method):
    concealer = make_concealer(method)
    whole = np.arange(8, dtype=np.uint16)
    prefix = np.where(np.arange(8) < 3, whole, ERASED_TOKEN).astype(np.uint16)
    concealer.step(ReceivedFrame(0, whole, sent=8))
    concealer.step(ReceivedFrame(1, prefix, sent=3))
    concealer.step(ReceivedFrame(2, LOST, sent=0))
    concealer.step(ReceivedFrame(3, LOST, silence=True, sent=0))
    facts = concealer.statistics()
    assert facts["frames"] == 4 and facts["frames_cut"] == 2
    assert facts["frames_made_up"] == facts["tokens_made_up"] == 0
    concealer.step(ReceivedFrame(4, LOST))
    facts = concealer.statistics()
    repeated = 1 if method == "repeat" else 0
    assert facts["frames_made_up"] == repeated and facts["frames_cut"] == 2


def test_another_method_goes_on_where_the_first_one_stood():
    first, second = make_concealer("silence"), make_concealer("repeat")
    whole = np.arange(8, dtype=np.uint16)
    first.step(ReceivedFrame(0, whole))
    first.step(ReceivedFrame(1, LOST))
    second.follow(first)
    done = second.step(ReceivedFrame(2, LOST))
    assert np.array_equal(done.tokens, whole) and second.statistics()["frames"] == 3
    gains = [second.step(ReceivedFrame(n, LOST)).gain for n in range(3, 7)]
    # Four lost frames in a row: the fade has begun.
    assert gains[0] == 1.0 and gains[1] < 1.0

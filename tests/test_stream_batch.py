# SPDX-License-Identifier: GPL-3.0-or-later
"""Many streams in one step: each is what it would be alone."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from gnuradio.largesc.cli.audio import RECORDINGS
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.codec.same_bits import (
    SameBitsConv1d,
    SameBitsConvTranspose1d,
    with_same_bits,
)
from gnuradio.largesc.codec.speech_decoder import FrameToDecode, SpeechDecoder, SpeechDecoders
from gnuradio.largesc.codec.speech_encoder import EncodedFrame, SpeechEncoder, SpeechEncoders
from gnuradio.largesc.models.stream_batch import StreamBatch, batches_up_to, portions
from gnuradio.largesc.speech.files import read_audio
from gnuradio.largesc.speech.format import FRAME_SAMPLES
from moshi.modules.conv import StreamingConv1d
from moshi.modules.streaming import StreamingContainer

# Between the single and the batched step, which add up in another order.
LIMIT = 1e-4
ERASED = 0xFFFF


class Walk:
    """Streams that join, pause and leave at random."""

    def __init__(self, seed: int, most: int, open_one, close_one) -> None:
        self.rng, self.most = np.random.default_rng(seed), most
        self.open_one, self.close_one = open_one, close_one
        self.alive: dict[int, object] = {}

    def turn(self) -> dict[int, object]:
        """Those whose turn it is, with what ``open_one`` made of them."""
        if len(self.alive) < self.most and self.rng.random() < 0.3:
            stream, mine = self.open_one()
            assert stream not in self.alive
            self.alive[stream] = mine
        if self.alive and self.rng.random() < 0.05:
            stream = int(self.rng.choice(list(self.alive)))
            self.close_one(stream)
            del self.alive[stream]
        chosen = [s for s in self.alive if self.rng.random() < 0.8]
        self.rng.shuffle(chosen)
        return {s: self.alive[s] for s in chosen}


def voiced(rng: np.random.Generator) -> np.ndarray:
    """A frame of something like speech."""
    t = np.arange(FRAME_SAMPLES) / 24000
    tones = sum(np.sin(2 * np.pi * rng.uniform(90, 3000) * t) / k for k in range(1, 5))
    return (rng.uniform(0.01, 0.2) * tones + 0.003 * rng.standard_normal(len(t))).astype("float32")


def spoken_tokens() -> np.ndarray:
    """Tokens of a recording, ``[frames, 8]``."""
    speech = read_audio(RECORDINGS / "Front_Left.wav")
    return np.stack([frame.tokens for frame in SpeechEncoder(load_codec()).push(speech)])


def test_decoded_streams_are_those_of_a_decoder_alone():
    many, rng = SpeechDecoders(load_codec(), 16), np.random.default_rng(5)
    # Of each stream, its frames with what came of them.
    lives: list[list[tuple[FrameToDecode, np.ndarray]]] = []

    def open_one():
        lives.append([])
        return many.open(len(lives) - 1), lives[-1]

    walk, decoded = Walk(3, 6, open_one, many.close), 0
    frames_of_speech = spoken_tokens()
    while decoded < 1000:
        frames = {}
        for stream in walk.turn():
            tokens = frames_of_speech[rng.integers(len(frames_of_speech))].copy()
            tokens[rng.integers(0, 9) :] = ERASED
            latent = rng.standard_normal(64) * 0.1 if rng.random() < 0.2 else None
            frames[stream] = FrameToDecode(tokens, float(rng.choice([1.0, 1.0, 0.5, 0.0])), latent)
        found = many.decode(frames)
        assert list(found) == list(frames)
        for stream, frame in frames.items():
            walk.alive[stream].append((frame, found[stream]))
        decoded += len(frames)
    assert max(map(len, lives)) > 100 and len(lives) > 6
    single = SpeechDecoder(load_codec())
    for seed, life in enumerate(lives):
        single._seed = seed
        single.reset()
        for frame, found in life:
            alone = single.decode(frame.tokens, frame.gain, frame.latent)
            np.testing.assert_allclose(found, alone, rtol=0.0, atol=LIMIT)


def test_a_vowel_that_lasts_keeps_its_phase():
    # Each frame adds the same error to the phase, where there is one.
    many, single = SpeechDecoders(load_codec(), 4), SpeechDecoder(load_codec())
    streams, frames = [many.open() for _ in range(3)], spoken_tokens()
    vowel = max(frames, key=lambda tokens: np.abs(single.decode(tokens)).max())
    single.reset()
    for turn in range(300):
        tokens = [vowel, frames[turn % len(frames)], frames[turn % 5]]
        given = zip(streams, map(FrameToDecode, tokens), strict=True)
        found = many.decode(dict(given))[streams[0]]
        np.testing.assert_allclose(found, single.decode(vowel), rtol=0.0, atol=LIMIT)


@pytest.fixture
def one_thread():
    """Rows are shared out among threads in another order; tests before may have left more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_layers_of_same_bits_are_those_of_torch(one_thread):
    plain = torch.nn.Sequential(
        torch.nn.Conv1d(6, 8, 3), torch.nn.ConvTranspose1d(8, 5, 2, stride=2)
    )
    same = deepcopy(plain)
    with_same_bits(same)
    assert [type(part) for part in same] == [SameBitsConv1d, SameBitsConvTranspose1d]
    for count, steps in ((1, 3), (1, 9), (5, 3), (5, 9)):
        x = torch.randn(count, 6, steps)
        torch.testing.assert_close(same(x), plain(x))
    rows = torch.randn(9, 1, 320)
    linear = torch.nn.Linear(320, 640)
    with_same_bits(linear)
    together = linear(rows)
    torch.testing.assert_close(
        together, torch.nn.functional.linear(rows, linear.weight, linear.bias)
    )
    assert all(torch.equal(linear(rows[n : n + 1]), together[n : n + 1]) for n in range(9))


def test_encoded_streams_are_those_of_an_encoder_alone():
    many, rng = SpeechEncoders(load_codec(), 16), np.random.default_rng(6)
    # Of each stream, its samples with what came of them.
    lives: list[list[tuple[np.ndarray, EncodedFrame]]] = []

    def open_one():
        lives.append([])
        return many.open(), lives[-1]

    walk, encoded, other = Walk(4, 5, open_one, many.close), 0, 0
    while encoded < 1000:
        frames = {stream: voiced(rng) for stream in walk.turn()}
        for stream, frame in many.encode(frames).items():
            walk.alive[stream].append((frames[stream], frame))
            encoded += 1
    single = SpeechEncoder(load_codec())
    for life in lives:
        single.reset()
        for samples, frame in life:
            (alone,) = single.push(samples)
            assert (frame.index, frame.capture_time_ns) == (alone.index, alone.capture_time_ns)
            np.testing.assert_allclose(frame.latent, alone.latent, atol=LIMIT)
            np.testing.assert_allclose(frame.level_dbfs, alone.level_dbfs, atol=1e-6)
            # Two entries may be as near as each other.
            other += not np.array_equal(frame.tokens, alone.tokens)
    assert other <= encoded // 100


def test_a_frame_without_numbers_harms_no_other_stream():
    many = SpeechDecoders(load_codec(), 4)
    single = SpeechDecoder(load_codec(), 2)
    bad, good = many.open(1), many.open(2)
    tokens = np.arange(8, dtype=np.uint16)
    broken = FrameToDecode(tokens, 1.0, np.full(64, np.nan))
    for turn in range(4):
        found = many.decode(
            {bad: broken if turn == 1 else FrameToDecode(tokens), good: FrameToDecode(tokens)}
        )
        assert np.all(np.isfinite(found[bad]))
        np.testing.assert_allclose(found[good], single.decode(tokens), atol=LIMIT)
    assert many.broken_frames == 1


def test_more_streams_than_a_batch_take_several_steps():
    module = StreamingContainer()
    module.conv = StreamingConv1d(2, 2, 3, causal=True)
    module.eval()
    batch = StreamBatch(module, lambda x: module.conv(x), [torch.zeros(1, 2, 4)], most=4)
    streams = [batch.open() for _ in range(21)]
    assert len(set(streams)) == 21
    x = torch.randn(21, 2, 8)
    parts = [batch.step(streams, x[:, :, n : n + 4])[0] for n in (0, 4)]
    np.testing.assert_allclose(torch.cat(parts, dim=2), module.conv(x).detach(), atol=1e-5)
    batch.close(streams[3])
    assert batch.open() == streams[3]
    # Nothing is left of the stream that had the number.
    np.testing.assert_allclose(batch.step([streams[3]], x[3:4, :, :4])[0], parts[0][3:4], atol=1e-5)


def test_sizes_of_batches():
    assert [batches_up_to(n) for n in (1, 2, 4, 5, 64, 500)] == [
        [1], [1, 4], [1, 4], [1, 4, 16], [1, 4, 16, 64], [1, 4, 16, 64],
    ]  # fmt: skip


def test_streams_that_fill_no_great_batch_take_small_ones():
    sizes = batches_up_to(64)
    wanted = {3: [3], 16: [16], 17: [16, 1], 32: [16, 16], 33: [33], 64: [64], 90: [64, 16, 10]}
    assert {count: portions(count, sizes) for count in wanted} == wanted
    assert portions(9, [1, 4]) == [4, 4, 1] and portions(0, sizes) == []


def test_state_without_a_row_a_stream_is_refused():
    class Odd(StreamingContainer):
        def _init_streaming_state(self, batch_size):
            state = super()._init_streaming_state(batch_size)
            state.shared = torch.zeros(3)
            return state

    module = Odd()
    module.conv = StreamingConv1d(2, 2, 3, causal=True)
    with pytest.raises(ValueError, match="no row a stream"):
        StreamBatch(module, module.conv, [torch.zeros(1, 2, 4)])

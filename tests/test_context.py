# SPDX-License-Identifier: GPL-3.0-or-later
"""The context model: frame by frame as all at once, repairs, failures, and its recipe."""

import numpy as np
import pytest
import torch
from gnuradio.largesc.concealment.concealer import ReceivedFrame
from gnuradio.largesc.concealment.context import HISTORY_FRAMES, ContextConcealer, ContextStream
from gnuradio.largesc.concealment.context_model import ContextConfig, ContextModel
from gnuradio.largesc.concealment.interpolation import FrameCompleter, LatentEstimator

ERASED = 0xFFFF
DIMENSION = 6
LOST = np.full(8, ERASED, np.uint16)


@pytest.fixture
def model() -> ContextModel:
    torch.manual_seed(0)
    made = ContextModel(ContextConfig(DIMENSION, hidden=12, layers=2, head=8))
    torch.nn.init.normal_(made.contract.weight, std=0.3)
    made.mean += torch.linspace(-1.0, 1.0, DIMENSION)
    return made.eval()


@pytest.fixture
def books() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((8, 32, DIMENSION)).astype(np.float32)


def frames_of(count: int, seed: int = 2) -> list[np.ndarray]:
    """Frames with 0 to 8 tokens."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 32, (count, 8)).astype(np.uint16)
    for frame, known in zip(found, rng.integers(0, 9, count), strict=True):
        frame[known:] = ERASED
    return list(found)


def latents_of(stream: ContextStream, frames: list[np.ndarray]) -> np.ndarray:
    return np.array([stream.step(f, b) for f, b in zip(frames, [*frames[1:], None], strict=True)])


def test_frame_by_frame_as_all_at_once(model, books):
    frames = frames_of(20)
    sums, counts = [], []
    for frame in frames:
        known = frame[: int(np.argmax(np.append(frame, ERASED) == ERASED))]
        sums.append(books[np.arange(len(known)), known].sum(axis=0))
        counts.append(len(known))
    own = torch.from_numpy(np.array(sums, np.float32))[None]
    count = torch.tensor([counts])
    behind = torch.cat([own[:, 1:], torch.zeros(1, 1, DIMENSION)], dim=1)
    with torch.no_grad():
        wanted, _ = model(own, count, behind, torch.cat([count[:, 1:], count[:, :1] * 0], dim=1))
    found = latents_of(ContextStream(model, books), frames)
    assert np.allclose(found, wanted[0].numpy(), atol=1e-5)
    # Nothing but the frame behind is looked at.
    changed = [*frames[:10], *frames_of(10, seed=5)]
    other = latents_of(ContextStream(model, books), changed)
    assert np.allclose(found[:9], other[:9], atol=1e-6) and not np.allclose(found[9:], other[9:])


@pytest.mark.parametrize("back", [1, 2, 5])
def test_repair_is_as_if_it_had_come_in_time(model, books, back):
    frames = frames_of(12)
    stream, late = ContextStream(model, books), ContextStream(model, books)
    latents_of(stream, frames)
    gone = [*frames]
    gone[-back] = LOST
    latents_of(late, gone)
    assert not torch.allclose(stream._state, late._state)
    late.replace(back, frames[-back])
    assert torch.allclose(stream._state, late._state, atol=1e-6)
    # What is too old, or has not come yet, changes nothing.
    late.replace(HISTORY_FRAMES + 1, LOST)
    late.replace(0, LOST)
    late.replace(-3, LOST)
    assert torch.allclose(stream._state, late._state, atol=1e-6)


def test_memory_is_bounded(model, books):
    stream = ContextStream(model, books)
    for frame in frames_of(5 * HISTORY_FRAMES):
        stream.step(frame, None)
    assert len(stream._history) == HISTORY_FRAMES


def test_concealer_gives_a_latent_of_every_frame(model, books):
    concealer = ContextConcealer(ContextStream(model, books))
    # Before the first frame that arrives there is nothing to go by.
    assert concealer.step(ReceivedFrame(0, LOST)).latent is None
    whole, cut = np.arange(8, dtype=np.uint16), np.arange(8, dtype=np.uint16)
    cut[3:] = ERASED
    done = concealer.step(ReceivedFrame(1, whole, following=cut))
    assert done.latent.shape == (DIMENSION,) and done.concealed_tokens == 0
    assert np.array_equal(done.tokens, whole)
    assert concealer.step(ReceivedFrame(2, cut)).concealed_tokens == 5
    lost = concealer.step(ReceivedFrame(3, LOST))
    assert lost.latent is not None and lost.concealed_tokens == 8 and lost.gain == 1.0
    silent = concealer.step(ReceivedFrame(4, LOST, silence=True))
    assert silent.latent is None and silent.gain == 0.0
    late = concealer.late_step(ReceivedFrame(5, whole))
    assert late.latent is None and np.array_equal(late.tokens, whole)
    # Tokens that are no entries come from a broken sender.
    odd = concealer.step(ReceivedFrame(6, np.full(8, 60_000, np.uint16)))
    assert np.all(np.isfinite(odd.latent))
    concealer.repair(ReceivedFrame(3, whole))
    concealer.repair(ReceivedFrame(900, whole))
    found = concealer.statistics()
    assert found["repairs"] == 2 and found["late"] == 1 and found["failures"] == 0
    assert found["frames"] == 7


def test_within_a_gap_the_linear_estimate_is_played(model, books):
    on = np.vstack([np.eye(DIMENSION), np.zeros((1, DIMENSION))]).astype(np.float32)
    cases = {"count0": on, "count0_made_up": 0.5 * on, "mean": np.zeros(DIMENSION, np.float32)}
    completer = FrameCompleter(LatentEstimator(cases), books)
    mixed = ContextConcealer(ContextStream(model, books), completer)
    alone = ContextConcealer(ContextStream(model, books))
    whole = np.arange(8, dtype=np.uint16)
    frames = [ReceivedFrame(0, whole), *(ReceivedFrame(n, LOST) for n in (1, 2, 3))]
    frames += [ReceivedFrame(4, LOST, following=whole), ReceivedFrame(5, whole)]
    pairs = [(mixed.step(f).latent, alone.step(f).latent) for f in frames]
    same = [bool(np.allclose(a, b, atol=1e-6)) for a, b in pairs]
    assert same == [True, True, False, False, True, True]
    mixed.reset()
    assert mixed.step(ReceivedFrame(0, LOST)).latent is None


def test_failure_falls_back_and_is_counted(model, books):
    concealer = ContextConcealer(ContextStream(model, books))
    whole = np.arange(8, dtype=np.uint16)
    concealer.step(ReceivedFrame(0, whole))
    with torch.no_grad():
        model.contract.bias.fill_(float("nan"))
    done = concealer.step(ReceivedFrame(1, LOST))
    assert done.latent is None and np.array_equal(done.tokens, whole)
    assert concealer.statistics()["failures"] == 1
    with torch.no_grad():
        model.contract.bias.zero_()
    assert concealer.step(ReceivedFrame(2, whole)).latent is not None


def test_model_and_codec_must_fit(model):
    with pytest.raises(ValueError, match="6 numbers.*has 9"):
        ContextStream(model, np.zeros((8, 32, 9), np.float32))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimates of missing tokens from the frames around them."""

import numpy as np
import pytest
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.concealment.concealer import ReceivedFrame, make_concealer
from gnuradio.largesc.concealment.estimator import FrameCompleter, LatentEstimator, nearest_tokens

LOST = np.full(8, ERASED_TOKEN, dtype=np.uint16)


@pytest.fixture
def line() -> np.ndarray:
    """Codebooks of latents on a line: the first in steps of one, the second of a thousandth."""
    books = np.zeros((8, 2048, 1), dtype=np.float32)
    books[0, :, 0] = np.arange(2048)
    books[1, :, 0] = np.linspace(-0.5, 0.5, 2048)
    return books


def estimator() -> LatentEstimator:
    """Half way between the frames around, or on as before."""
    half = np.array([[0.5], [0.5], [0.0]], dtype=np.float32)
    on = np.array([[1.0], [0.0]], dtype=np.float32)
    cases = {"count0": on, "count0_following": half, "count0_made_up": on}
    return LatentEstimator(cases | {"mean": np.array([100.0], dtype=np.float32)})


def at(value: float, books: np.ndarray) -> np.ndarray:
    return nearest_tokens(LOST, np.array([value], dtype=np.float32), books)


def value_of(tokens: np.ndarray, books: np.ndarray) -> float:
    return float(sum(books[k][int(t)][0] for k, t in enumerate(tokens)))


def test_gap_is_filled_from_both_sides(line):
    completer = FrameCompleter(estimator(), line)
    assert np.array_equal(completer.complete(at(10.0, line)), at(10.0, line))
    filled = completer.complete(LOST, following=at(20.0, line))
    assert value_of(filled, line) == pytest.approx(15.0, abs=1e-2)
    # Within a gap it goes on; with nothing before it, from the mean.
    assert value_of(completer.complete(LOST), line) == pytest.approx(15.0, abs=1e-2)
    completer.reset()
    assert value_of(completer.complete(LOST), line) == pytest.approx(100.0, abs=1e-2)


def test_what_was_received_stays(line):
    completer = FrameCompleter(estimator(), line)
    for count in range(1, 9):
        frame = at(10.3, line)
        frame[count:] = ERASED_TOKEN
        assert np.array_equal(completer.complete(frame, at(20.0, line))[:count], frame[:count])


def test_case_that_was_not_trained_takes_the_guess(line):
    completer = FrameCompleter(LatentEstimator({"mean": np.zeros(1)}), line)
    guess = at(7.0, line)
    assert np.array_equal(completer.complete(LOST, None, guess), guess)
    assert np.array_equal(completer.complete(LOST), LOST)


def test_bad_estimators_are_refused(line):
    with pytest.raises(ValueError, match="has no mean"):
        LatentEstimator({})
    with pytest.raises(ValueError, match="'count0' of the estimator has the shape"):
        LatentEstimator({"mean": np.zeros(3), "count0": np.zeros((4, 2))})
    with pytest.raises(ValueError, match="latents of 3 numbers, the codec has 1"):
        FrameCompleter(LatentEstimator({"mean": np.zeros(3)}), line)
    with pytest.raises(ValueError, match="needs an estimator"):
        make_concealer("interpolate")


def test_concealer_leaves_silence_to_the_decoder_and_never_raises(line):
    concealer = make_concealer("interpolate", completer=FrameCompleter(estimator(), line))
    concealer.step(ReceivedFrame(0, at(10.0, line)))
    quiet = concealer.step(ReceivedFrame(1, LOST, silence=True))
    assert quiet.gain == 0.0 and quiet.concealed_tokens == 0
    gains = [concealer.step(ReceivedFrame(2 + n, LOST)).gain for n in range(12)]
    assert gains[0] == 1.0 and gains[-1] == 0.0
    rng = np.random.default_rng(0)
    for n in range(300):
        tokens = rng.integers(0, 2048, 8).astype(np.uint16)
        tokens[rng.integers(0, 9) :] = ERASED_TOKEN
        following = tokens[::-1].copy() if n % 3 else None
        done = concealer.step(ReceivedFrame(20 + n, tokens, False, following))
        assert done.tokens.dtype == np.uint16 and len(done.tokens) == 8

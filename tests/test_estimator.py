# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimates of missing tokens from the frames around them."""

import numpy as np
import pytest
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.concealment.concealer import ReceivedFrame, make_concealer
from gnuradio.largesc.concealment.interpolation import (
    FrameCompleter,
    LatentEstimator,
    nearest_tokens,
)

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


def test_recipe_learns_what_lies_between(models, tmp_path):
    """Latents that walk evenly between turning points, through losses and a language model."""
    import yaml
    from gnuradio.largesc.codec.codebooks import codebooks_of
    from gnuradio.largesc.codec.load import load_codec
    from gnuradio.largesc.concealment.load import load_estimator
    from gnuradio.largesc.training.config import read_config
    from gnuradio.largesc.training.recipes import interpolation as recipe
    from gnuradio.largesc.training.token_sets import TokenSet, save

    books = codebooks_of(load_codec(models).model)
    random = np.random.default_rng(0)
    turns = random.standard_normal((100, 16)).astype(np.float32) * 5
    walk = np.concatenate(
        [np.linspace(a, b, 8)[:-1] for a, b in zip(turns, turns[1:], strict=False)]
    )
    nothing = np.full(8, ERASED_TOKEN, dtype=np.uint16)
    tokens = np.array([nearest_tokens(nothing, latent, books) for latent in walk])
    save(
        TokenSet(tokens, walk.astype(np.float16), np.array([0, len(walk)])),
        tmp_path / "tokens_train.npz",
    )
    config = read_config(recipe.DEFAULT_CONFIG, recipe.CONFIG_KEYS)
    config |= {"frames": 600, "lm_frames": 100, "samples": 2}
    config["received"] |= {"shares": {"packet": 1.0}, "prefix_share": 0.0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    common = ["--config", str(tmp_path / "config.yaml"), "--work", str(tmp_path)]
    recipe.main([*common, "--codec", models, "--lm", models, "--output", str(tmp_path / "out")])

    learnt = load_estimator(str(tmp_path / "out"))
    assert "count0_following" in learnt.matrices and learnt.mean.shape == (16,)
    completer, errors, repeated = FrameCompleter(learnt, books), [], []
    for n in range(1, 100):
        completer.complete(tokens[n - 1])
        found = completer.latent(completer.complete(nothing, tokens[n + 1]))
        errors.append(np.square(found - walk[n]).sum())
        repeated.append(np.square(completer.latent(tokens[n - 1]) - walk[n]).sum())
    assert np.mean(errors) < 0.7 * np.mean(repeated)

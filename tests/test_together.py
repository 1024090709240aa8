# SPDX-License-Identifier: GPL-3.0-or-later
"""Concealers of many streams in one step give what each gives alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.codec.codebooks import codebooks_of
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.concealment.concealer import LanguageModelConcealer, ReceivedFrame
from gnuradio.largesc.concealment.interpolation import nearest_tokens
from gnuradio.largesc.concealment.lm_batch import LanguageModelBatch, SharedLanguageModelStream
from gnuradio.largesc.concealment.lm_stream import LanguageModelStream
from gnuradio.largesc.concealment.load import concealer_maker, load_concealer
from gnuradio.largesc.concealment.together import Codebooks, ConcealerGroup
from helpers import small_lm


@pytest.fixture(scope="module")
def books():
    return codebooks_of(load_codec().model)


def frames(rng: np.random.Generator, count: int) -> list[ReceivedFrame]:
    """Whole frames, prefixes, lost ones and silence, with and without what follows."""
    found = []
    for n in range(count):
        tokens = rng.integers(0, 2048, 8).astype(np.uint16)
        kept = int(rng.choice([0, 0, 2, 4, 6, 8, 8, 8]))
        tokens[kept:] = ERASED_TOKEN
        following = rng.integers(0, 2048, 8).astype(np.uint16)
        following[rng.integers(0, 9) :] = ERASED_TOKEN
        silence = kept == 0 and rng.random() < 0.2
        found.append(
            ReceivedFrame(n, tokens, silence, following if rng.random() < 0.7 else None, 8)
        )
    return found


@pytest.mark.parametrize("method", ["interpolate", "context", "repeat", "silence"])
def test_group_gives_what_each_gives_alone(books, method):
    make, rng = concealer_maker(method, books), np.random.default_rng(1)
    group = ConcealerGroup(Codebooks(books))
    mine, alone = {n: make() for n in range(5)}, {n: make() for n in range(5)}
    streams = {n: frames(rng, 60) for n in range(5)}
    for turn in range(60):
        # Not all have a frame each time.
        chosen = [n for n in streams if rng.random() < 0.9]
        found = group.step({n: (mine[n], streams[n][turn]) for n in chosen})
        assert set(found) == set(chosen)
        for n in chosen:
            expected = alone[n].step(streams[n][turn])
            np.testing.assert_array_equal(found[n].tokens, expected.tokens)
            assert found[n].gain == expected.gain and found[n].index == expected.index
            if expected.latent is not None:
                np.testing.assert_array_equal(found[n].latent, expected.latent)
    for n in streams:
        assert mine[n].statistics() == alone[n].statistics()


@pytest.mark.parametrize(("delay", "mode"), [(0, "speculative"), (1, "speculative"), (1, "wait")])
def test_language_models_that_join_leave_and_are_repaired_are_those_of_one(books, delay, mode):
    """1,000 frames of up to five streams, some of which come back as new ones."""
    options = {"delay_mode": mode, "seed": 3, "codebooks": books}
    batch = LanguageModelBatch(small_lm(1, context=32, delays=[0, 0, *[delay] * 7]), 4, False, 4)
    group, rng = ConcealerGroup(Codebooks(books)), np.random.default_rng(4)

    # Weights are the same by the seed.
    models = [small_lm(1, context=32, delays=[0, 0, *[delay] * 7]) for _ in range(5)]
    idle = [LanguageModelStream(model, samples=4, **options) for model in models]

    def opened():
        stream = idle.pop()
        stream.reset()
        mine = LanguageModelConcealer(SharedLanguageModelStream(batch, **options))
        return mine, LanguageModelConcealer(stream)

    pairs, stepped, heard = {}, 0, []
    while stepped < 1000:
        if len(pairs) < 5 and rng.random() < 0.2:
            pairs[max(pairs, default=-1) + 1] = (*opened(), frames(rng, 200), [])
        elif pairs and rng.random() < 0.02:
            mine, alone, *_ = pairs.pop(int(rng.choice(list(pairs))))
            mine.close()
            idle.append(alone.stream)
        chosen = [n for n in pairs if rng.random() < 0.9 and len(pairs[n][3]) < 200]
        turns = {n: (pairs[n][0], pairs[n][2][len(pairs[n][3])]) for n in chosen}
        found = group.step(turns)
        for n in chosen:
            mine, alone, _, done = pairs[n]
            frame = turns[n][1]
            done.append(frame)
            stepped += 1
            expected = alone.step(frame)
            assert (n in found) == (expected is not None)
            if expected is not None:
                np.testing.assert_array_equal(found[n].tokens, expected.tokens)
                assert found[n].gain == expected.gain and found[n].index == expected.index
            hidden = alone.stream._hidden
            heard.append(float((mine.stream._hidden - hidden).abs().max()))
            if rng.random() < 0.1 and len(done) > 6:
                late = done[-int(rng.integers(1, 6))]
                late = replace(late, tokens=rng.integers(0, 2048, 8).astype(np.uint16))
                mine.repair(late)
                alone.repair(late)
    assert max(heard) < 1e-4
    assert all(m.statistics() == a.statistics() for m, a, *_ in pairs.values())
    assert not any(m.statistics()["failures"] for m, *_ in pairs.values())


def test_language_model_that_fails_harms_no_other_call(books):
    make = concealer_maker("lm", books, most=4)
    group, rng = ConcealerGroup(Codebooks(books)), np.random.default_rng(3)
    bad, good, alone = make(), make(), load_concealer("lm")
    bad.stream._choose = None
    for frame in frames(rng, 12):
        expected = alone.step(frame)
        found = group.step({0: (bad, frame), 1: (good, frame)})
        np.testing.assert_array_equal(found[1].tokens, expected.tokens)
        assert found[0].index == frame.index
    assert bad.statistics()["failures"] > 0 and good.statistics()["failures"] == 0
    bad.close()
    # A fault of the model is one of all, and none is silent.
    good.stream.batch.rows.step = None
    assert group.step({1: (good, frame)})[1].index == frame.index
    assert good.statistics()["failures"] == 1


def test_search_of_many_frames_is_the_search_of_each(books):
    rng, fast = np.random.default_rng(2), Codebooks(books)
    tokens = rng.integers(0, 2048, (64, 8)).astype(np.uint16)
    for row in tokens:
        row[rng.integers(0, 9) :] = ERASED_TOKEN
    rests = rng.standard_normal((64, 64)).astype(np.float32)
    found = fast.nearest(tokens, rests)
    for row, mine, rest in zip(tokens, found, rests, strict=True):
        np.testing.assert_array_equal(mine, nearest_tokens(row, rest, books))


def test_one_that_fails_is_repeated_and_harms_no_other(books):
    make = concealer_maker("interpolate", books)
    group, rng = ConcealerGroup(Codebooks(books)), np.random.default_rng(3)
    bad, good, alone = make(), make(), make()
    bad.completer = SimpleNamespace(reset=lambda: None)
    for frame in frames(rng, 20):
        expected = alone.step(frame)
        found = group.step({0: (bad, frame), 1: (good, frame)})
        np.testing.assert_array_equal(found[1].tokens, expected.tokens)
        assert found[0].index == frame.index
    assert bad.statistics()["failures"] > 0 and good.statistics()["failures"] == 0

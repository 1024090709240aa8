# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for tokens: against moshi's greedy choice, and against all there are."""

import itertools

import pytest
import torch
from gnuradio.largesc.codec.quantizer import SearchingQuantizer, search
from moshi.quantization import ResidualVectorQuantizer


@pytest.fixture
def quantizer() -> SearchingQuantizer:
    """Four codebooks of 16 entries in 6 dimensions, each finer than the one before."""
    torch.manual_seed(0)
    found = SearchingQuantizer(dimension=6, n_q=4, bins=16).eval()
    for number, layer in enumerate(found.vq.layers):
        layer._codebook.embedding_sum.copy_(torch.randn(16, 6) * 0.7**number)
        layer._codebook.cluster_usage.fill_(1.0)
        layer._codebook._initialized.fill_(1)
    return found


def error(quantizer: SearchingQuantizer, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return (quantizer.decode(codes) - x).square().sum(dim=1)


def test_one_path_is_the_greedy_choice(quantizer):
    x = torch.randn(1, 6, 300)
    books = [layer.embedding for layer in quantizer.vq.layers]
    greedy = ResidualVectorQuantizer.encode(quantizer, x)[0].T
    assert torch.equal(search(x[0].T, books, paths=1), greedy)


def test_search_is_better_than_greedy_and_near_the_best(quantizer):
    x = torch.randn(2, 6, 40)
    books = [layer.embedding for layer in quantizer.vq.layers]
    codes = quantizer.encode(x)
    assert codes.shape == (2, 4, 40) and codes.dtype == torch.long
    found = error(quantizer, x, codes)
    greedy = error(quantizer, x, ResidualVectorQuantizer.encode(quantizer, x))
    every = torch.tensor(list(itertools.product(range(16), repeat=4)))
    sums = sum(book[every[:, k]] for k, book in enumerate(books))
    best = torch.cdist(x.transpose(1, 2).flatten(0, 1), sums).square().amin(dim=1)
    assert found.mean() < 0.9 * greedy.mean()
    assert found.flatten().mean() < 1.15 * best.mean() and (found.flatten() > best - 1e-4).all()


def test_one_frame_at_a_time_and_fewer_codebooks(quantizer):
    x = torch.randn(1, 6, 700)
    whole = quantizer.encode(x)
    single = torch.cat([quantizer.encode(x[:, :, n : n + 1]) for n in range(700)], dim=2)
    # Equal but where two sums are equally near within rounding.
    assert (whole == single).float().mean() > 0.995
    quantizer.set_num_codebooks(2)
    assert quantizer.encode(x).shape == (1, 2, 700)
    assert quantizer.encode(x[:, :, :0]).shape == (1, 2, 0)

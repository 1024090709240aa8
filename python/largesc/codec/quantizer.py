# SPDX-License-Identifier: GPL-3.0-or-later
"""Moshi's residual quantiser with a better search for the tokens."""

import torch
from moshi.quantization import ResidualVectorQuantizer

# Paths kept from one codebook to the next.
PATHS = 8


def search(points: torch.Tensor, books: list[torch.Tensor], paths: int = PATHS) -> torch.Tensor:
    """Tokens ``[n, codebooks]`` of ``points`` ``[n, dimension]``, by beam search.

    The nearest entry of each codebook in turn, as residual quantisers choose it, is not the best
    sum of all. Here the best ``paths`` sums go on from each codebook to the next.
    """
    count, size = points.shape[0], books[0].shape[0]
    residual, tokens = points[:, None], points.new_zeros((count, 1, 0), dtype=torch.long)
    # Squared distance, but for the norm of the point.
    distance = points.new_zeros((count, 1))
    for number, book in enumerate(books):
        norms = book.square().sum(dim=1).expand(count, 1, size)
        apart = torch.baddbmm(norms, residual, book.T.expand(count, -1, -1), alpha=-2.0)
        apart = (apart + distance[:, :, None]).flatten(1)
        keep = paths if number + 1 < len(books) else 1
        distance, best = apart.topk(keep, dim=1, largest=False)
        path, entry = torch.div(best, size, rounding_mode="floor"), best % size
        residual = residual.gather(1, path[:, :, None].expand(-1, -1, points.shape[1]))
        residual = residual - book[entry]
        tokens = tokens.gather(1, path[:, :, None].expand(-1, -1, number))
        tokens = torch.cat([tokens, entry[:, :, None]], dim=2)
    return tokens[:, 0]


class SearchingQuantizer(ResidualVectorQuantizer):
    """A ``ResidualVectorQuantizer`` that encodes by :func:`search`; it decodes as ever."""

    # Frames at once: distances take 128 KiB each, and fit the cache so.
    CHUNK = 64

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens ``[B, codebooks, n]`` of the latent ``[B, dimension, n]``."""
        books = [layer.embedding for layer in self.vq.layers[: self.n_q]]
        points = self.input_proj(x).transpose(1, 2)
        found = [search(part, books) for part in points.flatten(0, 1).split(self.CHUNK)]
        shape = (*points.shape[:2], len(books))
        return torch.cat(found).reshape(shape).transpose(1, 2)

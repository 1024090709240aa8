# SPDX-License-Identifier: GPL-3.0-or-later
"""Residual k-means: codebooks for a residual quantiser."""

import torch


def residual_kmeans(
    latents: torch.Tensor, stages: int, entries: int, iterations: int, seed: int
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[float]]:
    """Residual k-means on ``[n, dimension]``; returns (centroids, usage) a stage, energy left.

    Raises:
        ValueError: there are fewer latents than entries.
    """
    if len(latents) < entries:
        raise ValueError(
            f"{len(latents)} frames of speech are too few for codebooks of {entries} entries: give "
            "more speech, or set fewer bins in the config"
        )
    generator = torch.Generator().manual_seed(seed)
    residual, books, left = latents.clone(), [], []
    energy = float(latents.square().sum())
    for stage in range(stages):
        centroids = residual[torch.randperm(len(residual), generator=generator)[:entries]].clone()
        for iteration in range(iterations):
            # Most of the way is gone on a third of the points.
            early = iteration < 2 * iterations // 3
            points = residual[iteration % 3 :: 3] if early else residual
            nearest = assign(points, centroids)
            usage = torch.bincount(nearest, minlength=entries)
            total = torch.zeros_like(centroids).index_add_(0, nearest, points)
            empty = usage == 0
            centroids = total / usage.clamp(min=1)[:, None]
            if empty.any():
                fresh = torch.randint(len(residual), (int(empty.sum()),), generator=generator)
                centroids[empty] = residual[fresh]
        nearest = assign(residual, centroids)
        usage = torch.bincount(nearest, minlength=entries).clamp(min=1).float()
        residual = residual - centroids[nearest]
        books.append((centroids, usage))
        left.append(float(residual.square().sum()) / energy)
        print(f"codebook {stage}: {100 * left[-1]:.2f} % of the energy left", flush=True)
    return books, left


def assign(points: torch.Tensor, centroids: torch.Tensor, chunk: int = 16384) -> torch.Tensor:
    """Index of the nearest centroid, ``[n]``."""
    bias = 0.5 * centroids.square().sum(dim=1)
    return torch.cat([(block @ centroids.T - bias).argmax(dim=1) for block in points.split(chunk)])

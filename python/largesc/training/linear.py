# SPDX-License-Identifier: GPL-3.0-or-later
"""The linear part of the codec in closed form: reduced-rank regression.

Gradient steps take thousands of rounds to find what a regression finds at once: which 64 numbers a
frame say most of WORLD's analysis of it.
"""

import torch

from ..codec.source_filter import HOP_SAMPLES
from ..speech.format import FRAME_SAMPLES
from .losses import VocoderLoss

HOPS = FRAME_SAMPLES // HOP_SAMPLES
# An octave of pitch counts as so many nepers in each band together, where it is voiced.
PITCH_NEPERS, UNVOICED_SHARE = 16.0, 0.1
RIDGE = 1e-3
# Of the latent's numbers these are left to the blocks: pitch is no linear thing.
FREE = 4


@torch.no_grad()
def targets(world: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    """What the decoder should find in each frame, ``[B, n, 8 (1 + 2 bands)]``, and its weights."""
    pitch, voiced, envelope, share = world
    power = torch.exp(envelope)
    floor = VocoderLoss.PART_FLOOR * power + VocoderLoss.FLOOR
    parts = [0.5 * torch.log(power * s + floor) for s in (1.0 - share, share)]
    # The filters lag by one hop behind the pitch, see VocoderLoss.
    filters = torch.cat(parts, dim=2).roll(1, dims=1)
    whole = torch.cat([pitch[:, :, None], filters], dim=2)
    weight = torch.ones_like(whole)
    weight[:, :, 0] = PITCH_NEPERS * (voiced + UNVOICED_SHARE * (1.0 - voiced))
    shape = (len(pitch), pitch.shape[1] // HOPS, -1)
    return whole.reshape(shape), weight.reshape(shape)


@torch.no_grad()
def fit_linear(model: torch.nn.Module, batches: list[tuple]) -> float:
    """Sets the linear maps of encoder and decoder; returns the share of variance left.

    Args:
        model: the codec; its blocks must not add anything yet.
        batches: ``(speech, world)`` as for ``CodecPass``.
    """
    inputs, wanted = [], []
    weight = None
    for speech, world in batches:
        features = model.encoder.within_frames(model.encoder.features(speech[:, None]))
        aims, weights = targets(world)
        # The first frame of a crop lacks what came before it.
        inputs.append(features[:, 1:].flatten(0, 1).double())
        wanted.append(aims[:, 1:].flatten(0, 1).double())
        mean = weights[:, 1:].flatten(0, 1).double().mean(dim=0)
        weight = mean if weight is None else weight + mean
    x, y = torch.cat(inputs), torch.cat(wanted)
    scale = weight / len(batches)
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, (y - y_mean) * scale
    covariance = x.T @ x
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=x.dtype)
    solution = torch.linalg.solve(covariance + ridge, x.T @ y)
    guessed = x @ solution
    rank = model.encoder.dimension - FREE
    _, vectors = torch.linalg.eigh(guessed.T @ guessed)
    vectors = vectors[:, -rank:].flip(1)
    latent = guessed @ vectors
    unit = latent.square().mean().sqrt()
    encode = (solution @ vectors / unit).T
    for parameter in (*model.encoder.linear.parameters(), *model.decoder.linear.parameters()):
        parameter.zero_()
    model.encoder.linear.weight[:rank] = encode.float()
    model.encoder.linear.bias[:rank] = -(encode @ x_mean).float()
    model.decoder.linear.weight[:, :rank] = (vectors * unit / scale[:, None]).float()
    model.decoder.linear.bias.copy_(y_mean)
    return float((y - latent @ vectors.T).square().sum() / y.square().sum())

# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear channel code of speech latents with more symbols than directions: speech
becomes rougher as the SNR falls.

A block of four frames is turned to its strongest directions. Each gets a share of the power, and
all are spread over all symbols of the block. Symbols are limited, so that an amplifier need not
hold back for rare peaks. The receiver takes the estimate of least mean squared error, which knows
the gain and noise of each symbol.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..radio.burst_reader import spread_order
from ..radio.pulses import whitening
from ..speech.format import FRAME_S

BLOCK_FRAMES = 4
# Amplitude of the greatest symbols, by the RMS before they are limited. Words at -3 to 6 dB do not
# suffer, and peaks of a burst come down from 4 to 2.4 times its RMS.
GREATEST = 1.3
# The linear estimate has no use for more than this of a symbol's power over the noise.
MOST_SNR = 1e5


@dataclass(frozen=True)
class LatentStatistics:
    """What the code is made from.

    Attributes:
        mean: of a latent, ``[dimension]``.
        basis: directions of a block by falling variance, ``[4 dimension, 4 dimension]``.
        variance: along them, ``[4 dimension]``.
    """

    mean: np.ndarray
    basis: np.ndarray
    variance: np.ndarray

    @property
    def dimension(self) -> int:
        """Returns the numbers of a latent."""
        return len(self.mean)


class SpreadCode:
    """Latents to symbols of mean power 1 over all speech, and back.

    Args:
        statistics: that it was fitted to.
        symbols: complex symbols a frame of 80 ms.
        snr_db: of a symbol, at which it leaves the least squared error; it is little worse at
            others.

    Raises:
        ValueError: ``symbols`` are too few.

    Attributes:
        symbols: as given.
        block_symbols: complex symbols a block of four frames.
    """

    def __init__(self, statistics: LatentStatistics, symbols: int, snr_db: float = 0.0) -> None:
        least = statistics.dimension // 2
        if symbols < least:
            raise ValueError(f"symbols {symbols} are too few: use {least} a frame, or more")
        self.statistics, self.symbols = statistics, symbols
        self.block_symbols = BLOCK_FRAMES * symbols
        reals = 2 * self.block_symbols
        variance = np.maximum(statistics.variance.astype(np.float64), 1e-12)
        self._amplitude = np.sqrt(poured(variance, reals / 2, 10.0 ** (-snr_db / 10.0)) / variance)
        used = self._amplitude > 0
        self._amplitude, self._variance = self._amplitude[used], variance[used]
        self._basis = statistics.basis[:, used].astype(np.float64)
        self._rest = float(variance[~used].sum())
        self._mix = spreading(reals, int(used.sum())) * self._amplitude
        self._kept, self._broken = limit_of(GREATEST)

    def encode(self, latents: np.ndarray) -> np.ndarray:
        """Symbols of whole blocks.

        Args:
            latents: ``[4 n, dimension]``.

        Returns:
            complex64 ``[n, block_symbols]``.

        Raises:
            ValueError: latents of another shape, or none.
        """
        dimension = self.statistics.dimension
        if latents.ndim != 2 or latents.shape[1] != dimension or len(latents) % BLOCK_FRAMES:
            raise ValueError(f"latents of shape {latents.shape}: use [4 n, {dimension}]")
        if not len(latents):
            raise ValueError("latents of no frame: there is nothing to send")
        clean = np.nan_to_num(latents.astype(np.float64), posinf=0.0, neginf=0.0)
        blocks = (clean - self.statistics.mean).reshape(-1, BLOCK_FRAMES * dimension)
        reals = blocks @ self._basis @ self._mix.T
        x = reals[:, 0::2] + 1j * reals[:, 1::2]
        x *= np.minimum(1.0, GREATEST / np.maximum(np.abs(x), 1e-12))
        return (x / math.sqrt(self._power)).astype(np.complex64)

    @property
    def _power(self) -> float:
        """Mean power of limited symbols."""
        return self._kept**2 + self._broken

    @property
    def directions(self) -> int:
        """Returns the number of directions of a block that are sent."""
        return len(self._variance)

    @property
    def variances(self) -> np.ndarray:
        """Returns the variance along each of them, ``[directions]``."""
        return self._variance

    @property
    def kept(self) -> float:
        """Returns the part of a symbol's power that is the symbol's own."""
        return self._kept**2 / self._power

    @property
    def broken(self) -> float:
        """Returns the part of a symbol's power that limiting made, and is noise."""
        return self._broken / self._power

    def mixing(self) -> np.ndarray:
        """Directions to symbols of a block, complex ``[block_symbols, directions]``."""
        return (self._mix[0::2] + 1j * self._mix[1::2]) * math.sqrt(self.kept)

    def along(self, latents: np.ndarray) -> np.ndarray:
        """Latents ``[4 n, dimension]`` along the directions, ``[n, directions]``."""
        size = BLOCK_FRAMES * self.statistics.dimension
        return (latents - self.statistics.mean).reshape(-1, size) @ self._basis

    def from_directions(
        self, found: np.ndarray, covariance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Latents ``[4 n, dimension]`` and what is unsure of them, ``[4 n]``.

        Args:
            found: along the directions, ``[n, directions]``.
            covariance: of their errors, ``[n, directions, directions]``.
        """
        latents = (found @ self._basis.T).reshape(-1, self.statistics.dimension)
        left = np.einsum("ij,njk,ik->ni", self._basis, covariance, self._basis, optimize=True)
        unsure = self._unsure(left).ravel()
        mean = self.statistics.mean
        return (latents + mean).astype(np.float32), unsure.astype(np.float32)

    def decode(self, y: np.ndarray, h: np.ndarray, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
        """Latents of received symbols, and how sure they are.

        Args:
            y: complex ``[n, block_symbols]``, upright: h x and noise.
            h: amplitude of each symbol, ``[n, block_symbols]``.
            snr_db: of a symbol where h is 1.

        Returns:
            Latents ``[4 n, dimension]``; and what of the variance of each frame is not known,
            ``[4 n]``, 0 to 1.

        Raises:
            ValueError: symbols or gains of another shape.
        """
        if y.ndim != 2 or y.shape[1] != self.block_symbols or h.shape != y.shape:
            raise ValueError(
                f"symbols of shape {y.shape} and gains of {h.shape}: use [n, {self.block_symbols}]"
            )
        y = np.nan_to_num(y, posinf=0.0, neginf=0.0)
        h = np.nan_to_num(np.abs(h), posinf=0.0).astype(np.float64)
        blocks = [self._block(*one, snr_db) for one in zip(y, h, strict=True)]
        found, covariance = (np.stack(part) for part in zip(*blocks, strict=True))
        return self.from_directions(found, covariance)

    def through(
        self, blocks: np.ndarray, snr_db: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encoder, channel and decoder in one, for training; the gain of a block is one.

        Args:
            blocks: latents ``[n, 4, dimension]``.
            snr_db: of a symbol of each block, ``[n]``; -inf: nothing arrives.
            rng: of the noise; that of limited symbols is taken for Gaussian.

        Returns:
            As :meth:`decode`: ``[n, 4, dimension]`` and ``[n, 4]``.
        """
        shape, power = blocks.shape, self._power
        sent = (blocks - self.statistics.mean).reshape(len(blocks), -1) @ self._basis
        fade = 10.0 ** (np.minimum(snr_db, 50.0)[:, None] / 10.0)
        worth = fade * self._kept**2 / power / (0.5 + fade * (0.5 * self._broken / power))
        sharp = worth * self._amplitude**2
        noise = rng.standard_normal(sent.shape)
        left = 1.0 / (sharp + 1.0 / self._variance)
        along = left * (sharp * sent + np.sqrt(sharp) * noise)
        latents = (along @ self._basis.T).reshape(shape) + self.statistics.mean
        return latents, self._unsure(left @ (self._basis**2).T)

    def _unsure(self, left: np.ndarray) -> np.ndarray:
        """Share of each frame's variance that is left, from that of each number of the block."""
        whole = self.statistics.basis**2 @ self.statistics.variance
        frames = whole.reshape(BLOCK_FRAMES, -1).sum(axis=1)
        found = left.reshape(*left.shape[:-1], BLOCK_FRAMES, -1).sum(axis=-1)
        return np.clip((found + self._rest / BLOCK_FRAMES) / frames, 0.0, 1.0)

    def _block(self, y: np.ndarray, h: np.ndarray, snr_db: float) -> tuple[np.ndarray, np.ndarray]:
        # A limited symbol is the part kept of it, and noise of its own that fades with it.
        power = self._power
        noise = 0.5 * 10.0 ** (-min(snr_db, 50.0) / 10.0)
        told = h**2 * (self._kept**2 / power)
        spoilt = np.maximum(noise + h**2 * (0.5 * self._broken / power), told / MOST_SNR)
        worth = np.repeat(told / spoilt, 2)
        heard = np.empty(2 * len(y))
        heard[0::2], heard[1::2] = y.real, y.imag
        pull = self._mix.T @ (heard * np.repeat(h * self._kept / math.sqrt(power) / spoilt, 2))
        sharpness = (self._mix.T * worth) @ self._mix
        sharpness[np.diag_indices_from(sharpness)] += 1.0 / self._variance
        covariance = np.linalg.inv(sharpness)
        return covariance @ pull, covariance


def fit_latents(latents: list[np.ndarray]) -> LatentStatistics:
    """The statistics of utterances ``[frames, dimension]``, in closed form.

    Raises:
        ValueError: too few frames.
    """
    frames, dimension = sum(map(len, latents)), latents[0].shape[1]
    size = BLOCK_FRAMES * dimension
    if frames < 4 * size:
        raise ValueError(
            f"{frames} frames of speech are too few: give at least {4 * size}, "
            f"{4 * size * FRAME_S:.0f} s"
        )
    mean = sum(one.sum(axis=0, dtype=np.float64) for one in latents) / frames
    covariance, blocks = np.zeros((size, size)), 0
    for one in latents:
        whole = one[: len(one) // BLOCK_FRAMES * BLOCK_FRAMES].astype(np.float64)
        rows = (whole - mean).reshape(-1, size)
        covariance += rows.T @ rows
        blocks += len(rows)
    values, vectors = np.linalg.eigh(covariance / blocks)
    return LatentStatistics(mean, vectors[:, ::-1], np.maximum(values[::-1], 0.0))


def poured(variance: np.ndarray, total: float, noise: float) -> np.ndarray:
    """Power of each direction, ``[n]``, that leaves the least squared error behind the noise.

    Lee and Petersen, IEEE Trans. Commun. 24(12), 1976: what a direction gets grows with the root
    of its variance, and the weakest get nothing.

    Args:
        variance: of each direction.
        total: that the powers add up to.
        noise: power of it on a complex symbol.
    """
    root, half = np.sqrt(variance), noise / 2.0
    strong = np.argsort(-root)
    for count in range(len(root), 0, -1):
        kept = strong[:count]
        level = (total + count * half) / root[kept].sum()
        power = root[kept] * level - half
        if power.min() >= 0:
            break
    found = np.zeros_like(variance)
    found[kept] = power
    return found


def spreading(reals: int, directions: int) -> np.ndarray:
    """Orthonormal columns ``[reals, directions]`` that each reach all symbols alike.

    Columns that follow each other have frequencies far apart. The strongest directions come first:
    at neighbouring frequencies, both numbers of a symbol would be great together.
    """
    n, k = np.arange(reals)[:, None], spread_order(directions)[None]
    # Cosines over all of the range of frequencies.
    column = (k * reals) // directions
    cosine = np.cos(np.pi * (n + 0.5) * column / reals) * np.sqrt(2.0 / reals)
    cosine[:, column[0] == 0] /= np.sqrt(2.0)
    return cosine * (1.0 - 2.0 * whitening(reals)[:, None])


def limit_of(greatest: float) -> tuple[float, float]:
    """What limiting keeps of a Gaussian symbol of power 1.

    Rowe, Bell Syst. Tech. J. 61(7), 1982, for a complex one: amplitudes above ``greatest`` become
    ``greatest``.

    Returns:
        the factor of the symbol itself, and the power of the noise that comes with it.
    """
    power = 1.0 - math.exp(-(greatest**2))
    kept = power + 0.5 * math.sqrt(math.pi) * greatest * math.erfc(greatest)
    return kept, power - kept**2

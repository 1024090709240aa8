# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel at each symbol of a burst, from the symbols that are known.

Known symbols stand in groups. What lies apart within a group tells the noise. Between groups the
gain is a Gaussian process; of how fast it fades, and of the carrier's offset, those are taken that
make the groups most likely. The gain elsewhere is then the estimate of least squared error.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Greatest Doppler shifts in Hz that are tried; 0: the gain stays.
DOPPLERS_HZ = (0.0, 0.1, 0.4, 1.0, 2.5, 6.0, 15.0)
# Of each group's own power, so that rounding leaves its matrix positive.
JITTER = 1e-6
# Least noise, as a share of the power: half of what arithmetic and pulses leave.
LEAST_NOISE = 1e-5


@dataclass(frozen=True)
class Gain:
    """The channel along a burst, as its groups of known symbols tell it.

    Attributes:
        noise: power of the noise in a symbol.
        turn: frequency of the carrier, in cycles a symbol.
        likelihood: logarithm, to a constant.
    """

    noise: float
    turn: float
    likelihood: float
    _signal: float
    _doppler: float
    _middle: np.ndarray
    _size: np.ndarray
    _known: np.ndarray
    _upright: np.ndarray

    def at(self, places: np.ndarray) -> tuple[np.ndarray, float]:
        """The gain at symbols of the burst, complex64 ``[n]``, and its mean square error."""
        weight = np.sqrt(self._size)
        reach = self._signal * _kernel(places, self._middle, self._doppler) * weight
        h = (
            reach
            @ (self._known @ (weight * self._upright))
            * np.exp(2j * np.pi * self.turn * places)
        )
        told = float(np.mean(np.sum(reach @ self._known * reach, axis=1)))
        return h.astype(np.complex64), max(self._signal - told, 0.0)


def fit_gain(
    heard: np.ndarray, places: np.ndarray, groups: np.ndarray, turns: np.ndarray, symbol_rate: float
) -> Gain:
    """The gain by known symbols.

    Args:
        heard: complex ``[n]``: known symbols as received, times the conjugates of what was sent.
        places: symbols of the burst at which they stand, ``[n]``.
        groups: number of the group of each, ``[n]``, from 0 on.
        turns: frequencies that are tried, cycles a symbol, evenly spaced.
        symbol_rate: symbols a second.
    """
    size = np.bincount(groups).astype(float)
    middle = np.bincount(groups, places) / size
    power = max(float(np.mean(np.abs(heard) ** 2)), 1e-30)
    mean = _means(heard, groups, size)
    # Within a group neither fading nor the carrier does much.
    noise = float(np.sum(np.abs(heard - mean[groups]) ** 2)) / max(1, len(heard) - len(size))
    noise = max(noise, LEAST_NOISE * power)
    signal = max(power - noise, 0.01 * noise)
    kernels = _kernels(tuple(middle), tuple(size), symbol_rate)
    scaled = np.sqrt(size) * mean
    best = _most_likely(scaled, middle, kernels, signal, noise, turns)
    near = best[1] + np.linspace(-1.0, 1.0, 17) * (turns[1] - turns[0])
    best = max(best, _most_likely(scaled, middle, kernels, signal, noise, near))
    likelihood, turn, which = best
    likelihood -= (len(heard) - len(size)) * np.log(noise)
    values, vectors = kernels[which]
    known = vectors / (signal * values + noise) @ vectors.T
    doppler = DOPPLERS_HZ[which] / symbol_rate
    upright = mean * np.exp(-2j * np.pi * turn * middle)
    return Gain(noise, turn, likelihood, signal, doppler, middle, size, known, upright)


def _means(heard: np.ndarray, groups: np.ndarray, size: np.ndarray) -> np.ndarray:
    return (np.bincount(groups, heard.real) + 1j * np.bincount(groups, heard.imag)) / size


def _most_likely(
    scaled: np.ndarray,
    middle: np.ndarray,
    kernels: tuple[tuple[np.ndarray, np.ndarray], ...],
    signal: float,
    noise: float,
    turns: np.ndarray,
) -> tuple[float, float, int]:
    """Logarithm of the likelihood, the turn, and the number of the kernel."""
    turned = scaled[:, None] * np.exp(-2j * np.pi * np.outer(middle, turns))
    best = (-np.inf, 0.0, 0)
    for which, (values, vectors) in enumerate(kernels):
        spread = signal * values + noise
        fit = -np.sum(np.abs(vectors.T @ turned) ** 2 / spread[:, None], axis=0)
        found = int(np.argmax(fit))
        best = max(best, (float(fit[found] - np.log(spread).sum()), float(turns[found]), which))
    return best


def _kernel(one: np.ndarray, other: np.ndarray, doppler: float) -> np.ndarray:
    """How alike the gain is at two places; ``doppler`` in cycles a symbol.

    Like the Bessel function of Jakes' spectrum near by, and falling to 0.
    """
    return np.exp(-np.square(np.pi * doppler * (one[:, None] - other[None])))


@lru_cache(maxsize=64)
def _kernels(
    middle: tuple[float, ...], size: tuple[int, ...], symbol_rate: float
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Eigenvalues and vectors of each kernel, its groups weighed by their sizes."""
    at, weight = np.array(middle), np.sqrt(np.array(size, dtype=float))
    found = []
    for doppler_hz in DOPPLERS_HZ:
        kernel = _kernel(at, at, doppler_hz / symbol_rate) + JITTER * np.eye(len(at))
        values, vectors = np.linalg.eigh(weight[:, None] * kernel * weight[None])
        found.append((np.maximum(values, 0.0), vectors))
    return tuple(found)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Echoes taken out of a burst, where there are any."""

import numpy as np

from .tracking import fit_known, soft_decisions

# Symbols to each side that a symbol is made of; two samples a symbol.
REACH = 3
# Regularisation, as shares of the mean power; the one that fits best counts.
RIDGES = (0.01, 0.1, 1.0)
# The equaliser must explain the known symbols this much better than one tap does: in white noise
# its taps would only add noise.
WORTH = 0.7
# Behind the known symbols the taps are found anew every few symbols, from so many decided ones.
STEP, MEMORY = 16, 64


def equalise(samples: np.ndarray, known: np.ndarray, bits_per_symbol: int) -> np.ndarray:
    """Symbols of a burst, by least squares over its known start, then over its own decisions.

    Each known symbol is judged by taps that were found without it.

    Args:
        samples: complex, two a symbol and matched to the pulse; the first symbol is number
            ``2 * REACH``, and as many follow the last one.
        known: complex ``[k]``, the first symbols.
        bits_per_symbol: of the others, 1 or 2.

    Returns:
        complex ``[n]``: equalised, or as they came where that is no worse.
    """
    windows = np.lib.stride_tricks.sliding_window_view(samples, 4 * REACH + 1)[::2]
    k = len(known)
    plain = windows[:, 2 * REACH]
    frequency = fit_known(plain[:k], known)[1]
    turn = np.exp(-1j * frequency * np.arange(len(windows)))
    turned = windows * turn[:, None]
    power = max(float(np.mean(np.abs(turned[:k]) ** 2)), 1e-30)
    error = _fit(turned[:k, 2 * REACH : 2 * REACH + 1], known, 1e-9 * power)[1]
    fits = [(*_fit(turned[:k], known, ridge * power), ridge * power) for ridge in RIDGES]
    taps, least, ridge = min(fits, key=lambda fit: fit[1])
    if least >= WORTH * error:
        return plain
    gain = 1.0 / max(least, 1e-3)
    out = turned @ taps
    decided = np.concatenate([known, np.zeros(len(out) - k, dtype=complex)])
    for first in range(k, len(out), STEP):
        last = min(first + STEP, len(out))
        out[first:last] = turned[first:last] @ taps
        decided[first:last] = soft_decisions(out[first:last], gain, bits_per_symbol)
        recent = slice(max(0, last - MEMORY), last)
        taps = _fit(turned[recent], decided[recent], ridge)[0]
    return out


def _fit(rows: np.ndarray, known: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Taps for ``rows`` ``[k, taps]``, and the mean square error of symbols left out in turn."""
    inverse = np.linalg.inv(rows.conj().T @ rows + ridge * np.eye(rows.shape[1]))
    taps = inverse @ (rows.conj().T @ known)
    own = np.real(np.einsum("ij,jk,ik->i", rows, inverse, rows.conj()))
    error = (known - rows @ taps) / np.maximum(1 - own, 1e-6)
    return taps, float(np.mean(np.abs(error) ** 2))

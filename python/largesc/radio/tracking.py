# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrier phase and amplitude along a burst, and soft bits.

The known symbols at the start give phase, frequency and noise. From there a Kalman filter follows
phase and frequency in blocks of a few symbols, by soft decisions; afterwards the whole burst is
known, and the channel at each symbol is the mean of its neighbours on both sides.
"""

from functools import lru_cache

import numpy as np

BLOCK = 8
# What the carrier may do in a symbol, radians^2 and (radians / symbol)^2.
PHASE_NOISE = 5e-5
FREQUENCY_NOISE = 1e-8
# First frequencies that are tried, in deviations of the estimate.
STARTS = np.linspace(-2.8, 2.8, 9)
# Symbols of the mean at the end, odd.
SMOOTHING = 49


def soft_decisions(symbols: np.ndarray, gain: float, bits_per_symbol: int) -> np.ndarray:
    """Expected symbols given ``symbols`` of amplitude 1; ``gain`` is Es/N0."""
    if bits_per_symbol == 1:
        # Along the diagonal.
        along = (symbols.real + symbols.imag) / np.sqrt(2)
        return np.tanh(2 * gain * along) * (1 + 1j) / np.sqrt(2)
    scale = np.sqrt(2) * gain
    return (np.tanh(scale * symbols.real) + 1j * np.tanh(scale * symbols.imag)) / np.sqrt(2)


@lru_cache(maxsize=256)
def phase_information(decibels: int, bits_per_symbol: int) -> float:
    """What an unknown symbol tells of the phase, as a share of what a known one tells, 0 to 1.

    The score is 2 Es/N0 Im(y s*), s the soft decision; its variance over 2 Es/N0, by quadrature.
    """
    gain = 10 ** (decibels / 10)
    level, deviation = 1 / np.sqrt(bits_per_symbol), np.sqrt(0.5 / gain)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()
    y = level + deviation * nodes
    soft = level * np.tanh(level * y / deviation**2)
    if bits_per_symbol == 1:
        # Noise across the diagonal, times the soft decision along it.
        variance = deviation**2 * np.sum(weights * soft**2)
    else:
        products = np.sum(weights * y**2) * np.sum(weights * soft**2)
        variance = 2 * (products - np.sum(weights * y * soft) ** 2)
    return float(np.clip(2 * gain * variance, 1e-3, 1.0))


def fit_known(symbols: np.ndarray, known: np.ndarray) -> tuple[float, float, float, float]:
    """Phase in the middle, radians a symbol, amplitude and noise power of known symbols."""
    n = len(known)
    stripped = symbols * known.conj()
    places = np.arange(n) - (n - 1) / 2
    grid = np.fft.fftfreq(1024)
    spectrum = np.abs(np.fft.fft(stripped, 1024))
    best = int(np.argmax(spectrum))
    left, middle, right = spectrum[[best - 1, best, (best + 1) % 1024]]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend else 0.0
    frequency = 2 * np.pi * (grid[best] + shift / 1024)
    mean = np.mean(stripped * np.exp(-1j * frequency * places))
    amplitude = float(np.abs(mean))
    noise = float(np.mean(np.abs(stripped) ** 2)) - amplitude**2
    # Frequency, phase and amplitude were fitted to them.
    noise = max(noise * n / (n - 1.5), 1e-4 * amplitude**2, 1e-20)
    return float(np.angle(mean)), float(frequency), amplitude, noise


def track(
    symbols: np.ndarray, known: np.ndarray, bits_per_symbol: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """Soft bits of what comes behind the known symbols.

    Args:
        symbols: complex ``[n]``, the known ones first.
        known: complex ``[k]``, k < n.
        bits_per_symbol: of the symbols that are not known, 1 or 2.

    Returns:
        Log likelihood ratios ``[(n - k) * bits_per_symbol]``, positive for 1, Es/N0, and the
        symbols upright and of amplitude 1, complex64 ``[n - k]``.
    """
    k = len(known)
    phase, frequency, amplitude, noise = fit_known(symbols[:k], known)
    gain = amplitude**2 / noise
    symbols = symbols / max(amplitude, 1e-20)
    phases, decisions = np.empty(len(symbols)), np.empty(len(symbols), dtype=complex)
    phases[:k] = phase + frequency * (np.arange(k) - (k - 1) / 2)
    decisions[:k] = known
    phases[k:], decisions[k:] = follow(symbols, k, phase, frequency, gain, bits_per_symbol)
    channel = _smooth(symbols, phases, decisions)
    # The noise once more, from all symbols.
    if gain > 4:
        error = np.mean(np.abs(symbols - channel * decisions) ** 2)
        signal = np.mean(np.abs(channel) ** 2)
    else:
        # Soft decisions of noise would flatter: what is beyond the known amplitude is noise.
        signal, error = 1.0, np.mean(np.abs(symbols) ** 2) - 1.0
    error = max(float(error), 1e-4)
    straight = symbols[k:] * channel[k:].conj()
    if bits_per_symbol == 1:
        soft = (straight.real + straight.imag) / np.sqrt(2)
    else:
        soft = np.stack([straight.real, straight.imag], axis=1).reshape(-1) / np.sqrt(2)
    upright = straight / np.maximum(np.abs(channel[k:]) ** 2, 1e-6)
    return 4 * soft / error, float(signal) / error, upright.astype(np.complex64)


def follow(
    symbols: np.ndarray,
    start: int,
    phase: float,
    frequency: float,
    gain: float,
    bits_per_symbol: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Phases and soft decisions from symbol ``start`` on, by Kalman filters over blocks.

    The frequency from a few known symbols is too coarse for QPSK at low Es/N0: filters start from
    several, and the one counts under which the whole burst is most likely.

    Args:
        symbols: complex ``[n]`` of amplitude 1.
        phase, frequency: in the middle of the first ``start`` symbols.
        gain: Es/N0.
    """
    deviation = np.sqrt(6 / (gain * start**3))
    frequency = frequency + STARTS * deviation
    reach = start / 2 + BLOCK / 2
    now = phase + frequency * reach
    # Each start answers for the space to its neighbours.
    p22 = (0.5 * (STARTS[1] - STARTS[0]) * deviation) ** 2 + FREQUENCY_NOISE
    p11, p12 = 0.5 / (gain * start) + p22 * reach**2, p22 * reach
    level, likelihood = np.ones(len(STARTS)), np.zeros(len(STARTS))
    shape = (len(STARTS), len(symbols) - start)
    phases, decisions = np.empty(shape), np.empty(shape, dtype=complex)
    for first in range(0, shape[1], BLOCK):
        part = symbols[start + first : start + first + BLOCK]
        n = len(part)
        turn = now[:, None] + frequency[:, None] * (np.arange(n) - (BLOCK - 1) / 2)
        straight = part * np.exp(-1j * turn)
        soft = soft_decisions(straight, gain * level[:, None], bits_per_symbol)
        z = np.sum(straight * soft.conj(), axis=1)
        weight = np.sum(np.abs(soft) ** 2, axis=1)
        best = int(np.argmax(likelihood))
        decibels = int(np.clip(round(10 * np.log10(gain * level[best] ** 2)), -20, 30))
        told = phase_information(decibels, bits_per_symbol) * n
        spread = 0.5 / (gain * level[best] ** 2 * told)
        error = np.clip(z.imag / (level * told), -0.7, 0.7)
        k1, k2 = p11 / (p11 + spread), p12 / (p11 + spread)
        turn += k1 * error[:, None]
        straight = part * np.exp(-1j * turn)
        likelihood += _likelihood(straight, gain, level, bits_per_symbol)
        phases[:, first : first + n] = turn
        decisions[:, first : first + n] = soft_decisions(
            straight, gain * level[:, None], bits_per_symbol
        )
        # Fading: the amplitude is followed more slowly than the phase, and not on mere noise.
        steps = np.where(weight > 0.5 * n, z.real / np.maximum(weight, 0.5) - level, 0.0)
        level = np.clip(level + 0.2 * steps, 0.1, 10.0)
        frequency = frequency + k2 * error
        now = now + k1 * error + BLOCK * frequency
        p11, p12, p22 = (1 - k1) * p11, (1 - k1) * p12, p22 - k2 * p12
        p11 += 2 * BLOCK * p12 + BLOCK**2 * p22 + BLOCK * PHASE_NOISE
        p12 += BLOCK * p22
        p22 += BLOCK * FREQUENCY_NOISE
    best = int(np.argmax(likelihood))
    return phases[best], decisions[best]


def _likelihood(
    symbols: np.ndarray, gain: float, level: np.ndarray, bits_per_symbol: int
) -> np.ndarray:
    """Log likelihood ``[h]`` of symbols ``[h, n]`` of amplitude ``level``, to a constant."""
    if bits_per_symbol == 1:
        rails = 2 * gain * level[:, None] * (symbols.real + symbols.imag) / np.sqrt(2)
        told = np.logaddexp(rails, -rails)
    else:
        scale = np.sqrt(2) * gain * level[:, None]
        told = np.logaddexp(scale * symbols.real, -scale * symbols.real)
        told += np.logaddexp(scale * symbols.imag, -scale * symbols.imag)
    return np.sum(told, axis=1) - gain * level**2 * symbols.shape[1]


def _smooth(symbols: np.ndarray, phases: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Channel at every symbol: mean of what the neighbours say, around the tracked phase."""
    turned = symbols * np.exp(-1j * phases) * decisions.conj()
    window = np.ones(min(SMOOTHING, len(symbols) // 2 * 2 - 1))
    total = np.convolve(turned, window, "same")
    weight = np.convolve(np.abs(decisions) ** 2, window, "same")
    return total / np.maximum(weight, 1e-3) * np.exp(1j * phases)

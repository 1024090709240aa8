# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear channel code of features, in closed form: blocks of four frames to complex symbols.

Features are weighed by what the decoder reads of them, a block is turned to its strongest
directions, and each direction gets a share of the power. The receiver takes the estimate of least
mean squared error, h known. It degrades gently: there is no cliff.
"""

from dataclasses import dataclass

import numpy as np

BLOCK_FRAMES = 4
# The gain of a burst travels beside it in 8 bit, in such steps.
GAIN_STEP_DB, MOST_GAIN_STEPS = 0.25, 127
LEAST_FADE = 1e-6


@dataclass(frozen=True)
class Statistics:
    """What a linear code is made from.

    Attributes:
        mean: of a feature frame, ``[width]``.
        weight: symmetric, ``[width, width]``: squared errors are counted behind it.
        basis: directions of a weighed block by falling variance, ``[4 width, directions]``.
        variance: along them, ``[directions]``.
        scale, shift: of the encoder's last layer norm, ``[width]``.
    """

    mean: np.ndarray
    weight: np.ndarray
    basis: np.ndarray
    variance: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


class LinearCode:
    """Features to symbols of mean power 1, and back.

    Args:
        statistics: that it was fitted to.
        symbols: complex symbols a feature frame of 20 ms.

    Raises:
        ValueError: more symbols than there are directions for.

    Attributes:
        width: numbers a feature frame.
        symbols: as given.
        block_symbols: complex symbols a block of four frames.
    """

    name = "linear"

    def __init__(self, statistics: Statistics, symbols: int = 64) -> None:
        most = statistics.basis.shape[1] // (2 * BLOCK_FRAMES)
        if not 1 <= symbols <= most:
            raise ValueError(f"symbols {symbols} is out of range: use 1 to {most} a frame of 20 ms")
        self.symbols, self.width = symbols, len(statistics.mean)
        self.block_symbols = BLOCK_FRAMES * symbols
        reals = 2 * self.block_symbols
        self._of = statistics
        self._variance = np.maximum(statistics.variance[:reals].astype(np.float64), 1e-12)
        power = shared_power(self._variance, reals / 2)
        self._amplitude = np.sqrt(power / self._variance)
        # Strong directions share a symbol with weak ones: none is far above the others.
        order = np.empty(reals, dtype=np.int64)
        order[0::2], order[1::2] = np.arange(reals // 2), reals - 1 - np.arange(reals // 2)
        # In turn the strong one first, so that both parts of a symbol have the same power.
        order[2::4], order[3::4] = order[3::4].copy(), order[2::4].copy()
        self._order, self._back = order, np.argsort(order)
        self._basis = statistics.basis[:, :reals].astype(np.float32)
        self._unweigh = np.linalg.inv(statistics.weight.astype(np.float64)).astype(np.float32)

    def encode(self, features: np.ndarray) -> tuple[np.ndarray, int]:
        """Symbols of a burst.

        Args:
            features: ``[n, width]``, n a multiple of 4.

        Returns:
            Complex symbols ``[n / 4, block_symbols]`` of mean power 1 over the burst, and the
            gain that made them so, in steps of 0.25 dB, -127 to 127.

        Raises:
            ValueError: features of another shape, or none.
        """
        if features.ndim != 2 or features.shape[1] != self.width or len(features) % BLOCK_FRAMES:
            raise ValueError(
                f"features of shape {features.shape}: use [4 n, {self.width}], as the model of "
                "this channel code gives them"
            )
        if not len(features):
            raise ValueError("features of no frame: there is nothing to send")
        reals = self._numbers(np.nan_to_num(features, posinf=0.0, neginf=0.0))[:, self._order]
        x = reals[:, 0::2] + 1j * reals[:, 1::2]
        power = max(float(np.mean(np.abs(x) ** 2)), 1e-12)
        steps = round(-10.0 * np.log10(power) / GAIN_STEP_DB)
        steps = int(np.clip(steps, -MOST_GAIN_STEPS, MOST_GAIN_STEPS))
        return (x * gain_of(steps)).astype(np.complex64), steps

    def decode(self, y: np.ndarray, h: np.ndarray, snr_db: float, gain_steps: int) -> np.ndarray:
        """Features ``[4 n, width]`` of a burst alone, given as in :meth:`heard`."""
        return self.features(self.heard(y, h, snr_db, gain_steps))

    def heard(self, y: np.ndarray, h: np.ndarray, snr_db: float, gain_steps: int) -> np.ndarray:
        """What is known of each block of a burst; :meth:`features` makes features of it.

        Args:
            y: complex ``[n, block_symbols]``.
            h: fading of each block, ``[n, 1]``, or of each symbol, ``[n, block_symbols]``; known.
            snr_db: of symbols of power 1.
            gain_steps: from the sender.

        Returns:
            Float32 ``[n, m]``. Bursts of a window may be put one behind the other.

        Raises:
            ValueError: symbols of another shape, or an SNR that is no finite number.
        """
        if y.ndim != 2 or y.shape[1] != self.block_symbols or len(h) != len(y):
            raise ValueError(
                f"symbols of shape {y.shape}: use [n, {self.block_symbols}], both ends need the "
                "same number of symbols a frame"
            )
        h = h.reshape(len(y), -1)
        if h.shape[1] not in (1, self.block_symbols):
            raise ValueError(f"fading of shape {h.shape}: use one a block, or one a symbol")
        if not np.isfinite(snr_db):
            raise ValueError(f"snr_db {snr_db} is no finite number: use one in dB")
        fade = np.maximum(np.nan_to_num(np.abs(h)) ** 2, LEAST_FADE)
        straight = np.nan_to_num(y * np.conj(h) / fade)
        reals = np.empty((len(y), 2 * self.block_symbols))
        reals[:, 0::2], reals[:, 1::2] = straight.real, straight.imag
        # Of one of the two parts of a symbol.
        noise = 0.5 * 10.0 ** (-snr_db / 10.0) / fade
        if noise.shape[1] > 1:
            noise = np.repeat(noise, 2, axis=1)[:, self._back]
        return self._estimate(reals[:, self._back], noise, gain_of(gain_steps))

    def features(self, heard: np.ndarray) -> np.ndarray:
        """Features ``[4 n, width]`` of what :meth:`heard` knows of n blocks in a row."""
        weighed = (heard @ self._basis.T).reshape(-1, self.width)
        return self._normed(weighed @ self._unweigh + self._of.mean)

    def _numbers(self, features: np.ndarray) -> np.ndarray:
        """Numbers ``[n, reals]`` of features that are finite, before the burst is scaled."""
        weighed = (features - self._of.mean) @ self._of.weight
        along = weighed.reshape(-1, BLOCK_FRAMES * self.width) @ self._basis
        return along * self._amplitude

    def _estimate(self, received: np.ndarray, noise: np.ndarray, gain: float) -> np.ndarray:
        """What :meth:`heard` gives of numbers ``[n, reals]`` and the noise in them."""
        amplitude = gain * self._amplitude
        share = amplitude * self._variance / (amplitude**2 * self._variance + noise)
        return (received * share).astype(np.float32)

    def _normed(self, features: np.ndarray) -> np.ndarray:
        """Features as the encoder's last layer norm leaves them: of a known mean and power.

        The estimate of least squared error is drawn to the mean, which the decoder takes badly.
        """
        plain = (features - self._of.shift) / self._of.scale
        plain -= plain.mean(axis=1, keepdims=True)
        plain /= np.maximum(plain.std(axis=1, keepdims=True), 1e-6)
        return (plain * self._of.scale + self._of.shift).astype(np.float32)


def gain_of(steps: int) -> float:
    """Returns the amplitude factor of ``steps`` of 0.25 dB."""
    return float(10.0 ** (GAIN_STEP_DB * steps / 20.0))


def shared_power(variance: np.ndarray, total: float) -> np.ndarray:
    """Power of each direction, in proportion to the root of its variance; they add up to ``total``.

    Of all ways the one of the least squared error at the receiver where the SNR is high (Lee and
    Petersen, 1976). At a low one it would give the weakest directions nothing.
    """
    root = np.sqrt(variance)
    return root * total / root.sum()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated air for symbols of a single carrier: pulses, carrier offset, fading and noise."""

import numpy as np

from .profiles import RadioProfile
from .pulses import pulse_taps

# Paths of a fading signal, and silence around what is sent, in symbols.
PATHS, SILENCE_SYMBOLS = 16, 64
# Band of the noise that radio amateurs quote an SNR for.
NOISE_BANDWIDTH_HZ = 3000.0


class Fading:
    """Gain of a path that fades as Rayleigh's and Jakes' model has it, of mean power 1.

    Args:
        doppler_hz: greatest Doppler shift.
        rng: that draws the paths.
    """

    def __init__(self, doppler_hz: float, rng: np.random.Generator) -> None:
        angles, self._phases = rng.uniform(0.0, 2.0 * np.pi, (2, PATHS))
        self._turns = 2.0 * np.pi * doppler_hz * np.cos(angles)

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """Complex ``[n]`` at these times."""
        turned = np.outer(seconds, self._turns) + self._phases
        return np.exp(1j * turned).sum(axis=1) / np.sqrt(PATHS)


class SimulatedAir:
    """Both radios and the air between them: symbols in, samples as received out.

    Args:
        profile: of the symbols.
        snr_db: of a symbol of power 1; None: there is no noise.
        doppler_hz: the signal fades as Rayleigh's and Jakes' model has it; None: it does not.
        offset_hz: of the carrier.
        rng: that draws fading and noise.
    """

    def __init__(
        self,
        profile: RadioProfile,
        snr_db: float | None,
        doppler_hz: float | None,
        offset_hz: float,
        rng: np.random.Generator,
    ) -> None:
        self._profile, self._offset_hz, self._rng = profile, offset_hz, rng
        self._fading = None if doppler_hz is None else Fading(doppler_hz, rng)
        self._noise = 0.0 if snr_db is None else 10.0 ** (-snr_db / 20.0)

    def __call__(self, symbols: np.ndarray, at_s: float) -> np.ndarray:
        """Complex64 samples of symbols that are sent at ``at_s``, and of silence around them."""
        quiet = np.zeros(SILENCE_SYMBOLS)
        wide = np.concatenate([quiet, quiet, symbols, quiet, quiet])
        return self.piece(wide, at_s - SILENCE_SYMBOLS / self._profile.symbol_rate)

    def piece(self, symbols: np.ndarray, at_s: float) -> np.ndarray:
        """Complex64 samples of all symbols but 64 at each end, whose pulses reach in.

        Args:
            symbols: complex ``[64 + n + 64]``.
            at_s: time of the first of the n in the middle.
        """
        sps, rate = self._profile.samples_per_symbol, self._profile.sample_rate
        spread = np.zeros(len(symbols) * sps, dtype=complex)
        spread[::sps] = symbols
        beyond = SILENCE_SYMBOLS * sps
        samples = np.convolve(spread, pulse_taps(sps), mode="same")[beyond:-beyond]
        times = at_s + np.arange(len(samples)) / rate
        samples = samples * np.exp(2j * np.pi * self._offset_hz * times)
        if self._fading is not None:
            samples = samples * self._fading.at(times)
        # Of a pulse of energy 1 a symbol, so that this is the SNR of a symbol.
        noise = self._rng.standard_normal((2, len(samples))) * self._noise * np.sqrt(sps / 2.0)
        return (samples + noise[0] + 1j * noise[1]).astype(np.complex64)

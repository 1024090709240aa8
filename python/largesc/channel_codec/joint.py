# SPDX-License-Identifier: GPL-3.0-or-later
"""Echoes and latents of a burst of speech, found together.

A short wave arrives on several paths that fade apart. Symbols then reach into each other, but all
of them carry the same few latents: what one path blurs, the others tell. In turn the channel is
fitted to what is known of the symbols, and the latents to the channel.
"""

from dataclasses import dataclass

import numpy as np

from ..radio.burst_reader import laid_out, pilot_symbols, spread_order
from ..radio.preamble import PREAMBLE_SYMBOLS, preamble_symbols
from ..radio.speech_burst import PREAMBLE, SpeechLayout
from .spread import SpreadCode

# Symbols that an echo may come early or late; of `ssb` 3.3 ms.
MOST_ECHO = 6
# Cosines over the burst that a gain is made of, and how much of its power each may have.
TERMS = np.array([1.0, 0.5, 0.2, 0.1, 0.05])
# Echoes are taken into account where they have so much of the power.
LEAST_ECHO = 0.08
TURNS = 2
# Of the power, what is not looked at.
LEAST_TAP = 1e-3


@dataclass(frozen=True)
class _Channel:
    """Gains of echoes ``[lags, length]``, and power of all; noise of a sample; share of echoes."""

    gains: np.ndarray
    noise: float
    power: float
    echo: float


class JointDecoder:
    """Latents of bursts that echoes blur.

    Args:
        code: of the symbols.
        layout: of the bursts.
    """

    def __init__(self, code: SpreadCode, layout: SpeechLayout) -> None:
        self._code, length = code, layout.length
        stands, order = laid_out(layout.count), spread_order(layout.count)
        data, pilots = PREAMBLE_SYMBOLS + stands.data, PREAMBLE_SYMBOLS + stands.pilots
        self._known = np.zeros(length, dtype=np.complex64)
        self._known[:PREAMBLE_SYMBOLS] = preamble_symbols(PREAMBLE)
        self._known[pilots] = pilot_symbols(len(pilots))
        # Which block a place belongs to; -1 where the symbol is known.
        self._block = np.full(length, -1)
        self._block[data] = order // code.block_symbols
        self._blocks = layout.count // code.block_symbols
        mix, width = code.mixing(), code.directions
        self._mix = np.zeros((length, self._blocks * width), dtype=np.complex64)
        for block in range(self._blocks):
            here = np.flatnonzero(self._block == block)
            of = order[np.searchsorted(data, here)] % code.block_symbols
            self._mix[here, block * width : (block + 1) * width] = mix[of]
        at = (np.arange(length) + 0.5) / length
        cosines = np.cos(np.pi * np.arange(len(TERMS)) * at[:, None])
        cosines[:, 1:] *= np.sqrt(2.0)
        self._cosines = cosines
        self._lags = np.arange(-MOST_ECHO, MOST_ECHO + 1)
        # What is received is brought to power 1.
        share = TERMS / TERMS.sum() / len(self._lags)
        self._prior = np.tile(share, (len(self._lags), 1))

    def decode(
        self, received: np.ndarray, latents: np.ndarray, unsure: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Latents and what is unsure of them; None where there are no echoes.

        Args:
            received: complex ``[length]``, a sample a symbol from the first of the preamble on,
                upright but for what fades.
            latents: ``[frames, dimension]``, as they are found without echoes.
            unsure: of these, ``[frames]``.
        """
        code, size = self._code, float(np.sqrt(np.mean(np.abs(received) ** 2)))
        if not size > 0.0:
            return None
        received = received / size
        sent, doubts = code.along(latents), unsure.reshape(self._blocks, -1).mean(axis=1)
        noise, prior = 1.0, self._prior
        for _ in range(TURNS):
            channel, prior = self._channel(received, sent, doubts, noise, prior)
            if not channel.echo >= LEAST_ECHO:
                return None
            sent, covariance = self._latents(received, channel)
            latents, unsure = code.from_directions(sent, covariance)
            doubts, noise = unsure.reshape(self._blocks, -1).mean(axis=1), channel.noise
        # Whatever lies in the place of a burst, it leaves no numbers that are none.
        found = np.isfinite(latents).all() and np.isfinite(unsure).all()
        return (latents, unsure) if found else None

    def _channel(
        self,
        received: np.ndarray,
        sent: np.ndarray,
        doubts: np.ndarray,
        noise: float,
        prior: np.ndarray,
    ) -> tuple[_Channel, np.ndarray]:
        """Gains that fit what is known of the symbols, and how strong each may be next time."""
        code = self._code
        symbols = self._known + self._mix @ sent.ravel()
        blurred = np.where(self._block >= 0, doubts[self._block] * code.kept + code.broken, 0.0)
        shifted = self.shifted(symbols)
        each = (shifted[:, None] * self._cosines.T[None]).reshape(-1, len(received)).T
        # What is not known of the symbols is noise here, as strong as all paths together.
        weight = 1.0 / (noise + self.shifted(blurred).max(axis=0))
        sharpness = (each.conj().T * weight) @ each
        sharpness[np.diag_indices_from(sharpness)] += 1.0 / prior.ravel()
        covariance = np.linalg.inv(sharpness)
        found = covariance @ ((each.conj().T * weight) @ received)
        left = np.real(np.diag(covariance)).reshape(prior.shape)
        # All of the preamble is known.
        inner = slice(MOST_ECHO, PREAMBLE_SYMBOLS - MOST_ECHO)
        noise = float(np.mean(np.abs((received - each @ found)[inner]) ** 2))
        found = found.reshape(prior.shape)
        gains = found @ self._cosines.T
        strength = np.mean(np.abs(gains) ** 2, axis=1)
        # The pulses of both ends reach a little into the neighbours when time is not quite right.
        # Noise alone gives gains as well: what it does on average is no echo.
        sure = strength - (left * (1.0 - left / prior)).sum(axis=1)
        echo = float((sure.sum() - sure[MOST_ECHO]) / max(strength.sum(), 1e-30))
        channel = _Channel(gains, max(noise, 1e-4), strength.sum(), echo)
        return channel, np.maximum(np.abs(found) ** 2 + left, 1e-7)

    def _latents(self, received: np.ndarray, channel: _Channel) -> tuple[np.ndarray, np.ndarray]:
        """Directions ``[blocks, directions]`` of least mean squared error, and their covariance."""
        mixed, known = np.zeros_like(self._mix), np.zeros(len(received), dtype=complex)
        for gain, lag in zip(channel.gains, self._lags, strict=True):
            if np.mean(np.abs(gain) ** 2) < LEAST_TAP * channel.power:
                continue
            mixed += gain[:, None] * moved(self._mix, lag)
            known += gain * moved(self._known, lag)
        heard = received - known
        broken = self._code.broken * (np.abs(channel.gains) ** 2).sum(axis=0)
        weight = np.tile(2.0 / (channel.noise + broken), 2)[:, None]
        reals = np.concatenate([mixed.real, mixed.imag])
        weighed = (reals * weight.astype(np.float32)).T
        sharpness = (weighed @ reals).astype(np.float64)
        variance = np.tile(self._code.variances, self._blocks)
        sharpness[np.diag_indices_from(sharpness)] += 1.0 / variance
        covariance = np.linalg.inv(sharpness)
        found = covariance @ (weighed @ np.concatenate([heard.real, heard.imag]))
        width = self._code.directions
        spans = [slice(n * width, (n + 1) * width) for n in range(self._blocks)]
        return found.reshape(self._blocks, -1), np.stack([covariance[s, s] for s in spans])

    def shifted(self, values: np.ndarray) -> np.ndarray:
        """Values ``[length]`` as each lag has them, ``[lags, length]``."""
        return np.stack([moved(values, lag) for lag in self._lags])


def moved(values: np.ndarray, lag: int) -> np.ndarray:
    """``values[n - lag]``, with zeros from beyond the ends."""
    out = np.zeros_like(values)
    if lag > 0:
        out[lag:] = values[:-lag]
    elif lag < 0:
        out[:lag] = values[-lag:]
    else:
        out[:] = values
    return out

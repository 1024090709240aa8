# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of bursts and what the air does to them, in numpy, for the tests of the radio."""

import numpy as np
from gnuradio.largesc.radio.burst import make_burst
from gnuradio.largesc.radio.codes import PacketCode
from gnuradio.largesc.radio.profiles import RadioProfile
from gnuradio.largesc.radio.pulses import pulse_taps


def random_packets(sizes: list[int], seed: int) -> list[bytes]:
    """Packets with two bytes more, in place of a CRC, of different contents."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, n + 2).astype(np.uint8).tobytes() for n in sizes]


def transmit(packets: list[bytes], profile: RadioProfile, silence: int = 40) -> np.ndarray:
    """Samples of bursts, ``silence`` symbols before, between and behind them."""
    code = PacketCode(profile.code)
    quiet = np.zeros(silence, dtype=np.complex64)
    parts = [quiet]
    for packet in packets:
        parts += [make_burst(packet, profile, code), quiet]
    symbols = np.concatenate(parts)
    spread = np.zeros(len(symbols) * profile.samples_per_symbol, dtype=complex)
    spread[:: profile.samples_per_symbol] = symbols
    return np.convolve(spread, pulse_taps(profile.samples_per_symbol))


def resampled(x: np.ndarray, ppm: float, late: float = 0.0) -> np.ndarray:
    """``x`` by a clock that runs ``ppm`` slow, ``late`` samples behind."""
    t = 16 + late + np.arange(int((len(x) - 40) / (1 + 1e-6 * ppm))) * (1 + 1e-6 * ppm)
    whole = np.floor(t).astype(int)
    out = np.zeros(len(t), dtype=complex)
    for place in range(-8, 10):
        distance = t - whole - place
        out += x[whole + place] * np.sinc(distance) * np.cos(np.pi * distance / 22) ** 2
    return out


def shifted(x: np.ndarray, offset: float, profile: RadioProfile) -> np.ndarray:
    """``x`` with a carrier offset in cycles a symbol."""
    turn = 2 * np.pi * offset / profile.samples_per_symbol
    return x * np.exp(1j * (turn * np.arange(len(x)) + 0.7))


def noisy(x: np.ndarray, es_n0_db: float, profile: RadioProfile, seed: int) -> np.ndarray:
    """``x``, whose bursts have power 1, and noise."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((2, len(x)))
    level = np.sqrt(profile.samples_per_symbol / 2 / 10 ** (es_n0_db / 10))
    return x + level * (noise[0] + 1j * noise[1])

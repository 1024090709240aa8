# SPDX-License-Identifier: GPL-3.0-or-later
"""Packet error rates that theory gives for coherent BPSK and QPSK in white noise."""

import math

import numpy as np
from scipy import stats

from ...radio.profiles import CRC_BYTES, RadioProfile

# Paths of the rate 1/2 code of constraint length 7 at distance 10, 12 ... from the sent one.
CONVOLUTIONAL_PATHS = {10: 11, 12: 38, 14: 193, 16: 1331, 18: 7275, 20: 40406, 22: 234969}


def packet_error_rate(profile: RadioProfile, packet_bytes: int, es_n0: float) -> float:
    """PER of the payload alone, perfectly synchronised; NaN for LDPC, of which no formula tells.

    Without a code exact; with the convolutional one the union bound, close below 10 %.

    Args:
        es_n0: of a payload symbol or carrier, as a ratio.
    """
    bits = 8 * (packet_bytes + CRC_BYTES)
    ec_n0 = es_n0 / profile.bits_per_symbol
    if profile.code == "none":
        return float(1 - (1 - stats.norm.sf(math.sqrt(2 * ec_n0))) ** bits)
    if profile.code == "convolutional":
        distances, counts = np.array(list(CONVOLUTIONAL_PATHS.items())).T
        event = float(counts @ stats.norm.sf(np.sqrt(2 * distances * ec_n0)))
        return 1 - (1 - min(1.0, event)) ** bits
    return math.nan


def crossing(decibels: list[float], rates: list[float], target: float = 0.01) -> float:
    """Decibels at which a falling error rate crosses ``target``, by its logarithm; NaN if never."""
    for n in range(1, len(rates)):
        if rates[n - 1] >= target > rates[n]:
            above, below = np.log(rates[n - 1]), np.log(max(rates[n], 1e-9))
            share = (above - np.log(target)) / (above - below)
            return float(decibels[n - 1] + share * (decibels[n] - decibels[n - 1]))
    return math.nan

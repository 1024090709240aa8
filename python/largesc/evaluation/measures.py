# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures of speech quality, each by a package of its own."""

import warnings

import numpy as np
from scipy.signal import resample_poly

# Speech mode, and the polynomial mapping: the lattice one needs an extra package, and gives less.
VISQOL_MAPPING = "speech mode, polynomial mapping"


def to_16k(samples: np.ndarray) -> np.ndarray:
    """24 kHz to 16 kHz, the rate of ViSQOL's speech mode."""
    return resample_poly(samples, 2, 3).astype(np.float64)


def visqol(reference: np.ndarray, degraded: np.ndarray) -> float | None:
    """ViSQOL MOS-LQO of 24 kHz float signals of one length; None when it is not installed.

    The score follows the mapping :data:`VISQOL_MAPPING` and compares only within itself.
    """
    try:
        from visqol import VisqolApi
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = VisqolApi()
        api.create(mode="speech", use_lattice_model=False)
        return float(api.measure_from_arrays(to_16k(reference), to_16k(degraded), 16000).moslqo)

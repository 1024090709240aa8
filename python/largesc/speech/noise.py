# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes noise whose power falls or rises with frequency."""

import numpy as np
from scipy import fft

# Of an amplitude that falls as 1 / f.
OCTAVE_DB = 20.0 * np.log10(2.0)


def unit(samples: np.ndarray) -> np.ndarray:
    """Scales samples to a mean power of 1; silence stays."""
    return samples / max(float(np.sqrt(np.square(samples).mean())), 1e-9)


def coloured(rng: np.random.Generator, samples: int, octave_db: float) -> np.ndarray:
    """Noise of power 1, float64 ``[samples]``.

    Args:
        octave_db: that its power changes by from one octave to the next higher one; pink is -3.
    """
    size = fft.next_fast_len(samples, real=True)
    spectrum = fft.rfft(rng.standard_normal(size))
    spectrum *= np.arange(1, len(spectrum) + 1) ** (octave_db / OCTAVE_DB)
    return unit(fft.irfft(spectrum, size)[:samples])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the sample rate of a profile and that of a radio or sound card."""

from fractions import Fraction

from gnuradio import filter

# Of both numbers of the ratio.
MOST = 1000


def rate_changer(profile_rate: float, sample_rate: float, receives: bool) -> object | None:
    """In-tree resampler for complex samples; None where there is nothing to do.

    Args:
        profile_rate: in samples a second.
        sample_rate: of the radio, in samples a second; 0 for the profile's.
        receives: from the radio to the profile, else the other way.

    Raises:
        ValueError: the rates have no small ratio.
    """
    if sample_rate in (0, profile_rate):
        return None
    ratio = Fraction(0)
    if 0 < sample_rate < 1e4 * profile_rate:
        ratio = Fraction(sample_rate / profile_rate).limit_denominator(MOST)
    off = abs(float(ratio) * profile_rate / sample_rate - 1)
    if not 0 < ratio.numerator <= MOST or off > 1e-6:
        raise ValueError(
            f"sample_rate {sample_rate:g} has no ratio of whole numbers up to {MOST} to the "
            f"profile's {profile_rate:g}: use one such as {4 * profile_rate:g}"
        )
    if receives:
        ratio = 1 / ratio
    return filter.rational_resampler_ccc(
        interpolation=ratio.numerator, decimation=ratio.denominator
    )

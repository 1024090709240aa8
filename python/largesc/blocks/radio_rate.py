# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the sample rate of a profile and that of a radio or sound card."""

from fractions import Fraction

from gnuradio import filter


def rate_changer(rate: float, to_rate: float) -> object | None:
    """In-tree resampler for complex samples; None where there is nothing to do.

    Args:
        rate: in samples a second.
        to_rate: in samples a second; 0 for the same.

    Raises:
        ValueError: the rates have no small ratio.
    """
    if to_rate in (0, rate):
        return None
    ratio = Fraction(to_rate / rate).limit_denominator(1000) if to_rate > 0 else Fraction(0)
    if ratio <= 0 or ratio.numerator > 1000 or abs(float(ratio) * rate / to_rate - 1) > 1e-6:
        raise ValueError(
            f"sample_rate {to_rate:g} is no ratio of two numbers up to 1000 to the profile's "
            f"{rate:g}: use one such as {4 * rate:g}"
        )
    return filter.rational_resampler_ccc(
        interpolation=ratio.numerator, decimation=ratio.denominator
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device makes of speech for the large model of its edge, by name."""

from .filter_bank import FilterBank
from .log_mel import BANDS, LogMel

WIDE_BANDS = 128
# Bands of a frame. Whisper large-v3 takes 128.
FRONTS = {"whisper": BANDS, "whisper-128": WIDE_BANDS, "seamless": BANDS}


def open_front(name: str, rate_hz: int) -> LogMel | FilterBank:
    """Frames of speech as it comes.

    Args:
        name: one of :data:`FRONTS`.
        rate_hz: of the speech, 16000 or 24000.

    Raises:
        ValueError: the name is unknown, or another rate.
    """
    if name not in FRONTS:
        raise ValueError(f"front {name!r} is unknown: use one of {', '.join(FRONTS)}")
    return FilterBank(rate_hz) if name == "seamless" else LogMel(rate_hz, FRONTS[name])


def whisper_front(bands: int) -> str:
    """Name of the front of a Whisper with so many bands."""
    return "whisper" if bands == BANDS else "whisper-128"

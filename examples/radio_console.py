# SPDX-License-Identifier: GPL-3.0-or-later
"""What radio.py says while it runs: counters, and the band in characters."""

import numpy as np

# Columns of the spectrum, and dB a step of its bars.
COLUMNS, BAR_DB, BARS = 41, 3.0, " .:-=+*#%@"
SHOWN = (
    "frames", "packets", "dropped", "syncs", "accepted", "crc_failures", "es_n0_db",
    "carrier_offset_hz", "signal_db", "signal_offset_hz", "frames_made_up", "frames_cut",
    "bursts", "pauses", "snr_db", "unsure",
)  # fmt: skip


def short(facts: dict, names: tuple[str, ...]) -> str:
    """Those counters that are there, on a line."""
    found = {k: v for part in facts.values() for k, v in flat(part).items() if k in names}
    return ", ".join(
        f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()
    )


def spectrum_line(modem: object) -> str:
    """What the band looks like, a character for each part of it; empty where nobody tells."""
    offsets, power = modem.spectrum_db()
    if not len(offsets):
        return ""
    places = np.linspace(offsets[0], offsets[-1], min(COLUMNS, len(offsets)))
    steps = np.interp(places, offsets, power) / BAR_DB
    bars = "".join(BARS[int(np.clip(step, 0, len(BARS) - 1))] for step in steps)
    return f"{offsets[0] / 1000:+.1f} kHz |{bars}| {offsets[-1] / 1000:+.1f} kHz"


def flat(facts: dict) -> dict:
    """Counters of parts within parts, in one dict."""
    found = {}
    for key, value in facts.items():
        found |= flat(value) if isinstance(value, dict) else {key: value}
    return found

# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a receiver that hears something understands nothing, in words."""

from dataclasses import dataclass, field

from .band import Signal
from .profiles import PROFILES, RadioProfile

# Of all times: less is noise that stands out of itself.
LEAST_SHARE = 0.02
# One may be by chance.
LEAST_BURSTS = 2
# How much wider or narrower than this profile a signal must be to be another one's.
OTHER_WIDTH = 1.8


@dataclass
class Heard:
    """What came in without becoming a packet.

    Attributes:
        strong_syncs: syncs that noise does not make, without a header of this link.
        others: bursts by the modulation and code that their headers name.
    """

    strong_syncs: int = 0
    others: dict[tuple[str, str], int] = field(default_factory=dict)


def explain(profile: RadioProfile, heard: Heard, signal: Signal | None, search_hz: float) -> str:
    """What was seen and what to try; empty where nothing but noise was heard.

    Args:
        profile: of the receiver.
        heard: bursts that were not understood.
        signal: what stood out of the noise.
        search_hz: how far to each side bursts are looked for.
    """
    if heard.others:
        other = max(heard.others, key=lambda name: heard.others[name])
        if heard.others[other] >= LEAST_BURSTS:
            return f"bursts of another setting are heard, {_setting(*other, profile)}: use the same"
    there = signal is not None and signal.share >= LEAST_SHARE
    # What is wider than bursts of this profile makes a strong sync now and then.
    if heard.strong_syncs >= LEAST_BURSTS and not (there and _is_wider(signal, profile)):
        return (
            f"{heard.strong_syncs} bursts began and none could be read: they are too weak, or "
            "come by several paths; more signal, another antenna or a narrower profile may help"
        )
    if not there:
        return ""
    rate = profile.symbol_rate
    offset, width = signal.offset * rate, signal.width * rate
    seen = (
        f"a signal {signal.level_db:.0f} dB over the noise, about {_hz(width)} wide, is heard "
        f"{_hz(abs(offset))} {'above' if offset > 0 else 'below'} the centre"
    )
    own = profile.bandwidth_hz
    if signal.everywhere:
        others = [p.name for p in PROFILES.values() if p.bandwidth_hz > OTHER_WIDTH * own]
        return (
            f"a signal {signal.level_db:.0f} dB over the noise is heard, as wide as all that is "
            f"looked at: is the sender's profile a wider one ({' or '.join(others) or 'none'})?"
        )
    if abs(offset) > search_hz - 0.1 * rate:
        return f"{seen}, at the edge of the search: tune there, or search wider (search_hz, --afc)"
    if not own / OTHER_WIDTH < width < own * OTHER_WIDTH:
        near = min(PROFILES.values(), key=lambda p: abs(p.bandwidth_hz - width))
        other = near.bandwidth_hz != own
        ask = "is the sample rate the right one?"
        if other:
            ask = f"is the sender's {near.name}? Or {ask}"
        return f"{seen}, but {profile.name} is {_hz(own)} wide: {ask}"
    return (
        f"{seen}, but no burst of profile {profile.name}: another modem, or too weak; do the "
        "sample rate and the sender's profile fit?"
    )


def _is_wider(signal: Signal, profile: RadioProfile) -> bool:
    """Whether a signal is much wider than the profile's."""
    width = signal.width * profile.symbol_rate
    return signal.everywhere or width > OTHER_WIDTH * profile.bandwidth_hz


def _setting(modulation: str, code: str, profile: RadioProfile) -> str:
    """A modulation and code, by the profile that has them where one does at this rate."""
    for known in PROFILES.values():
        fits = (known.modulation, known.code) == (modulation, code)
        if fits and known.symbol_rate == profile.symbol_rate:
            return f"profile {known.name}"
    return f"modulation {modulation} with code {code}"


def _hz(value: float) -> str:
    return f"{value / 1000:.1f} kHz" if value >= 1000 else f"{value:.0f} Hz"

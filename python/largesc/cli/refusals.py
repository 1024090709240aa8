# SPDX-License-Identifier: GPL-3.0-or-later
"""Why packets are refused, in words for a user."""

REASONS = {
    "refused_crc": "damaged on the way, or of a sender with --no-crc or --key",
    "refused_format": "of a sender with another --frames-per-packet or --layout",
    "refused_tag": "another --key, none at the sender, or clocks half an hour apart",
    "refused_old": "the clocks of both ends differ by more than two minutes, or a recording",
    "refused_replay": "sent a second time",
    "refused_short": "of a sender without --key",
    "refused_messages": "no packets",
}


def because(refused: dict[str, int]) -> str:
    """Counts of refused packets by reason, the most frequent first, with what each may mean."""
    often = sorted(refused.items(), key=lambda item: -item[1])
    return "; ".join(
        f"{name} {count}" + (f" ({REASONS[name]})" if name in REASONS else "")
        for name, count in often
    )

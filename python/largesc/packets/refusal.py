# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a gateway takes no call, on the wire; the bytes are defined in docs/packet-format.md."""

from .._core import CODE_REPORT, CRC_BYTES, append_crc, has_right_crc

BYTES = 2
REASONS = {
    1: "all of its calls are taken",
    2: "it has no memory left for another call",
    3: "it is about to end",
    4: "the sender's key has as many calls as it may",
}
CALLS, MEMORY, ENDING, KEY = REASONS


def encode(reason: int, crc: bool) -> bytes:
    """Bytes of a refusal, 2, or 4 with CRC; ``reason`` is a key of :data:`REASONS`."""
    data = bytes([reason, CODE_REPORT << 4])
    return append_crc(data) if crc else data


def decode(data: bytes, crc: bool) -> str | None:
    """The reason in words; None for what is no refusal."""
    if len(data) != BYTES + (CRC_BYTES if crc else 0) or data[1] != CODE_REPORT << 4:
        return None
    if crc and not has_right_crc(data):
        return None
    return REASONS.get(data[0])

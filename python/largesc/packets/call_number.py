# SPDX-License-Identifier: GPL-3.0-or-later
"""Call numbers in front of packets; the bytes are defined in docs/packet-format.md."""

from .._core import CRC_BYTES, append_crc, has_right_crc

# In the place where speech packets have the first code, and longer than a report.
CALL_BYTE = 0xFD
HEAD_BYTES = 3
LEAST_PACKET_BYTES = 2
MOST_NUMBER = 0xFFFF


def checked_number(number: int) -> int:
    """The number; raises ValueError where it is not 1 to 65535."""
    if not 1 <= number <= MOST_NUMBER:
        raise ValueError(f"call number {number} is out of range: use 1 to {MOST_NUMBER}")
    return number


def wrapped(packet: bytes, number: int, crc: bool) -> bytes:
    """A packet with its call's number in front, 3 bytes longer.

    Args:
        packet: 2 bytes or longer, or 4 with the CRC at its end.
        number: 1 to 65535.
        crc: there is one; it then covers the number as well.
    """
    head = bytes([number >> 8, CALL_BYTE, number & 0xFF])
    return append_crc(head + packet[:-CRC_BYTES]) if crc else head + packet


def unwrapped(packet: bytes, crc: bool) -> tuple[int, bytes]:
    """Number and packet as it was before; 0 and the packet as it is where it has no number.

    With a wrong CRC it has none.
    """
    least = HEAD_BYTES + LEAST_PACKET_BYTES + (CRC_BYTES if crc else 0)
    if len(packet) < least or packet[1] != CALL_BYTE or (crc and not has_right_crc(packet)):
        return 0, packet
    number, inner = packet[0] << 8 | packet[2], packet[HEAD_BYTES:]
    if not number:
        return 0, packet
    return number, append_crc(inner[:-CRC_BYTES]) if crc else inner

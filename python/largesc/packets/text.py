# SPDX-License-Identifier: GPL-3.0-or-later
"""Call sign and text on the wire; the bytes are defined in docs/packet-format.md."""

from .._core import CRC_BYTES, REPORT_BYTES, TEXT_BYTE, append_crc, has_right_crc
from .call_sign import checked_call_sign

# Both and the line between them fit into a packet of the radio profiles.
MOST_TEXT_BYTES = 100
HEAD_BYTES = 2


def checked_text(call_sign: str, text: str) -> bytes:
    """Call sign, an end of line, and the text, in UTF-8.

    Args:
        call_sign: empty for none.
        text: empty for none.

    Raises:
        ValueError: it is no call sign, both are empty or too long, or the text has other than
            printable characters.
    """
    call = checked_call_sign(call_sign) if call_sign else ""
    if not text.isprintable():
        raise ValueError(
            f"text {text[:40]!r} has characters that cannot be printed: leave them out"
        )
    data = f"{call}\n{text}".encode()
    if len(data) > MOST_TEXT_BYTES or not (call or text):
        raise ValueError(
            f"call sign and text have {len(data) - 1} bytes: use 1 to {MOST_TEXT_BYTES - 1}, both"
            " together"
        )
    # As long as a report they would be one.
    return data.ljust(REPORT_BYTES + 1 - HEAD_BYTES)


def encode(data: bytes, sequence: int, crc: bool) -> bytes:
    """A packet of :func:`checked_text`."""
    packet = bytes([sequence % 256, TEXT_BYTE]) + data
    return append_crc(packet) if crc else packet


def decode(packet: bytes, crc: bool) -> tuple[str, str] | None:
    """Call sign and text; None for what is no text packet or has a wrong CRC.

    Whatever comes, both are printable.
    """
    if crc:
        if not has_right_crc(packet):
            return None
        packet = packet[:-CRC_BYTES]
    if len(packet) <= REPORT_BYTES or packet[1] != TEXT_BYTE:
        return None
    call, _, text = packet[HEAD_BYTES:].decode("utf-8", "replace").partition("\n")
    return _printable(call), _printable(text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).strip()

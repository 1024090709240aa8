# SPDX-License-Identifier: GPL-3.0-or-later
"""AX.25 frames around packets, as packet modems of amateur radio want them.

AX.25 Link Access Protocol v2.2, sections 3.12 and 4.3.3.6: unnumbered information (UI) frames
without digipeaters, 16 bytes in front of the data:

    destination 7 | source 7 | control 0x03 | protocol 0xF0, none
"""

from .call_sign import checked_call_sign

UI, NO_PROTOCOL = 0x03, 0xF0
ADDRESS_BYTES, CALL_BYTES = 7, 6
MOST_SSID = 15
# What packets of this project are addressed to.
DESTINATION = "LARGSC"
# Bits of the last byte of an address: reserved ones are 1, the lowest ends the addresses.
RESERVED, COMMAND, LAST = 0x60, 0x80, 0x01


def checked_address(text: str) -> str:
    """``CALL`` or ``CALL-SSID`` in capitals.

    Raises:
        ValueError: it is no address of AX.25.
    """
    call, _, ssid = text.strip().partition("-")
    call = checked_call_sign(call)
    good = not ssid or (ssid.isascii() and ssid.isdigit() and int(ssid[:3]) <= MOST_SSID)
    if not good or "/" in call or len(call) > CALL_BYTES:
        raise ValueError(
            f"AX.25 has no address {text[:40]!r}: use 6 letters and digits at most, and -1 to -15"
        )
    return f"{call}-{int(ssid)}" if ssid and int(ssid) else call


def _address(text: str, bits: int) -> bytes:
    call, _, ssid = text.partition("-")
    shifted = bytes(ord(c) << 1 for c in call.ljust(CALL_BYTES))
    return shifted + bytes([RESERVED | bits | int(ssid or 0) << 1])


def _text(address: bytes) -> str:
    call = bytes(byte >> 1 for byte in address[:CALL_BYTES]).decode("ascii").rstrip()
    ssid = address[CALL_BYTES] >> 1 & MOST_SSID
    return f"{call}-{ssid}" if ssid else call


def ui_frame(source: str, data: bytes) -> bytes:
    """A UI frame from ``source``, an address that was checked, to :data:`DESTINATION`."""
    addresses = _address(DESTINATION, COMMAND) + _address(source, LAST)
    return addresses + bytes([UI, NO_PROTOCOL]) + data


def read_ui_frame(frame: bytes) -> tuple[str, bytes] | None:
    """Source and data of a UI frame to :data:`DESTINATION`; None when it is another.

    What digipeaters have added is left out.
    """
    if _first_differs(frame):
        return None
    end = 2 * ADDRESS_BYTES
    while not frame[end - 1] & LAST:
        end += ADDRESS_BYTES
        if end > len(frame):
            return None
    if frame[end : end + 2] != bytes([UI, NO_PROTOCOL]):
        return None
    return _text(frame[ADDRESS_BYTES : 2 * ADDRESS_BYTES]), frame[end + 2 :]


def _first_differs(frame: bytes) -> bool:
    """Whether there is no address of this project in front, and one behind it."""
    wanted = _address(DESTINATION, 0)
    return len(frame) < 2 * ADDRESS_BYTES or frame[:CALL_BYTES] != wanted[:CALL_BYTES]

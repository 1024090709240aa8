# SPDX-License-Identifier: GPL-3.0-or-later
"""KISS, the framing between programs and packet modems.

M. Chepponis, P. Karn, "The KISS TNC: A simple Host-to-TNC communications protocol", 1987:

    FEND | command 4 bit, port 4 bit | data, FEND and FESC in it escaped | FEND
"""

FEND, FESC, TFEND, TFESC = 0xC0, 0xDB, 0xDC, 0xDD
DATA = 0x00
# Transmit delays and the like: 1 to 6, and the end of KISS mode.
COMMAND_MASK = 0x0F
ESCAPES = {TFEND: FEND, TFESC: FESC}
MOST_BYTES = 2048


def kiss_frame(data: bytes) -> bytes:
    """Returns ``data``, escaped, as a KISS data frame for port 0."""
    escaped = data.replace(bytes([FESC]), bytes([FESC, TFESC]))
    escaped = escaped.replace(bytes([FEND]), bytes([FESC, TFEND]))
    return bytes([FEND, DATA]) + escaped + bytes([FEND])


class KissReader:
    """Finds the data frames in a stream of bytes, whatever else is in it.

    Bytes before the first FEND are left out. ``counters`` has ``commands`` (frames that are no
    data), ``bad_frames`` (a wrong escape) and ``oversized`` (more than 2048 bytes).
    """

    def __init__(self) -> None:
        self.counters = {"commands": 0, "bad_frames": 0, "oversized": 0}
        # None: no frame has begun.
        self._frame: bytearray | None = None
        self._escaped = self._bad = self._long = False

    def push(self, data: bytes) -> list[bytes]:
        """Contents of the data frames that end in ``data``."""
        found = []
        for byte in data:
            if byte == FEND:
                if (frame := self._end()) is not None:
                    found.append(frame)
                self._frame = bytearray()
                self._escaped = self._bad = self._long = False
            elif self._frame is not None:
                self._add(byte)
        return found

    def _add(self, byte: int) -> None:
        if self._escaped:
            self._escaped = False
            self._bad |= byte not in ESCAPES
            byte = ESCAPES.get(byte, byte)
        elif byte == FESC:
            self._escaped = True
            return
        # The command stands in front.
        if len(self._frame) > MOST_BYTES:
            self._long = True
        else:
            self._frame.append(byte)

    def _end(self) -> bytes | None:
        """What the frame that is over holds, where it is one with data."""
        if not self._frame:
            # Several FEND in a row are usual.
            return None
        if self._long or self._bad or self._escaped:
            self.counters["oversized" if self._long else "bad_frames"] += 1
            return None
        if self._frame[0] & COMMAND_MASK != DATA:
            self.counters["commands"] += 1
            return None
        return bytes(self._frame[1:]) or None

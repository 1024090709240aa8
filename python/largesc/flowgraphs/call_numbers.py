# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of one of several calls that share an address."""

from functools import partial

from gnuradio import gr

from ..blocks.packet_security import PacketFilter
from ..packets.call_number import checked_number, unwrapped, wrapped


class call_numberer(PacketFilter):  # noqa: N801
    """Puts the call's number in front of each packet.

    Input and output: message port `packets`. Output: `credit`, `status`.

    Args:
        number: 1 to 65535.
        crc: as the packets.

    Raises:
        ValueError: ``number`` is out of range.
    """

    def __init__(self, *, number: int, crc: bool) -> None:
        gr.basic_block.__init__(self, "call_numberer", None, None)
        self.open_packets(partial(wrapped, number=checked_number(number), crc=crc))


class call_picker(PacketFilter):  # noqa: N801
    """Passes the packets of one call on, as they were without its number; others are counted.

    Input and output: message port `packets`. Output: `credit`, `status`.

    Args:
        as for :class:`call_numberer`.

    Raises:
        as there.
    """

    def __init__(self, *, number: int, crc: bool) -> None:
        gr.basic_block.__init__(self, "call_picker", None, None)
        self._number, self._crc = checked_number(number), crc
        self.open_packets(self._picked)
        self.counters["other_calls"] = 0

    def _picked(self, data: bytes) -> bytes | None:
        number, packet = unwrapped(data, self._crc)
        if number == self._number:
            return packet
        self.counters["other_calls"] += 1
        return None

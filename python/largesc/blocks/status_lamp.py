# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: a value of other blocks as on or off, for a lamp in a window."""

import pmt
from gnuradio import gr

from .block_base import TokenBlock
from .messages import is_finite


class status_lamp(TokenBlock, gr.basic_block):  # noqa: N801
    """On while a value is high enough, or while a counter rises.

    Input: message port `status`, dicts of the `status` ports of other blocks. Output: message port
    `state`, the pair of `state` and true or false whenever it changes, for a QT GUI LED Indicator.

    Args:
        name: of the value.
        least: the lamp is on from this value on; None: while the value is above that of the dict
            before.

    Raises:
        ValueError: ``name`` is empty.
    """

    def __init__(self, *, name: str = "accepted", least: float | None = None) -> None:
        if not name:
            raise ValueError("status_lamp: name is empty: give the name of a value, as 'accepted'")
        gr.basic_block.__init__(self, "status_lamp", None, None)
        self._name, self._least = name, least
        self.open_ports({"status": self._on_status}, ["state"], None)
        self.begin()

    def begin(self) -> None:
        self._before = 0.0
        self.on: bool | None = None

    def _on_status(self, message: object) -> None:
        facts = pmt.to_python(message)
        if not isinstance(facts, dict):
            raise ValueError("expected a dict of values")
        if self._name not in facts:
            return
        value = facts[self._name]
        if not is_finite(value):
            self.refuse(f"{self._name} {value!r} is no number")
            return
        on = value > self._before if self._least is None else value >= self._least
        self._before = value
        if on != self.on:
            self.on = on
            self.publish("state", pmt.cons(pmt.intern("state"), pmt.from_bool(on)))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: counters of other blocks as a line of text, for the console and a window."""

import logging
import sys
import textwrap

import pmt
from gnuradio import gr

from .block_base import TokenBlock

# A window is not wider.
MOST_COLUMNS = 100
log = logging.getLogger(__name__)


class status_text(TokenBlock, gr.basic_block):  # noqa: N801
    """A line of the values that are asked for, printed and published when new ones come.

    Input: message port `status`, dicts of numbers and text: the `status`, `report` and `decision`
    ports of other blocks, several of them together if need be. Output: message port `text`, the
    pair of `text` and the line, for a Message Pair to Var.

    Args:
        title: before the values.
        shown: what to show, a tuple each of label, name, per, factor and unit: the value of
            ``name``, or, where ``per`` is the name of another counter of the same block, how much
            it grew for each of those; times ``factor``. With a ``factor`` of None it is text.
        console: whether each line is printed as well.

    Raises:
        ValueError: an entry of ``shown`` is no such tuple.
    """

    def __init__(
        self,
        *,
        title: str = "",
        shown: list[tuple[str, str, str, float | None, str]],
        console: bool = True,
    ) -> None:
        for entry in shown:
            if len(entry) != 5 or not isinstance(entry[3], int | float | None):
                raise ValueError(f"shown {entry!r} is none of (label, name, per, factor, unit)")
        gr.basic_block.__init__(self, "status_text", None, None)
        self._title, self._shown, self._console = title, shown, console
        self.open_ports({"status": self._on_status}, ["text"], None)
        self._clear()

    def _clear(self) -> None:
        self._values: dict[str, str] = {}
        self._before: dict[str, tuple[float, float]] = {}
        self.text = ""

    def start(self) -> bool:
        super().start()
        self._clear()
        self._tell("nothing yet")
        return True

    def _tell(self, values: str) -> None:
        text = f"{self._title}: {values}" if self._title else values
        if text == self.text:
            return
        self.text = text
        if self._console:
            print(text, file=sys.stderr, flush=True)
        pair = pmt.cons(pmt.intern("text"), pmt.intern(text))
        self.message_port_pub(pmt.intern("text"), pair)

    def _on_status(self, message: object) -> None:
        try:
            facts = pmt.to_python(message)
            for label, name, per, factor, unit in self._shown:
                value = self._value(label, name, per, factor, facts)
                if value is not None:
                    self._values[label] = f"{label} {written(value, factor, unit)}".strip()
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            log.debug("no status: %s", error)
            return
        self._tell(" · ".join(self._values[e[0]] for e in self._shown if e[0] in self._values))

    def _value(
        self, label: str, name: str, per: str, factor: float | None, facts: dict
    ) -> float | str | None:
        if name not in facts or (per and per not in facts):
            return None
        if factor is None:
            return facts[name] if isinstance(facts[name], str) else None
        if not per:
            return float(facts[name])
        now = float(facts[name]), float(facts[per])
        before = self._before.get(label, (0.0, 0.0))
        self._before[label] = now
        grown = now[1] - before[1]
        return (now[0] - before[0]) / grown if grown > 0 else None


def written(value: float | str, factor: float | None, unit: str) -> str:
    """Returns text in short lines, or a number times ``factor`` with its unit."""
    if factor is None:
        return textwrap.fill(value, MOST_COLUMNS)
    number = f"{factor * value:.1f}".removesuffix(".0")
    return f"{number}{' ' if unit else ''}{unit}"

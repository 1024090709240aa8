# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one block several times, and keeps what each run gave."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pmt
from gnuradio import gr

# On a machine that has other things to do.
TIMEOUT_S = 10.0
POLL_S = 0.002
# What a run gives behind the end of its main output, as counters.
SETTLE_S = 0.1
# Of a stream's items: the last ones may still lie in a buffer when a run is stopped.
SHARE = 0.95
# Facts of a message that are never twice the same.
TIMES = ("capture_time_ns",)


class Feed(gr.sync_block):
    """The first ``limit`` items of ``data``; at the end it ends, before it waits."""

    def __init__(self, data: np.ndarray) -> None:
        gr.sync_block.__init__(self, "feed", None, [data.dtype.type])
        self._data = data
        self.rewind(len(data))

    def rewind(self, limit: int) -> None:
        self.limit, self.at = limit, 0

    def work(self, input_items: list, output_items: list) -> int:
        count = min(len(output_items[0]), self.limit - self.at)
        if count == 0:
            time.sleep(POLL_S)
            return -1 if self.at == len(self._data) else 0
        output_items[0][:count] = self._data[self.at : self.at + count]
        self.at += count
        return count


class Catch(gr.sync_block):
    """Keeps a stream."""

    def __init__(self, dtype: type) -> None:
        gr.sync_block.__init__(self, "catch", [dtype], None)
        self.pieces: list[np.ndarray] = []

    def work(self, input_items: list, output_items: list) -> int:
        self.pieces.append(input_items[0].copy())
        return len(input_items[0])


class Post(gr.basic_block):
    """Gives messages to a block, and keeps those that it gives."""

    def __init__(self, inputs: list[str], outputs: list[str]) -> None:
        gr.basic_block.__init__(self, "post", None, None)
        self.kept: dict[str, list] = {port: [] for port in outputs}
        self.set_msg_handler(pmt.intern("system"), self._on_system)
        for port in inputs:
            self.message_port_register_out(pmt.intern(f"to {port}"))
        for port in outputs:
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), self._keeper(port))

    def _on_system(self, message: object) -> None:
        """The end of one block is not the end of what others still give."""

    def _keeper(self, port: str) -> Callable:
        def keep(message: object) -> None:
            self.kept[port].append(message)

        # GNU Radio finds a handler by its name among the attributes of the block.
        keep.__name__ = f"keep_{port}"
        setattr(self, keep.__name__, keep)
        return keep

    def clear(self) -> None:
        """Keeps nothing, and nothing that still waits in front of it."""
        for kept in self.kept.values():
            kept.clear()
        # The end of the run before may be among what waits.
        for port in [*self.kept, "system"]:
            while self.gateway.delete_head_nowait(pmt.intern(port)) is not None:
                pass

    def post(self, port: str, message: object) -> None:
        self.message_port_pub(pmt.intern(f"to {port}"), message)


@dataclass
class Trial:
    """A block, what goes in and what comes out.

    Attributes:
        block: it; a hierarchical one may have ``statistics`` or not.
        samples: its stream in; None where it has none.
        messages: its messages in, port and message, in their order.
        stream_out: type of its stream out; None where it has none.
        ports_out: message ports out.
        ends: items of the stream, or messages of the first port out, with which a run is over.
        read: what becomes of a message before it is compared.
        result: what is there behind a run besides, as a file.
        facts: its counters; None for its ``statistics()``, where it has some.
    """

    block: object
    samples: np.ndarray | None = None
    messages: Callable[[], list[tuple[str, object]]] = list
    stream_out: type | None = None
    ports_out: list[str] = field(default_factory=list)
    ends: int = 1
    read: Callable[[str, object], object] = lambda port, message: message
    result: Callable[[], object] = lambda: None
    facts: Callable[[], dict] | None = None

    def __post_init__(self) -> None:
        self.tb = gr.top_block(catch_exceptions=False)
        self._feed = self._catch = None
        self._ports_in = list(dict.fromkeys(port for port, _ in self.messages()))
        self._post = Post(self._ports_in, self.ports_out)
        if self.samples is not None:
            self._feed = Feed(self.samples)
            self.tb.connect(self._feed, self.block)
        if self.stream_out is not None:
            self._catch = Catch(self.stream_out)
            self.tb.connect(self.block, self._catch)
        for port in self._ports_in:
            self.tb.msg_connect(self._post, f"to {port}", self.block, port)
        for port in self.ports_out:
            self.tb.msg_connect(self.block, port, self._post, port)

    def run(self, whole: bool = True, like: dict | None = None, plain: bool = True) -> dict:
        """What a run gives: to its end, or stopped in its middle.

        Args:
            like: what is awaited; None: the end.
            plain: messages as what can be compared, else as they are.
        """
        messages = self.messages()
        if self._catch is not None:
            self._catch.pieces.clear()
        self._post.clear()
        if self._feed is not None:
            size = len(self.samples)
            self._feed.rewind(size if whole else size // 2)
        self.tb.start()
        before = ""
        for port, message in messages if whole else messages[: len(messages) // 2]:
            if before not in ("", port):
                # Ports are read in any order.
                _wait(lambda port=before: self._waiting(port) == 0)
            self._post.post(port, message)
            before = port
        if whole and not self.ports_out and self._catch is None:
            # What is behind it ends with the stream.
            self.tb.wait()
        elif whole:
            _wait(lambda: self._over(like))
            time.sleep(0.0 if like else SETTLE_S)
        else:
            _wait(self._in_the_middle)
        self.tb.stop()
        self.tb.wait()
        found = self._found(plain)
        if not whole:
            # What nobody has taken is not for the next run.
            for port, message in messages[len(messages) // 2 :][:3]:
                self._post.post(port, message)
        return found

    def _waiting(self, port: str) -> int:
        block = self.block.to_basic_block()
        return block.nmsgs(pmt.intern(port)) if hasattr(self.block, "gateway") else 0

    def _items_out(self) -> int:
        return sum(len(piece) for piece in self._catch.pieces) if self._catch else 0

    def _over(self, like: dict | None) -> bool:
        if like is not None:
            kept = self._post.kept
            ports = all(len(kept[port]) >= len(like[port]) for port in kept)
            return ports and self._items_out() >= SHARE * len(like.get("stream", ()))
        if self._catch is not None:
            return self._items_out() >= self.ends
        return len(self._post.kept[self.ports_out[0]]) >= self.ends

    def _in_the_middle(self) -> bool:
        if self._catch is not None and not self._ports_in:
            return self._items_out() > self.ends // 3
        taken = self._feed is None or self._feed.at == self._feed.limit
        return taken and not any(self._waiting(port) for port in self._ports_in)

    def _found(self, plain: bool) -> dict:
        found = {
            port: [_plain(self.read(port, message)) for message in kept] if plain else list(kept)
            for port, kept in self._post.kept.items()
        }
        if self._catch is not None:
            found["stream"] = np.concatenate([*self._catch.pieces, np.zeros(0, self.stream_out)])
        statistics = self.facts or getattr(self.block, "statistics", dict)
        return found | {"statistics": statistics(), "result": self.result()}


def _wait(done: Callable[[], bool]) -> None:
    """Until it is, or the time is over: then there is something to compare with."""
    end = time.monotonic() + TIMEOUT_S
    while not done() and time.monotonic() < end:
        time.sleep(POLL_S)


def _plain(message: object) -> object:
    """A message as what can be compared."""
    if not isinstance(message, pmt.pmt_base):
        return message
    if pmt.is_pair(message) and pmt.is_dict(pmt.car(message)):
        head, body = pmt.car(message), pmt.cdr(message)
        for name in TIMES:
            head = pmt.dict_delete(head, pmt.intern(name))
        message = pmt.cons(head, body)
    return str(message)

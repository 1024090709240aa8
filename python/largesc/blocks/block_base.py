# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Python blocks share: ports, counters, the end of a stream, threads, times of frames."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import wraps

import numpy as np
import pmt

from .messages import DONE, credit_of, end_of_stream, lost_frame, read_pdu, to_pmt, unusable_hints

# Counters go out once a second of speech or so.
STATUS_FRAMES = 12
# Of the last five minutes.
MOST_TIMES = 4096
# Until a thread that failed tries again.
RETRY_S = 0.1
# Blocks that run. Of a Python block a flowgraph keeps only the part in C++, which calls the rest.
_running: set[object] = set()
log = logging.getLogger(__name__)


class FrameTimes:
    """Time that frames take: of the processor in this thread, and by the clock.

    The clock also counts waiting for a core or for Python's lock, when several blocks work at once.
    """

    def __init__(self) -> None:
        self.compute_ms: deque[float] = deque(maxlen=MOST_TIMES)
        self.elapsed_ms: deque[float] = deque(maxlen=MOST_TIMES)
        self._sum = (0.0, 0.0)

    def start(self) -> None:
        """Notes the times at which the work on a frame begins."""
        self._begin = time.thread_time(), time.perf_counter()

    def stop(self, frame_done: bool = True) -> None:
        """Adds the time since :meth:`start` to the frame, and closes the frame when it is done."""
        now = time.thread_time(), time.perf_counter()
        self._sum = tuple(
            total + 1e3 * (b - a) for total, a, b in zip(self._sum, self._begin, now, strict=True)
        )
        if frame_done:
            self.compute_ms.append(self._sum[0])
            self.elapsed_ms.append(self._sum[1])
            self._sum = (0.0, 0.0)


def log_once(block: object, key: str, text: str) -> None:
    """The log tells of each ``key`` of a block once a run."""
    said = vars(block).setdefault("_said", set())
    if key not in said:
        said.add(key)
        log.warning("%s: %s", block.name(), text)


def count_once(block: object, counter: str, key: str, text: str) -> None:
    """Adds to a counter of a block; the log tells of the first time for each ``key``."""
    block.counters[counter] = block.counters.get(counter, 0) + 1
    log_once(block, key, text)


def setter(change: Callable) -> Callable:
    """Decorator of the methods that change a parameter of a block while it runs.

    A value that cannot be is refused: the old one stays, ``refused_settings`` counts it, and the
    log says so once. An exception would leave through Qt's slots, and the program end with it.
    """

    @wraps(change)
    def guarded(self: object, *values: object, **named: object) -> None:
        try:
            change(self, *values, **named)
        except Exception as error:
            name = change.__name__
            count_once(self, "refused_settings", name, f"{name}: {error}; the old value stays")

    return guarded


class TokenBlock:
    """Mixin of the Python blocks: ports, the status port, and how a stream ends.

    A `done` of the scheduler is posted again behind the frames that still wait, see
    docs/architecture.md. The class that uses it calls :meth:`open_ports` in its constructor.

    No message ends the block: what a handler raises is counted as ``refused``.

    A flowgraph may be stopped and started again. Each run begins anew, with the settings as they
    are: what waits is dropped, counters begin at 0, and :meth:`begin` puts back the rest. While it
    runs the block lives, though nobody refers to it.
    """

    _ran = False

    def open_ports(self, inputs: dict, outputs: list[str], end_port: str | None) -> None:
        """``inputs`` maps port names to handlers; `end_port` is where frames come in."""
        self._ended = False
        # For whoever measures.
        self.times = FrameTimes()
        self.counters: dict[str, int] = {"refused": 0}
        for name, handler in inputs.items():
            self.message_port_register_in(pmt.intern(name))
            self.set_msg_handler(pmt.intern(name), self._guarded(name, handler))
        for name in [*outputs, "status"]:
            self.message_port_register_out(pmt.intern(name))
        if end_port is not None:
            self._end_port = pmt.intern(end_port)
            self.set_msg_handler(pmt.intern("system"), self._on_system)

    def start(self) -> bool:
        _running.add(self)
        # What was posted before the first run is for it.
        if self._ran:
            self._drop_waiting()
            self._ended = False
            self.times = FrameTimes()
            self.counters = dict.fromkeys(self.counters, 0)
            self._said = set()
            self.begin()
        self._ran = True
        return True

    def stop(self) -> bool:
        # GNU Radio calls this in a destructor: what it raised would end the program.
        self.attempt(self.halt)
        _running.discard(self)
        return True

    def halt(self) -> None:
        """Ends what goes on beside the block, such as a thread, when a run is over."""

    def _drop_waiting(self) -> None:
        ports = self.gateway.message_ports_in()
        for port in (pmt.vector_ref(ports, n) for n in range(pmt.length(ports))):
            while self.gateway.delete_head_nowait(port) is not None:
                pass

    def begin(self) -> None:
        """Puts the state of a stream back to what it was when the block was made."""

    def _guarded(self, port: str, handler: Callable) -> Callable:
        def guarded(message: object) -> None:
            self.attempt(handler, message)

        # GNU Radio finds a handler by its name among the attributes of the block.
        guarded.__name__ = f"_on_port_{port}"
        setattr(self, guarded.__name__, guarded)
        return guarded

    def attempt(self, step: Callable, *arguments: object) -> bool:
        """Whether ``step`` went through; what it raises would end the block's thread for good."""
        try:
            step(*arguments)
        except Exception as error:
            self.refuse(f"{type(error).__name__}: {error}")
            return False
        return True

    def _on_system(self, message: object) -> None:
        if pmt.is_pair(message) and pmt.eqv(pmt.car(message), pmt.intern("done")):
            if not self._ended:
                self.gateway._post(self._end_port, end_of_stream(-1))

    def publish(self, port: str, message: object) -> None:
        """Sends a PMT out of the message port of that name."""
        self.message_port_pub(pmt.intern(port), message)

    def publish_status(self) -> None:
        """Sends the counters out of the port `status`."""
        self.publish("status", to_pmt(self.statistics()))

    def finish(self) -> None:
        """Ends this block; everything was flushed and forwarded before."""
        self._ended = True
        self.publish_status()
        self.gateway.system_handler(DONE)

    def ended(self) -> bool:
        """Whether the end of the stream has passed this block."""
        return self._ended

    def refuse(self, what: str) -> None:
        """Counts a message that cannot be used; the first one is logged."""
        count_once(self, "refused", "refused", f"refused a message: {what}")

    def give_credit(self, message: object) -> None:
        """Gives the credit of the frames of a PDU back that goes no further, on port `credit`."""
        if (credit := credit_of(message)) is not None:
            self.publish("credit", credit)

    def read_frame(self, message: object) -> tuple[dict, np.ndarray] | None:
        """Metadata and tokens of a `tokens` PDU; None, and counted, where it cannot be used.

        A hint that cannot be used is left out and counted: the frame is good without it. A frame
        that cannot be used and has a number is a lost one, and counted: the frames behind it keep
        their numbers, and its credit comes back.
        """
        found = read_pdu(message)
        if found is None:
            self.refuse("expected a PDU of 8 tokens (u16), with the metadata of its port")
            return lost_frame(message)
        for hint in unusable_hints(found[0]):
            value = found[0].pop(hint)
            text = f"{hint} {value!r} of a frame cannot be used, the frame goes on without it"
            count_once(self, "hints_refused", hint, text)
        return found

    def statistics(self) -> dict[str, int]:
        """Returns a copy of the block's counters, by name."""
        return dict(self.counters)


class ThreadedBlock(TokenBlock):
    """Mixin: ``run()`` in a thread while the flowgraph runs; it returns once ``stopped`` is set.

    Where it raises, that is counted as ``refused``, and it begins anew.
    """

    _thread: threading.Thread | None = None

    def start(self) -> bool:
        super().start()
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._run_guarded, daemon=True)
        self._thread.start()
        return True

    def _run_guarded(self) -> None:
        while not self.attempt(self.run):
            if self.stopped.wait(RETRY_S):
                return

    def halt(self) -> None:
        if self._thread is not None:
            self.stopped.set()
            self._thread.join()

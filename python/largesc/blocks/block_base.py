# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Python blocks share: ports, counters, the end of a stream, threads, times of frames."""

import logging
import threading
import time
from collections import deque

import pmt

from .messages import DONE, end_of_stream, to_pmt

# Counters go out once a second of speech or so.
STATUS_FRAMES = 12
# Of the last five minutes.
MOST_TIMES = 4096
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


class TokenBlock:
    """Mixin of the Python blocks: ports, the status port, and how a stream ends.

    A `done` of the scheduler is posted again behind the frames that still wait, see
    docs/architecture.md. The class that uses it calls :meth:`open_ports` in its constructor.
    """

    def open_ports(self, inputs: dict, outputs: list[str], end_port: str | None) -> None:
        """``inputs`` maps port names to handlers; `end_port` is where frames come in."""
        self._ended = False
        # For whoever measures.
        self.times = FrameTimes()
        self.counters: dict[str, int] = {"refused": 0}
        for name, handler in inputs.items():
            self.message_port_register_in(pmt.intern(name))
            self.set_msg_handler(pmt.intern(name), handler)
        for name in [*outputs, "status"]:
            self.message_port_register_out(pmt.intern(name))
        if end_port is not None:
            self._end_port = pmt.intern(end_port)
            self.set_msg_handler(pmt.intern("system"), self._on_system)

    def _on_system(self, message: object) -> None:
        if pmt.is_pair(message) and pmt.eqv(pmt.car(message), pmt.intern("done")):
            if not self._ended:
                self.gateway._post(self._end_port, end_of_stream(-1))

    def publish(self, port: str, message: object) -> None:
        self.message_port_pub(pmt.intern(port), message)

    def publish_status(self) -> None:
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
        self.counters["refused"] += 1
        if self.counters["refused"] == 1:
            log.warning("%s refused a message: %s", self.name(), what)

    def statistics(self) -> dict[str, int]:
        """Counters by name."""
        return dict(self.counters)


class ThreadedBlock:
    """Mixin: ``run()`` in a thread while the flowgraph runs; it returns once ``stopped`` is set."""

    _thread: threading.Thread | None = None

    def start(self) -> bool:
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return True

    def stop(self) -> bool:
        if self._thread is not None:
            self.stopped.set()
            self._thread.join()
        return True

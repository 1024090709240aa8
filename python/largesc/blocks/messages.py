# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and making the messages of docs/architecture.md."""

import logging
import math
import time
from collections import deque

import numpy as np
import pmt

from .. import _core
from .._core import keys
from ..control.reports import Report

# Counters go out once a second of speech or so.
STATUS_FRAMES = 12
# Of the last five minutes.
MOST_TIMES = 4096
log = logging.getLogger(__name__)
DONE = pmt.cons(pmt.intern("done"), pmt.from_long(1))


def to_pmt(value: object) -> object:
    """bool, int, float, numpy vector or dict to a PMT."""
    if isinstance(value, dict):
        out = pmt.make_dict()
        for key, item in value.items():
            out = pmt.dict_add(out, pmt.intern(key), to_pmt(item))
        return out
    if isinstance(value, bool | np.bool_):
        return pmt.from_bool(bool(value))
    if isinstance(value, int | np.integer):
        return pmt.from_long(int(value))
    if isinstance(value, float | np.floating):
        return pmt.from_double(float(value))
    return pmt.to_pmt(value)


def make_pdu(meta: dict, tokens: np.ndarray) -> object:
    """A `tokens` PDU."""
    data = np.asarray(tokens, dtype=np.uint16)
    return pmt.cons(to_pmt(meta), pmt.init_u16vector(len(data), data.tolist()))


def end_of_stream(frames: int) -> object:
    """The PDU behind the last of ``frames`` frames; -1 where nobody knows how many."""
    meta = {keys.end_of_stream: True}
    if frames >= 0:
        meta[keys.frame_index] = frames
    return make_pdu(meta, np.zeros(0, dtype=np.uint16))


def read_pdu(message: object) -> tuple[dict, np.ndarray] | None:
    """Metadata and tokens of a `tokens` PDU; None when it is none.

    The end of a stream has no tokens; every other frame has 8, each below 2048 or erased.
    """
    try:
        if not pmt.is_pair(message):
            return None
        head = pmt.car(message)
        meta = pmt.to_python(head) if pmt.is_dict(head) else {}
        meta = meta or {}
        if not isinstance(meta, dict):
            return None
        if meta.get(keys.end_of_stream):
            return meta, np.zeros(0, dtype=np.uint16)
        if not pmt.is_u16vector(pmt.cdr(message)):
            return None
        tokens = np.array(pmt.u16vector_elements(pmt.cdr(message)), dtype=np.uint16)
    except (RuntimeError, TypeError, ValueError):
        return None
    if len(tokens) != _core.TOKENS_PER_FRAME:
        return None
    if np.any((tokens >= _core.TOKEN_VALUES) & (tokens != _core.ERASED_TOKEN)):
        return None
    return meta, tokens


def read_report(message: object) -> Report:
    """A report from its dict, see docs/architecture.md.

    Raises:
        ValueError: it is no dict with loss_probability, or a value is out of range.
    """
    try:
        facts = pmt.to_python(message)
        p = float(facts[keys.loss_probability])
        burst = float(facts.get(keys.mean_burst_packets, 1.0))
        snr_db, frames = facts.get(keys.snr_db), facts.get(keys.buffered_frames)
        report = Report(
            p,
            burst,
            None if snr_db is None else float(snr_db),
            None if frames is None else int(frames),
        )
    except (AttributeError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError("expected a report, a dict with loss_probability") from error
    if not (math.isfinite(p) and 0.0 <= p <= 1.0):
        raise ValueError(f"loss_probability {p} of the report is out of range")
    if not (math.isfinite(burst) and burst >= 1.0):
        raise ValueError(f"mean_burst_packets {burst} of the report is out of range")
    return report


def report_dict(report: Report) -> object:
    """The dict of a report, without what is not known."""
    facts = {
        keys.loss_probability: report.loss_probability,
        keys.mean_burst_packets: report.mean_burst_packets,
        keys.snr_db: report.snr_db,
        keys.buffered_frames: report.buffered_frames,
    }
    return to_pmt({key: value for key, value in facts.items() if value is not None})


def make_packet(data: bytes) -> object:
    """A `packets` PDU."""
    return pmt.cons(pmt.make_dict(), pmt.init_u8vector(len(data), list(data)))


def packet_bytes(message: object) -> bytes | None:
    """Bytes of a `packets` PDU; None when it is none."""
    if not pmt.is_pair(message) or not pmt.is_u8vector(pmt.cdr(message)):
        return None
    return bytes(pmt.u8vector_elements(pmt.cdr(message)))


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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and making the messages of docs/architecture.md."""

import math

import numpy as np
import pmt

from .._core import ERASED_TOKEN, TOKEN_VALUES, TOKENS_PER_FRAME, keys
from ..packets.report import Report

DONE = pmt.cons(pmt.intern("done"), pmt.from_long(1))
FRAME_INDEX = pmt.intern(keys.frame_index)


def to_pmt(value: object) -> object:
    """bool, int, float, numpy vector or dict to a PMT."""
    if isinstance(value, dict):
        out = pmt.make_dict()
        # A PMT dict lists what was added last first.
        for key, item in reversed(value.items()):
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
    """Returns a `tokens` PDU: metadata, and token numbers as a vector of u16."""
    data = np.asarray(tokens, dtype=np.uint16)
    return pmt.cons(to_pmt(meta), pmt.init_u16vector(len(data), data.tolist()))


def end_of_stream(frames: int) -> object:
    """The PDU behind the last of ``frames`` frames; -1 where nobody knows how many."""
    meta = {keys.end_of_stream: True}
    if frames >= 0:
        meta[keys.frame_index] = frames
    return make_pdu(meta, np.zeros(0, dtype=np.uint16))


def is_count(value: object) -> bool:
    """Whether it is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_flag(value: object) -> bool:
    """Tells whether a metadata value is a boolean; numbers are none."""
    return isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether it is a number, and neither infinite nor NaN."""
    return isinstance(value, int | float) and math.isfinite(value)


def is_vector(value: object) -> bool:
    """Whether it is a vector of finite numbers."""
    numbers = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu"
    return numbers and bool(np.all(np.isfinite(value)))


def is_tokens(value: object) -> bool:
    """Whether it is a frame of tokens, each below 2048 or erased."""
    if not is_vector(value) or value.dtype.kind == "f":
        return False
    known = (value >= 0) & (value < TOKEN_VALUES)
    return value.shape == (TOKENS_PER_FRAME,) and bool(np.all(known | (value == ERASED_TOKEN)))


# Without these a frame is not what it says: where one is of another type, it is refused.
ESSENTIALS = {
    keys.frame_index: is_count,
    keys.repair: is_flag,
    keys.silence: is_flag,
    keys.comfort: is_flag,
    keys.skip: is_flag,
    keys.tokens_sent: is_count,
    keys.tokens_repeated: is_count,
    keys.copy_distance: is_count,
    keys.tokens_protected: is_count,
    keys.concealed_tokens: is_count,
}
# What a frame does without.
HINTS = {
    keys.level_dbfs: is_finite,
    keys.gain: is_finite,
    keys.latent: is_vector,
    keys.estimated_latent: is_vector,
    keys.distortion: lambda value: is_vector(value) and value.shape == (TOKENS_PER_FRAME + 1,),
    keys.following_tokens: is_tokens,
}


def unusable_hints(meta: dict) -> list[str]:
    """Hints in the metadata of a frame that are not what they should be."""
    return [name for name, check in HINTS.items() if name in meta and not check(meta[name])]


def read_pdu(message: object) -> tuple[dict, np.ndarray] | None:
    """Metadata and tokens of a `tokens` PDU; None when it is none.

    The end of a stream has no tokens; every other frame has 8, each below 2048 or erased. Hints
    are as they came, see :func:`unusable_hints`.
    """
    try:
        if not pmt.is_pair(message):
            return None
        head = pmt.car(message)
        meta = pmt.to_python(head) if pmt.is_dict(head) else {}
        meta = meta or {}
        if not isinstance(meta, dict):
            return None
        wrong = [k for k, check in ESSENTIALS.items() if k in meta and not check(meta[k])]
        if meta.get(keys.end_of_stream):
            # The end is the end, whatever it says of the frames before it.
            return {k: v for k, v in meta.items() if k not in wrong}, np.zeros(0, dtype=np.uint16)
        if wrong or not pmt.is_u16vector(pmt.cdr(message)):
            return None
        tokens = np.array(pmt.u16vector_elements(pmt.cdr(message)), dtype=np.uint16)
    except (RuntimeError, TypeError, ValueError):
        return None
    return (meta, tokens) if is_tokens(tokens) else None


def lost_frame(message: object) -> tuple[dict, np.ndarray] | None:
    """Metadata and tokens of a frame of which only the number is good; None without a number."""
    try:
        index = pmt.to_python(pmt.dict_ref(pmt.car(message), FRAME_INDEX, pmt.PMT_NIL))
    except (RuntimeError, TypeError, ValueError):
        return None
    if not is_count(index):
        return None
    return {keys.frame_index: index}, np.full(TOKENS_PER_FRAME, ERASED_TOKEN, dtype=np.uint16)


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
            float(snr_db) if is_finite(snr_db) else None,
            frames if is_count(frames) else None,
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
    """Returns a `packets` PDU of these bytes, without metadata."""
    return pmt.cons(pmt.make_dict(), pmt.init_u8vector(len(data), list(data)))


def make_burst(meta: dict, symbols: np.ndarray) -> object:
    """A `bursts` PDU of complex symbols."""
    return pmt.cons(to_pmt(meta), pmt.to_pmt(np.asarray(symbols, dtype=np.complex64)))


def read_burst(message: object) -> tuple[dict, np.ndarray] | None:
    """Metadata and symbols, complex ``[n]``, of a `bursts` PDU; None when it is none."""
    try:
        if not pmt.is_pair(message) or not pmt.is_c32vector(pmt.cdr(message)):
            return None
        head = pmt.car(message)
        meta = pmt.to_python(head) if pmt.is_dict(head) else {}
        symbols = np.array(pmt.c32vector_elements(pmt.cdr(message)), dtype=np.complex64)
    except (RuntimeError, TypeError, ValueError):
        return None
    return (meta if isinstance(meta, dict) else {}), symbols


def read_snr_db(message: object) -> float:
    """The SNR in dB of a report or of a number.

    Raises:
        ValueError: it is neither, or no finite number.
    """
    try:
        found = pmt.to_python(message)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError("expected snr_db, a number or a dict with it") from error
    value = found.get(keys.snr_db) if isinstance(found, dict) else found
    if isinstance(value, bool) or not is_finite(value):
        raise ValueError(f"snr_db {value!r} is no finite number")
    return float(value)


def packet_bytes(message: object) -> bytes | None:
    """Bytes of a `packets` PDU; None when it is none."""
    if not pmt.is_pair(message) or not pmt.is_u8vector(pmt.cdr(message)):
        return None
    return bytes(pmt.u8vector_elements(pmt.cdr(message)))


def read_packet(message: object) -> tuple[bool, bytes | None]:
    """Whether a message is the end of the stream, and the bytes of a `packets` PDU or None."""
    if not pmt.is_pair(message):
        return False, None
    head, body = pmt.car(message), pmt.cdr(message)
    try:
        # Every pair passes for a dict.
        meta = pmt.to_python(head) if pmt.is_dict(head) else {}
    except (RuntimeError, TypeError, ValueError):
        meta = {}
    over = isinstance(meta, dict) and bool(meta.get(keys.end_of_stream))
    return over, bytes(pmt.u8vector_elements(body)) if pmt.is_u8vector(body) else None


def packet_span(message: object) -> tuple[int, int, int] | None:
    """First frame, number of frames and bytes of a `packets` PDU; None when it is none."""
    if not (pmt.is_pair(message) and pmt.is_dict(pmt.car(message))):
        return None
    if not pmt.is_u8vector(pmt.cdr(message)):
        return None
    head = pmt.car(message)
    index = pmt.dict_ref(head, pmt.intern(keys.frame_index), pmt.PMT_NIL)
    frames = pmt.dict_ref(head, pmt.intern(keys.frames), pmt.from_long(1))
    if not (pmt.is_integer(index) and pmt.is_integer(frames)):
        return None
    first, count = pmt.to_long(index), pmt.to_long(frames)
    if first < 0 or not 1 <= count <= 4:
        return None
    return first, count, pmt.length(pmt.cdr(message))


def read_credit(message: object) -> tuple[int, int]:
    """First frame and number of frames that are done with.

    Raises:
        ValueError: it is no dict with both.
    """
    try:
        first = pmt.to_long(pmt.dict_ref(message, pmt.intern(keys.frame_index), pmt.PMT_NIL))
        count = pmt.to_long(pmt.dict_ref(message, pmt.intern(keys.frames), pmt.PMT_NIL))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError("credit without frame_index and frames") from error
    return first, count


def credit_of(message: object) -> object | None:
    """The credit of the frames that a PDU carries; None where its metadata has no numbers."""
    lost = lost_frame(message)
    if lost is None:
        return None
    count = pmt.to_python(pmt.dict_ref(pmt.car(message), pmt.intern(keys.frames), pmt.PMT_NIL))
    return make_credit(lost[0][keys.frame_index], count if is_count(count) else 1)


def make_credit(first: int, count: int = 1) -> object:
    """The dict that says that frames are done with."""
    return to_pmt({keys.frame_index: first, keys.frames: count})

# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns bursts of symbols into PDUs and back."""

import numpy as np
import pmt

from ..._core import keys
from ...channel_codec.linear import BLOCK_FRAMES
from ...tasks.translation import Burst
from ..messages import is_count, is_finite, is_flag, to_pmt

# Metadata of a burst beside its symbols and fading, by the names of `Burst`.
FIELDS = {
    keys.burst_index: "index",
    keys.window: "window",
    keys.first_frame: "first",
    keys.last: "last",
    keys.gain_steps: "gain_steps",
    keys.spoken_sample: "spoken",
    keys.speech_end_sample: "speech_end",
}


def burst_pdu(burst: Burst) -> object:
    """A burst as a PDU of complex symbols, its fading in the metadata."""
    meta = {key: getattr(burst, name) for key, name in FIELDS.items()}
    meta[keys.fading] = np.ascontiguousarray(burst.h.ravel(), dtype=np.complex64)
    if burst.h.shape[1] > 1:
        meta[keys.frames] = BLOCK_FRAMES * len(burst.h)
    if burst.snr_db is not None:
        meta[keys.snr_db] = burst.snr_db
    symbols = np.ascontiguousarray(burst.symbols.ravel(), dtype=np.complex64)
    return pmt.cons(to_pmt(meta), pmt.init_c32vector(len(symbols), symbols.tolist()))


def read_burst(message: object) -> tuple[dict, Burst | None]:
    """Metadata of a PDU, and the burst that it holds; None at the end of the stream.

    Raises:
        ValueError: it is none.
    """
    try:
        meta = pmt.to_python(pmt.car(message)) if pmt.is_pair(message) else None
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"metadata that cannot be read: {error}") from error
    if not isinstance(meta, dict):
        raise ValueError("expected a PDU of complex symbols")
    if meta.get(keys.end_of_stream) is True:
        return meta, None
    for key in FIELDS:
        check = is_flag if key == keys.last else is_count
        if key == keys.gain_steps:
            if type(meta.get(key)) is not int or abs(meta[key]) > 127:
                raise ValueError(f"{key} {meta.get(key)!r} of a burst: use -127 to 127")
        elif not check(meta.get(key)):
            raise ValueError(f"{key} {meta.get(key)!r} of a burst cannot be used")
    if not pmt.is_c32vector(pmt.cdr(message)):
        raise ValueError("a burst without complex symbols")
    symbols = np.array(pmt.c32vector_elements(pmt.cdr(message)), dtype=np.complex64)
    h = _fading(meta, len(symbols))
    snr_db = meta.get(keys.snr_db)
    if snr_db is not None and not is_finite(snr_db):
        raise ValueError(f"snr_db {snr_db!r} of a burst is no number")
    fields = {name: meta[key] for key, name in FIELDS.items()}
    return meta, Burst(symbols=symbols.reshape(len(h), -1), h=h, snr_db=snr_db, **fields)


def _fading(meta: dict, symbols: int) -> np.ndarray:
    """Of each block, ``[n, 1]``; of each symbol, ``[n, m]``, where ``frames`` tells of blocks.

    Raises:
        ValueError: it does not fit so many symbols.
    """
    h = np.asarray(meta.get(keys.fading))
    blocks, frames = h.size, meta.get(keys.frames)
    if frames is not None:
        blocks = frames // BLOCK_FRAMES if is_count(frames) and frames % BLOCK_FRAMES == 0 else 0
    fits = blocks > 0 and symbols % blocks == 0 and h.size in (blocks, symbols)
    if h.ndim != 1 or h.dtype.kind not in "fc" or not fits:
        raise ValueError(
            f"a burst of {symbols} symbols and {frames} frames with {h.size} values of fading"
        )
    return h.astype(np.complex64).reshape(blocks, -1)


def end_of_bursts() -> object:
    """The PDU behind the last burst."""
    return pmt.cons(to_pmt({keys.end_of_stream: True}), pmt.init_c32vector(0, []))

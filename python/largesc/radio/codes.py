# SPDX-License-Identifier: GPL-3.0-or-later
"""Error correction of a packet, by the codes of gr-fec."""

import ctypes
from pathlib import Path

import numpy as np

from .profiles import (
    CODES,
    CRC_BYTES,
    LDPC_INFO_BITS,
    LDPC_PARITY_BITS,
    MOST_BYTES,
    TAIL_BITS,
    coded_bits,
)

MOST_BITS = 8 * (MOST_BYTES + CRC_BYTES)
POLYNOMIALS = [109, 79]
LDPC_FILE = "share/gnuradio/fec/ldpc/n_0300_k_0152_gap_03.alist"
LDPC_GAP = 3
# The decoder wants a mean amplitude of 1 and this deviation of the noise, whatever it is: with
# exact likelihoods it stops too early. Bits that are known have the amplitude `certain`.
LDPC_SIGMA = 0.5
LDPC_CERTAIN = 4.0
LDPC_ITERATIONS = 50
# Steps of the Viterbi decoder's soft bits per unit of the mean amplitude.
SOFT_STEPS = 32.0
# Soft bits may be small, as the signal is; their scale does not matter.
LEAST_LLR = 1e-30

_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype = ctypes.py_object
_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def _work(coder: object, data: np.ndarray, length: int) -> np.ndarray:
    """Runs a gr-fec object, whose binding takes bare addresses, on ``data``."""
    # The decoders write whole words behind the end.
    out = np.zeros(length + 64, dtype=np.uint8)
    data = np.concatenate([data, np.zeros(64, dtype=data.dtype)])
    coder.generic_work(
        _capsule(data.ctypes.data, None, None), _capsule(out.ctypes.data, None, None)
    )
    return out[:length]


class PacketCode:
    """Encoder and decoder of one code.

    Args:
        name: one of ``profiles.CODES``.

    Raises:
        ValueError: unknown name.
        RuntimeError: GNU Radio's file of the LDPC code is not there.
    """

    def __init__(self, name: str) -> None:
        if name not in CODES:
            raise ValueError(f"code {name!r} is unknown: use one of {', '.join(CODES)}")
        self.name = name
        if name == "convolutional":
            from gnuradio import fec

            args = (MOST_BITS, 7, 2, POLYNOMIALS)
            self._encoder = fec.cc_encoder.make(*args, 0, fec.CC_TERMINATED, False)
            self._decoder = fec.cc_decoder.make(*args, 0, 0, fec.CC_TERMINATED, False)
        elif name == "ldpc":
            from gnuradio import fec, gr

            path = Path(gr.prefix()) / LDPC_FILE
            if not path.exists():
                raise RuntimeError(
                    f"{path} is not there: it comes with GNU Radio's gr-fec; use code "
                    "'convolutional', or install it"
                )
            self._encoder = fec.ldpc_par_mtrx_encoder.make(str(path), LDPC_GAP)
            self._decoder = fec.ldpc_decoder.make(str(path), LDPC_SIGMA, LDPC_ITERATIONS)

    def encode(self, bits: np.ndarray) -> np.ndarray:
        """uint8 bits ``[n]``, n at most 896, to ``[coded_bits(n)]``."""
        bits = np.asarray(bits, dtype=np.uint8)
        if len(bits) > MOST_BITS:
            raise ValueError(f"{len(bits)} bits are too many: at most {MOST_BITS}")
        if self.name == "convolutional":
            self._encoder.set_frame_size(len(bits))
            return _work(self._encoder, bits, 2 * (len(bits) + TAIL_BITS))
        if self.name == "ldpc":
            return np.concatenate([self._encode_block(part) for part in _blocks(bits)])
        return bits.copy()

    def decode(self, llr: np.ndarray, count: int) -> np.ndarray:
        """Log likelihood ratios ``[coded_bits(count)]``, positive for 1, to ``count`` bits."""
        if len(llr) != coded_bits(self.name, count):
            raise ValueError(f"{len(llr)} soft bits do not fit {count} bits")
        if self.name == "convolutional":
            scale = SOFT_STEPS / max(float(np.mean(np.abs(llr))), LEAST_LLR)
            soft = np.clip(np.round(128 + scale * llr), 0, 255).astype(np.uint8)
            self._decoder.set_frame_size(count)
            return _work(self._decoder, soft, count)
        if self.name == "ldpc":
            return self._decode_ldpc(np.asarray(llr, dtype=np.float32), count)
        return (np.asarray(llr) > 0).astype(np.uint8)

    def _encode_block(self, info: np.ndarray) -> np.ndarray:
        padded = np.zeros(LDPC_INFO_BITS, dtype=np.uint8)
        padded[: len(info)] = info
        word = _work(self._encoder, padded, LDPC_PARITY_BITS + LDPC_INFO_BITS)
        # Parity comes first, then the information; the padding stays at home.
        return word[: LDPC_PARITY_BITS + len(info)]

    def _decode_ldpc(self, llr: np.ndarray, count: int) -> np.ndarray:
        scale = 1.0 / max(float(np.mean(np.abs(llr))), LEAST_LLR)
        out, start = [], 0
        for part in _blocks(np.zeros(count, dtype=np.uint8)):
            size = LDPC_PARITY_BITS + len(part)
            word = np.full(LDPC_PARITY_BITS + LDPC_INFO_BITS, -LDPC_CERTAIN, dtype=np.float32)
            word[:size] = np.clip(scale * llr[start : start + size], -LDPC_CERTAIN, LDPC_CERTAIN)
            out.append(_work(self._decoder, word, LDPC_INFO_BITS)[: len(part)])
            start += size
        return np.concatenate(out)


def _blocks(bits: np.ndarray) -> list[np.ndarray]:
    """Parts of nearly the same length, none longer than an LDPC block."""
    return np.array_split(bits, -(-len(bits) // LDPC_INFO_BITS))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Header of a burst: the packet's length and a check, in 32 bits that survive 5 wrong ones.

7 bits of length and 4 bits that name the code, in the extended BCH code (32, 11) of distance 12.
The receiver compares with all 2048 words at once. Of these it takes only the 110 with a length
that exists and its own code.
"""

from functools import lru_cache

import numpy as np

from .profiles import CODES, HEADER_BITS, LEAST_BYTES, MOST_BYTES

INFO_BITS = 11
# x^20 + ... + 1, of the BCH code (31, 11) that corrects 5 errors.
GENERATOR = 0o5423325
CODE_MARKS = dict(zip(CODES, (0b0101, 0b1010, 0b1100), strict=True))


def header_word(packet_bytes: int, code: str) -> int:
    """The 11 bits: length, then the mark of the code."""
    return packet_bytes << 4 | CODE_MARKS[code]


@lru_cache(maxsize=1)
def all_words() -> np.ndarray:
    """uint8 ``[2048, 32]``: the bits of every word, systematic, the parity bit last."""
    words = np.zeros((1 << INFO_BITS, HEADER_BITS), dtype=np.uint8)
    shift = HEADER_BITS - 1 - INFO_BITS
    for info in range(1 << INFO_BITS):
        rest = info << shift
        for bit in range(HEADER_BITS - 2, shift - 1, -1):
            if rest >> bit & 1:
                rest ^= GENERATOR << (bit - shift)
        word = info << shift | rest
        word = word << 1 | word.bit_count() & 1
        words[info] = [word >> bit & 1 for bit in range(HEADER_BITS - 1, -1, -1)]
    return words


def encode_header(packet_bytes: int, code: str) -> np.ndarray:
    """Returns the header's bits, uint8 ``[32]``."""
    return all_words()[header_word(packet_bytes, code)]


def read_word(word: int, code: str) -> int:
    """Length that a word of 11 bits tells; 0 when it is none of this link."""
    length, mark = word >> 4, word & 15
    if mark != CODE_MARKS[code] or not LEAST_BYTES <= length <= MOST_BYTES:
        return 0
    return length

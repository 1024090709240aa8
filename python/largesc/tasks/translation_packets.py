# SPDX-License-Identifier: GPL-3.0-or-later
"""What devices and edges of the translation link tell each other, as bytes.

SEGMENT  device to edge: end and end of speech, samples as 64 bit; last, front; frames, 8 bit each
BURST    edge to edge: index, window, first frame; last, gain, blocks, symbols a block; spoken and
         end of speech; h of each block, complex of 32 bit; symbols, complex of 16 bit
TEXT     edge to device: a JSON object with the attributes of :class:`Text`

Numbers are big-endian, arrays little-endian. Nothing that comes is trusted: what cannot be used
raises ValueError.
"""

import json
import struct
from dataclasses import asdict

import numpy as np

from ..features.fronts import FRONTS
from ..features.text import Text
from .translation import Burst, Sound

SEGMENT, BURST, TEXT = 1, 2, 3
# What the byte of the front says. Those of Whisper are as many as their bands.
FRONT_BYTES = {"whisper": 80, "whisper-128": 128, "seamless": 208}
SEGMENT_HEAD = struct.Struct(">QQBB")
BURST_HEAD = struct.Struct(">QIIBbHHQQ")
MOST_LETTERS = 10_000


def segment_bytes(sound: Sound) -> bytes:
    """Returns a segment of speech as the bytes of SEGMENT."""
    head = SEGMENT_HEAD.pack(sound.end, sound.speech_end, sound.last, FRONT_BYTES[sound.front])
    return head + sound.frames.tobytes()


def read_segment(message: bytes) -> Sound:
    """The way back of :func:`segment_bytes`.

    Raises:
        ValueError: it is no segment.
    """
    if len(message) < SEGMENT_HEAD.size:
        raise ValueError(f"a segment of {len(message)} bytes is cut")
    end, speech_end, last, front = SEGMENT_HEAD.unpack_from(message)
    names = {number: name for name, number in FRONT_BYTES.items()}
    if front not in names:
        raise ValueError(f"a segment of the unknown front {front}")
    size, bands = len(message) - SEGMENT_HEAD.size, FRONTS[names[front]]
    if size % bands or last > 1:
        raise ValueError(f"a segment of {size} bytes in {bands} bands")
    frames = np.frombuffer(message, dtype=np.uint8, offset=SEGMENT_HEAD.size)
    return Sound(frames.reshape(-1, bands), end, speech_end, bool(last), names[front])


def burst_bytes(burst: Burst) -> bytes:
    """Returns a burst of complex symbols as the bytes of BURST."""
    blocks, size = burst.symbols.shape
    head = BURST_HEAD.pack(
        burst.index, burst.window, burst.first, burst.last, burst.gain_steps, blocks, size,
        burst.spoken, burst.speech_end,
    )  # fmt: skip
    symbols = np.stack([burst.symbols.real, burst.symbols.imag], axis=-1)
    fading = np.ascontiguousarray(burst.h[:, 0]).astype("<c8")
    return head + fading.tobytes() + np.clip(symbols, -6e4, 6e4).astype("<f2").tobytes()


def read_burst(message: bytes) -> Burst:
    """The way back of :func:`burst_bytes`.

    Raises:
        ValueError: it is no burst.
    """
    if len(message) < BURST_HEAD.size:
        raise ValueError(f"a burst of {len(message)} bytes is cut")
    index, window, first, last, gain, blocks, size, spoken, end = BURST_HEAD.unpack_from(message)
    whole = BURST_HEAD.size + 8 * blocks + 4 * blocks * size
    if not blocks or not size or len(message) != whole or last > 1 or gain == -128:
        raise ValueError(f"a burst of {blocks} blocks of {size} symbols in {len(message)} bytes")
    h = np.frombuffer(message, dtype="<c8", count=blocks, offset=BURST_HEAD.size)
    parts = np.frombuffer(message, dtype="<f2", offset=BURST_HEAD.size + 8 * blocks)
    parts = parts.reshape(blocks, size, 2).astype(np.float32)
    symbols = np.nan_to_num(parts[..., 0] + 1j * parts[..., 1]).astype(np.complex64)
    h = np.nan_to_num(h)[:, None].astype(np.complex64)
    return Burst(index, window, first, bool(last), gain, symbols, h, spoken, end)


def text_bytes(text: Text) -> bytes:
    """Returns what was understood as the bytes of TEXT."""
    return json.dumps(asdict(text), ensure_ascii=False).encode()


def read_text(message: bytes) -> Text:
    """The way back of :func:`text_bytes`; of its letters those that a terminal can show.

    Raises:
        ValueError: it is no text.
    """
    try:
        found = json.loads(message)
        text = Text(**found)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"a text of other attributes: {error}") from error
    kinds = {"window": int, "committed": str, "tentative": str, "last": bool, "doubtful": bool}
    if any(type(found[name]) is not kind for name, kind in kinds.items()):
        raise ValueError("a text with values of other types")
    if type(text.heard_s) not in (int, float) or max(map(len, _words(text))) > MOST_LETTERS:
        raise ValueError("a text that is too long, or heard_s is no number")
    committed, tentative = ("".join(c for c in x if c.isprintable()) for x in _words(text))
    return Text(text.window, committed, tentative, float(text.heard_s), text.last, text.doubtful)


def _words(text: Text) -> tuple[str, str]:
    return text.committed, text.tentative

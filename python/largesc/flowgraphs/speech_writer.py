# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech to a file as it comes: an hour takes no memory, and a kill leaves what was heard."""

import struct
import sys

import numpy as np
from gnuradio import gr

from ..speech.files import AudioError, to_pcm16
from ..speech.format import SAMPLE_RATE_HZ

# What a kill loses at most.
FLUSH_SAMPLES = SAMPLE_RATE_HZ // 2
SAMPLE_BYTES = 2
HEADER_BYTES = 44
# The header counts to 2^32: a longer file keeps the largest count that it can hold, 24.8 hours.
MOST_BYTES = 0xFFFFFFFE - HEADER_BYTES


def wav_header(data_bytes: int) -> bytes:
    """Header of a WAV file, 16 bit, mono, 24 kHz, with so many bytes behind it."""
    count = min(data_bytes, MOST_BYTES)
    rate = SAMPLE_RATE_HZ
    form = (16, 1, 1, rate, SAMPLE_BYTES * rate, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    riff = struct.pack("<4sI4s", b"RIFF", count + HEADER_BYTES - 8, b"WAVE")
    return riff + struct.pack("<4sIHHIIHH4sI", b"fmt ", *form, b"data", count)


class speech_writer(gr.sync_block):  # noqa: N801
    """16-bit WAV, or raw PCM, at 24 kHz. The header is right after each half second.

    Neither `soundfile` nor the in-tree `wavfile_sink` writes a header before the end.

    Input: float stream, 24 kHz.

    Args:
        path: file, or ``-`` for stdout, where a WAV header is not corrected and says 24 hours.
        raw: without header.
        skip_samples: left out at the begin.

    Raises:
        AudioError: the file cannot be written.

    Attributes:
        error: what went wrong while writing, empty while nothing has; nothing is written then.
    """

    def __init__(self, *, path: str, raw: bool = False, skip_samples: int = 0) -> None:
        gr.sync_block.__init__(self, "speech_writer", [np.float32], None)
        self.error = ""
        self._path, self._skip = path, skip_samples
        self._data_bytes = self._flushed_bytes = 0
        try:
            self._file = sys.stdout.buffer if path == "-" else open(path, "wb")  # noqa: SIM115
            # What stdout was redirected to may hold more than this file.
            self._corrected = not raw and path != "-" and self._file.seekable()
            if not raw:
                self._file.write(wav_header(0 if self._corrected else MOST_BYTES))
        except OSError as error:
            raise AudioError(f"{path} cannot be written: {error.strerror}") from error

    def work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        left_out = min(self._skip, len(samples))
        self._skip -= left_out
        finite = np.nan_to_num(samples[left_out:], posinf=1.0, neginf=-1.0)
        if not self.error:
            self._guarded(self._write, to_pcm16(finite).tobytes())
        return len(samples)

    def stop(self) -> bool:
        if not self.error:
            self._guarded(self._flush)
        return True

    def _guarded(self, step: object, *arguments: bytes) -> None:
        try:
            step(*arguments)
        except OSError as error:
            self.error = f"{self._path} cannot be written: {error.strerror}"

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._data_bytes += len(data)
        if self._data_bytes - self._flushed_bytes >= SAMPLE_BYTES * FLUSH_SAMPLES:
            self._flush()

    def _flush(self) -> None:
        """Samples first: a header never counts what is not there."""
        self._file.flush()
        self._flushed_bytes = self._data_bytes
        if self._corrected:
            self._file.seek(0)
            self._file.write(wav_header(self._data_bytes))
            self._file.seek(0, 2)
            self._file.flush()

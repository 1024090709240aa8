# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech to a file as it comes: an hour takes no memory, and a kill leaves what was heard."""

import io
import threading
import wave
from collections.abc import Callable

import numpy as np
from gnuradio import gr

from ..speech.files import AudioError, to_pcm16
from ..speech.format import SAMPLE_RATE_HZ
from .output import Output

# What a kill loses at most.
FLUSH_SAMPLES = SAMPLE_RATE_HZ // 2
SAMPLE_BYTES = 2
HEADER_BYTES = 44
# The header counts to 2^32: a longer file keeps the largest count that it can hold, 24.8 hours.
MOST_BYTES = 0xFFFFFFFE - HEADER_BYTES


def wav_header(data_bytes: int) -> bytes:
    """Header of a WAV file, 16 bit, mono, 24 kHz, with so many bytes behind it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        frames = min(data_bytes, MOST_BYTES) // SAMPLE_BYTES
        out.setparams((1, SAMPLE_BYTES, SAMPLE_RATE_HZ, frames, "NONE", ""))
        # It writes the header before the first sample, and another behind the last.
        out.writeframesraw(b"")
        return file.getvalue()


class speech_writer(gr.sync_block):  # noqa: N801
    """16-bit WAV, or raw PCM, at 24 kHz. The header is right after each half second.

    Neither `soundfile` nor the in-tree `wavfile_sink` writes a header before the end, and `wave`
    wants to go back to it on a pipe.

    Input: float stream, 24 kHz.

    Args:
        target: path of a file; or a descriptor, where a WAV header is not corrected and says
            24 hours.
        raw: without header.
        skip_samples: left out at the begin.
        most_samples: as many as are written at most, asked anew each time; None: all.

    Raises:
        AudioError: the file cannot be written.

    Attributes:
        error: what went wrong while writing, empty while nothing has; nothing is written then.
        samples: written so far.
        output: of the descriptor; None where it is a file.
    """

    def __init__(
        self,
        *,
        target: str | int,
        raw: bool = False,
        skip_samples: int = 0,
        most_samples: Callable[[], int] | None = None,
    ) -> None:
        gr.sync_block.__init__(self, "speech_writer", [np.float32], None)
        self.error, self.samples = "", 0
        self._skip, self._most_samples = skip_samples, most_samples
        self._flushed_samples, self._done = 0, threading.Event()
        self._name = "stdout" if isinstance(target, int) else target
        self.output = Output(target) if isinstance(target, int) else None
        self._corrected = False
        try:
            if self.output is None:
                self._file = open(target, "wb")  # noqa: SIM115
                self._corrected = not raw and self._file.seekable()
            if not raw:
                self._put(wav_header(0 if self._corrected else MOST_BYTES))
        except OSError as error:
            raise AudioError(f"{target} cannot be written: {error.strerror}") from error
        if self.error:
            raise AudioError(self.error)

    def work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        left_out = min(self._skip, len(samples))
        self._skip -= left_out
        kept = samples[left_out:]
        if self._most_samples is not None:
            kept = kept[: max(0, self._most_samples() - self.samples)]
        if len(kept) and not self.over():
            finite = np.nan_to_num(kept, posinf=1.0, neginf=-1.0)
            self._guarded(self._write, to_pcm16(finite).tobytes())
        return len(samples)

    def stop(self) -> bool:
        if not self.error:
            self._guarded(self._flush)
        self._done.set()
        return True

    def over(self) -> bool:
        """Whether nothing is written any more: an error, or nobody reads."""
        return bool(self.error) or (self.output is not None and self.output.over())

    def ended(self) -> bool:
        """Whether the last sample is written, or none can be any more."""
        return self._done.is_set() or self.over()

    def abandon(self) -> None:
        """Waits no longer for whoever reads."""
        if self.output is not None:
            self.output.abandon()

    def _guarded(self, step: Callable, *arguments: bytes) -> None:
        try:
            step(*arguments)
        except OSError as error:
            self.error = f"{self._name} cannot be written: {error.strerror}"

    def _put(self, data: bytes) -> None:
        if self.output is None:
            self._file.write(data)
        else:
            self.output.write(data)
            self.error = self.output.error

    def _write(self, data: bytes) -> None:
        self._put(data)
        self.samples += len(data) // SAMPLE_BYTES
        if self.samples - self._flushed_samples >= FLUSH_SAMPLES:
            self._flush()

    def _flush(self) -> None:
        """Samples first: a header never counts what is not there."""
        if self.output is not None:
            return
        self._file.flush()
        self._flushed_samples = self.samples
        if self._corrected:
            self._file.seek(0)
            self._file.write(wav_header(SAMPLE_BYTES * self.samples))
            self._file.seek(0, 2)
            self._file.flush()

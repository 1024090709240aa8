# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a call's speech goes: a file, RTP, or several of them."""

import logging
import threading
import time
import wave
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..speech.files import to_pcm16
from ..speech.format import SAMPLE_RATE_HZ

# Frames that wait for whoever is slow, 2 s: older ones are dropped.
MOST_WAITING = 25
# One that failed is opened again after so long.
AGAIN_S = 1.0
# Of a file, 12 hours; a WAV header counts to 4 GiB.
MOST_FILE_SAMPLES = 12 * 3600 * SAMPLE_RATE_HZ
log = logging.getLogger(__name__)


class Output(Protocol):
    """Takes the speech of one call, 80 ms at a time."""

    def write(self, samples: np.ndarray) -> None:
        """The next 80 ms, float32 ``[1920]`` at 24 kHz."""

    def close(self) -> None:
        """Ends the output, since the call is over."""


class WavOutput:
    """WAV files of 16 bit, a new one each 12 hours; a kill leaves what was written up to then.

    Args:
        path: of the next file, each time that one is opened.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        self._raw = self._path().open("wb", buffering=0)
        self._file = wave.open(self._raw, "wb")
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(SAMPLE_RATE_HZ)

    def write(self, samples: np.ndarray) -> None:
        if self._file.tell() >= MOST_FILE_SAMPLES:
            self.close()
            self._open()
        self._file.writeframes(to_pcm16(samples).tobytes())

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class QueuedOutput:
    """An output in a thread of its own, so that a slow one holds up nobody.

    One that fails is opened again a second later.

    Args:
        name: of the call, for messages.
        make: opens the output, in that thread.

    Attributes:
        counters: frames ``written``; ``dropped`` since the output was slow or had failed;
            ``errors``.
    """

    def __init__(self, name: str, make: Callable[[], Output]) -> None:
        self.counters = {"written": 0, "dropped": 0, "errors": 0}
        self._name, self._make = name, make
        self._waiting: deque[np.ndarray] = deque()
        self._changed, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)
        self._thread.start()

    def write(self, samples: np.ndarray) -> None:
        """Never waits; the oldest frames are dropped where too many do."""
        with self._changed:
            self._waiting.append(samples)
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.counters["dropped"] += 1
            self._changed.notify()

    def close(self) -> None:
        """Returns at once; what waits is still written."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    @property
    def closed(self) -> bool:
        """Tells whether nothing more is written: all is, or it failed as the call ended."""
        return not self._thread.is_alive()

    def join(self, until_s: float) -> None:
        """Waits until all is written, to ``until_s`` of ``time.monotonic`` at most."""
        self._thread.join(timeout=max(0.0, until_s - time.monotonic()))

    def _run(self) -> None:
        while True:
            try:
                self._write_all()
                return
            except Exception as error:
                # The call goes on for its other outputs, and for this one as soon as it can.
                self.counters["errors"] += 1
                if self.counters["errors"] == 1:
                    log.error("speech of call %s is lost for now: %s", self._name, error)
            if self._over_after(AGAIN_S):
                return

    def _write_all(self) -> None:
        output = self._make()
        try:
            while (samples := self._next()) is not None:
                output.write(samples)
                self.counters["written"] += 1
        finally:
            output.close()

    def _next(self) -> np.ndarray | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _over_after(self, seconds: float) -> bool:
        """Waits, and drops what came meanwhile; whether the call ended in that time."""
        with self._changed:
            over = self._changed.wait_for(lambda: self._closing, seconds)
            self.counters["dropped"] += len(self._waiting)
            self._waiting.clear()
            return over


class CallOutput:
    """All outputs of a call.

    Args:
        files: get what the call says.
        streams: get what its listener hears: in a conference that is what the others say.
    """

    def __init__(self, files: Sequence[QueuedOutput], streams: Sequence[QueuedOutput]) -> None:
        self.files, self.streams = files, streams

    def write(self, said: np.ndarray, heard: np.ndarray) -> None:
        """The next 80 ms, each float32 ``[1920]``."""
        for output in self.files:
            output.write(said)
        for output in self.streams:
            output.write(heard)

    def close(self) -> None:
        """Closes all outputs, since the call is over."""
        for output in (*self.files, *self.streams):
            output.close()

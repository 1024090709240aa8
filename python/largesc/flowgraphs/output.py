# SPDX-License-Identifier: GPL-3.0-or-later
"""A descriptor that others read: a pipe may be full, closed, or read by nobody."""

import os
import select
import threading
import time

POLL_MS = 100
# A pipe that has room takes so much at once (POSIX: PIPE_BUF).
PIECE_BYTES = 4096


class Output:
    """Writes to a descriptor without a buffer, and without hanging in it.

    Args:
        descriptor: stays open.
        name: for messages.

    Attributes:
        error: why nothing can be written any more; empty while something can.
        broken: whoever read has gone, which is no error.
        waits_since: by the monotonic clock, from when on a write has waited for its reader; 0: none
            does.
    """

    def __init__(self, descriptor: int, name: str = "stdout") -> None:
        self.error, self.broken = "", False
        self.waits_since = 0.0
        self._descriptor, self._name = descriptor, name
        self._abandoned = threading.Event()

    def over(self) -> bool:
        """Whether nothing is written any more."""
        return bool(self.error) or self.broken or self._abandoned.is_set()

    def abandon(self) -> None:
        """A write that waits for its reader returns; from any thread."""
        self._abandoned.set()

    def write(self, data: bytes) -> None:
        """Writes all of it, or notes why not."""
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        rest = memoryview(data)
        try:
            while rest and not self.over():
                if ready.poll(POLL_MS):
                    self.waits_since = 0.0
                    rest = rest[self._write_some(rest[:PIECE_BYTES]) :]
                elif not self.waits_since:
                    self.waits_since = time.monotonic()
        except BrokenPipeError:
            self.broken = True
        except OSError as error:
            self.error = f"{self._name} cannot be written: {error.strerror}"

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Another program that has it made it so.
            self._abandoned.wait(POLL_MS / 1000)
            return 0

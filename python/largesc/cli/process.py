# SPDX-License-Identifier: GPL-3.0-or-later
"""What the process of a command has: its descriptors, a home, and the signals that end it.

Only the standard library is needed, so that `largesc doctor` runs where all else is missing.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

STREAMS = ("stdin", "stdout", "stderr")
STDIN, STDOUT, STDERR = range(3)
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `timeout` sends its signal twice within this; later, somebody is impatient.
PATIENCE_S = 1.0


def fill_descriptors() -> None:
    """Puts the null device where stdin, stdout or stderr is closed.

    Else the next file that is opened takes the number, and what is printed goes into it.
    `sys.stdin` and `sys.stdout` stay None, by which a command knows.
    """
    for number, name in enumerate(STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, None)
    if sys.stderr is None:
        # print() writes to stdout where there is no stderr.
        sys.stderr = open(STDERR, "w", closefd=False)  # noqa: SIM115


def stdin_for_data() -> int:
    """The descriptor of stdin.

    Raises:
        ValueError: it was closed when the command started.
    """
    if sys.stdin is None:
        raise ValueError("stdin is closed: give a file or an address, or pipe something in")
    return STDIN


@contextlib.contextmanager
def stdout_for_data() -> Iterator[int]:
    """A descriptor of stdout for data alone: what else is printed there goes to stderr.

    Raises:
        ValueError: it was closed when the command started.
    """
    if sys.stdout is None:
        raise ValueError("stdout is closed: give a file or an address, or pipe it somewhere")
    sys.stdout.flush()
    data = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        yield data
    finally:
        sys.stdout.flush()
        # What C has printed, as the log of GNU Radio, is still in its buffer.
        ctypes.CDLL(None).fflush(None)
        os.dup2(data, STDOUT)
        os.close(data)


def home_error() -> str:
    """Why GNU Radio cannot keep its preferences in the home folder; empty where it can."""
    home = os.environ.get("HOME")
    if not home:
        return ""
    try:
        for folder in (".gnuradio", ".gnuradio/prefs"):
            (Path(home) / folder).mkdir(exist_ok=True)
    except OSError as error:
        return f"{home}/.gnuradio cannot be made: {error.strerror}"
    return ""


@contextlib.contextmanager
def usable_home() -> Iterator[None]:
    """Gives GNU Radio a temporary home where the user's cannot be written, as that of a service.

    Without one, it ends the first flowgraph with an exception.
    """
    if not home_error():
        yield
        return
    home = os.environ["HOME"]
    folder = tempfile.mkdtemp(prefix="largesc-home-")
    # Models that were fetched before are still found.
    os.environ.setdefault("HF_HOME", f"{home}/.cache/huggingface")
    os.environ["HOME"] = folder
    try:
        yield
    finally:
        os.environ["HOME"] = home
        shutil.rmtree(folder, ignore_errors=True)


class Ending:
    """SIGINT and SIGTERM as a wish that the command ends, also where the first was ignored.

    A shell lets what it starts in the background ignore SIGINT.

    Attributes:
        signal: that has come, 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._since, self._awaited, self._process = 0.0, False, os.getpid()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes both signals; the first raises KeyboardInterrupt, a later one ends the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.signal, self._process = 0, os.getpid()
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """The first signal is only noted: whoever runs a flowgraph looks at ``signal``."""
        self._awaited = True
        try:
            yield
        finally:
            self._awaited = False

    def _on_signal(self, number: int, frame: object) -> None:
        if os.getpid() != self._process and number != signal.SIGINT:
            # A process of a study, which was started with this handler.
            self._die(number)
        if self.signal and time.monotonic() - self._since > PATIENCE_S:
            self._die(number)
        if not self.signal:
            self.signal, self._since = number, time.monotonic()
            if not self._awaited:
                raise KeyboardInterrupt

    @staticmethod
    def _die(number: int) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def status(self) -> int:
        """Exit status of a command that a signal has ended, as a shell gives it."""
        return 128 + (self.signal or signal.SIGINT)


ending = Ending()

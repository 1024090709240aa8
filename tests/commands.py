# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `largesc` and other programs in processes of their own that need not load everything anew.

A server has imported what they need; each is a fork of it.
"""

import ctypes
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from helpers import wait_until

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "gnuradio.largesc.cli.link",
        "gnuradio.largesc.cli.main",
        "gnuradio.largesc.blocks.speech_tx",
        "gnuradio.largesc.blocks.speech_rx",
        "gnuradio.largesc.cli.arguments",
        "moshi.models",
        "safetensors.torch",
    ]
)
# On a machine that has other things to do.
TIMEOUT_S = 120.0
CLOSED = ""
CLONE_NEWNET = 0x40000000


def enter_network(host: str) -> None:
    """Moves the calling thread, and what it starts, into a network namespace, as `ip netns exec`.

    Raises:
        OSError: it may not.
    """
    with open(f"/run/netns/{host}") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"network namespace {host}")


def set_environment(**values: str | None) -> None:
    """Sets variables, and takes away those that are None."""
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def ignore_interrupts() -> None:
    """As a shell does with what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main_of(module: str, arguments: list[str], folder: str | None = None) -> int:
    """Calls ``main`` of a module, which may lie in a folder of its own, as a script does."""
    if folder is not None:
        sys.path.insert(0, folder)
    return importlib.import_module(module).main(arguments)


def _command(
    main: Callable, arguments: list[str], files: tuple, prepare: Callable | None, folder: str
) -> None:
    """Becomes the command: what a shell does, and then ``main``."""
    os.chdir(folder)
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, (name, path, mode) in enumerate(
        zip(("stdin", "stdout", "stderr"), files, modes, strict=True)
    ):
        if path == CLOSED:
            os.close(number)
            setattr(sys, name, None)
            continue
        descriptor = os.open(path, mode)
        os.dup2(descriptor, number)
        os.close(descriptor)
        # As in any program, stderr is written line by line.
        mode, buffering = "w" if number else "r", 1 if name == "stderr" else -1
        setattr(sys, name, open(number, mode, buffering, closefd=False))  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Tests that run under nohup start their programs as from a terminal.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if prepare is not None:
        prepare()
    try:
        status = main(arguments)
    except SystemExit as error:
        status = error.code
    # As at the end of a program, but for multiprocessing's own.
    if sys.stdout is not None:
        sys.stdout.flush()
    os._exit(status or 0)


class Command:
    """A running `largesc`, or another ``main``.

    Args:
        folder: for its files; what it says is in ``stderr`` there.
        arguments: of the command.
        stdin, stdout, stderr: paths; empty where the descriptor is closed.
        prepare: called in the process before the command.
        main: of the program, which gets the arguments and returns the exit status.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        stdin: str = "/dev/null",
        stdout: str | None = None,
        stderr: str | None = None,
        prepare: Callable | None = None,
        main: Callable[[list[str]], int] = partial(main_of, "gnuradio.largesc.cli.main"),  # noqa: B008
    ) -> None:
        number = len(list(folder.glob("*.stderr")))
        self.stdout = str(folder / f"{number}.stdout") if stdout is None else stdout
        self.stderr = str(folder / f"{number}.stderr") if stderr is None else stderr
        (folder / f"{number}.stderr").touch()
        files = (stdin, self.stdout, self.stderr)
        self.process = CONTEXT.Process(
            target=_command, args=(main, list(arguments), files, prepare, str(folder)), daemon=True
        )
        self.process.start()

    def wait(self) -> int:
        """Its exit status; -n where signal n killed it."""
        self.process.join(TIMEOUT_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"it does not end: {self.said()}")
        assert "Traceback" not in self.said() and "terminate called" not in self.said(), self.said()
        return self.process.exitcode

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def said(self) -> str:
        """What it has said so far."""
        path = Path(self.stderr)
        return path.read_text(errors="replace") if self.stderr and path.is_file() else ""

    def hears(self, words: str) -> None:
        """Waits until it has said this."""
        end = time.monotonic() + TIMEOUT_S
        while words not in self.said():
            assert time.monotonic() < end and self.process.is_alive(), self.said()
            time.sleep(0.02)

    def writes(self, path: Path) -> None:
        """Waits until it has written a file."""

        def written() -> bool:
            alive = self.process.is_alive()
            assert path.exists() or alive, f"it ended without {path.name}: {self.said()}"
            return path.exists()

        wait_until(written)

    def facts(self, path: Path | None = None) -> dict:
        """Its statistics: from stdout, or a file."""
        return json.loads(Path(path or self.stdout).read_text())

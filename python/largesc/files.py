# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are there as a whole or not at all, and folders that can be written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to be written, which then takes its place in one step.

    Raises:
        OSError: it could not be written, as on a full disk; ``path`` is as it was before.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # torch reports a full disk as a RuntimeError.
        if not isinstance(error, OSError | RuntimeError):
            raise
        raise OSError(
            f"{path} could not be written ({error}), what was there before is untouched: make "
            "room and run it again"
        ) from error


def writable_file(path: Path, name: str = "") -> Path:
    """Looks whether a file can be written there, before the work that fills it.

    Args:
        path: of the file.
        name: for the message; empty: the path.

    Raises:
        ValueError: it is a folder, or cannot be written.
    """
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"{name or path} cannot be written: use a folder that is there")
    return path


def writable_folder(path: Path) -> Path:
    """Makes a folder where there is none, and writes to it, before the work that fills it.

    Raises:
        ValueError: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(
            f"the folder {path} cannot be written ({error.strerror}): give another"
        ) from error
    return path

# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are there as a whole or not at all."""

import os
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

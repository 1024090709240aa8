# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command says to its user."""

import contextlib
import sys


def say(text: str) -> None:
    """One line to the user, apart from the data on stdout."""
    # Whoever closed stderr does not want to hear it.
    with contextlib.suppress(OSError):
        print(f"largesc: {text}", file=sys.stderr, flush=True)

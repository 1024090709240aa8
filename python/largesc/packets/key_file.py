# SPDX-License-Identifier: GPL-3.0-or-later
"""The key that sender and receiver share, from a file."""

import stat
from pathlib import Path

KEY_BYTES = 32
HOW_TO_MAKE = "(umask 077; openssl rand -hex 32 > FILE) makes one"


def read_key(path: str | Path) -> bytes:
    """Key of 32 bytes from a file that holds them as they are, or as 64 hex digits.

    Raises:
        ValueError: the file is not there, can be read or changed by others than its owner, or is
            no such key.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(f"key {str(path)!r} is not a file: {HOW_TO_MAKE}")
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(
                f"key {str(path)!r} is open to others (mode {stat.S_IMODE(mode):03o}): "
                f"chmod 600 {path}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"key {str(path)!r} cannot be read ({error.strerror}): {HOW_TO_MAKE}"
        ) from None
    if len(data) == KEY_BYTES:
        return data
    try:
        key = bytes.fromhex(data.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"key {str(path)!r} has {len(data)} bytes: use 32 bytes or 64 hex digits; {HOW_TO_MAKE}"
        )
    return key

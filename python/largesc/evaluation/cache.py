# SPDX-License-Identifier: GPL-3.0-or-later
"""Results that a run need not make again, whenever the one before it was killed."""

import hashlib
import json
from pathlib import Path

from ..files import replacing


def key_of(*parts: object) -> str:
    """The same for parts of the same ``repr``, and fit for the name of a file."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


class Cache:
    """A folder with a file of JSON for each result.

    A file is there as a whole or not at all; one that cannot be read, as after a power cut, counts
    as missing.

    Args:
        folder: made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, object] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        """Returns the path of the file that holds a result."""
        return self.folder / f"{key}.json"

    def __contains__(self, key: str) -> bool:
        if key not in self._known:
            try:
                self._known[key] = json.loads(self.path(key).read_bytes())
            except (OSError, ValueError):
                return False
        return True

    def __getitem__(self, key: str) -> object:
        if key not in self:
            raise KeyError(f"{self.path(key)} is missing or cannot be read")
        return self._known[key]

    def missing(self, keys: list[str]) -> list[str]:
        """Those that are not there, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self]

    def add(self, key: str, value: object) -> None:
        """Writes one result.

        Raises:
            OSError: it could not be written.
        """
        with replacing(self.path(key)) as partial:
            partial.write_text(json.dumps(value))
        self._known[key] = value

# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may call: a key a sender."""

import logging
from pathlib import Path

from ..packets.key_file import read_key
from ..packets.signature import PacketSigner, PacketVerifier

SUFFIX = ".key"
# Signatures that are computed between two ticks for addresses that are not known, 10 ms.
MOST_TRIES = 500
log = logging.getLogger(__name__)


class KeyRing:
    """Keys of all senders, and what each of them has sent.

    Args:
        folder: with a file ``NAME.key`` for each sender, as for `largesc tx --key`.

    Raises:
        ValueError: there is no key, or one cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, bytes] = {}
        self._verifiers: dict[str, PacketVerifier] = {}
        self._signers: dict[str, PacketSigner] = {}
        self._tries_left = MOST_TRIES
        self._put(self._found())

    def _found(self) -> dict[str, bytes]:
        files = sorted(self._folder.glob("*" + SUFFIX)) if self._folder.is_dir() else []
        if not files:
            raise ValueError(
                f"{self._folder} has no keys: put a file NAME{SUFFIX} there for each sender, made "
                "with `(umask 077; openssl rand -hex 32 > NAME.key)`"
            )
        keys = {path.name.removesuffix(SUFFIX): read_key(str(path)) for path in files}
        if len(set(keys.values())) < len(keys):
            raise ValueError(
                f"two files of {self._folder} have the same key, and would be taken for replays of "
                "each other: give each sender its own"
            )
        return keys

    def _put(self, keys: dict[str, bytes]) -> None:
        for name in self._keys.keys() | keys.keys():
            if self._keys.get(name) == keys.get(name):
                continue
            self._verifiers.pop(name, None)
            self._signers.pop(name, None)
            if name in keys:
                self._verifiers[name] = PacketVerifier(keys[name])
                self._signers[name] = PacketSigner(keys[name], direction="back")
        self._keys = keys

    @property
    def names(self) -> list[str]:
        """Of all senders."""
        return list(self._keys)

    def read_again(self) -> bool:
        """Takes keys that were added, and forgets those that are gone.

        Returns:
            False where that cannot be done: then all stays as it is, and the log says why.
        """
        try:
            self._put(self._found())
        except (ValueError, OSError) as error:
            log.error("the keys stay as they are: %s", error)
            return False
        return True

    def next_tick(self) -> None:
        """Begins a new budget for addresses that are not known."""
        self._tries_left = MOST_TRIES

    def accept(self, data: bytes, name: str | None = None) -> tuple[str, bytes] | None:
        """Who signed these bytes, and the packet.

        None where nobody here has, where it came before, or where too many strangers came since
        the last tick: their search must not take the time of those who are known.

        Args:
            data: a datagram.
            name: who is tried first: the sender that this address had.
        """
        if name in self._verifiers:
            fits, packet = self._tried(name, data)
            if fits:
                return None if packet is None else (name, packet)
        for candidate in self._verifiers:
            if candidate == name:
                continue
            if not self._tries_left:
                return None
            self._tries_left -= 1
            fits, packet = self._tried(candidate, data)
            if fits:
                return None if packet is None else (candidate, packet)
        return None

    def _tried(self, name: str, data: bytes) -> tuple[bool, bytes | None]:
        """Whether this sender signed it, and the packet unless it came before."""
        verifier = self._verifiers[name]
        wrong = verifier.counters["refused_tag"] + verifier.counters["refused_short"]
        packet = verifier.verify(data)
        now = verifier.counters["refused_tag"] + verifier.counters["refused_short"]
        return now == wrong, packet

    def signed(self, name: str, packet: bytes) -> bytes:
        """A packet for the way back; as it is for a sender whose key is gone."""
        signer = self._signers.get(name)
        return packet if signer is None else signer.sign(packet)

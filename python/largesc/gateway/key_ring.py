# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys tell who may call: each sender has its own."""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ..packets.key_file import read_key
from ..packets.signature import PacketSigner, PacketVerifier, is_recent

SUFFIX = ".key"
# Keys that are tried between two ticks for addresses that are not known, 10 ms. Of them for packets
# from hosts that are, and for those whose counter is far from the clock, as most garbage has it.
MOST_TRIES, MOST_HOST_TRIES, MOST_FAR_TRIES = 500, 100, 100
# Why a packet may be another sender's.
FOREIGN = ("refused_tag", "refused_short")
# Of the packets of a key so many, and so great a share of those accepted, before the log tells that
# they came before: networks double some as well.
LEAST_REPEATED, LEAST_SHARE = 20, 0.1
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
        # Whose turn it is: a flood must not keep the last ones from being tried.
        self._turns: deque[str] = deque()
        self._named: set[str] = set()
        self.next_tick()
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
            self._named.discard(name)
            if name in keys:
                self._verifiers[name] = PacketVerifier(keys[name])
                self._signers[name] = PacketSigner(keys[name], direction="back")
        self._keys, self._turns = keys, deque(keys)

    @property
    def names(self) -> list[str]:
        """Returns the names of all senders that have a key."""
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
        self._left = {
            "host": MOST_HOST_TRIES,
            "far": MOST_FAR_TRIES,
            "recent": MOST_TRIES - MOST_HOST_TRIES - MOST_FAR_TRIES,
        }

    def accept(
        self, data: bytes, name: str | None = None, likely: str | None = None
    ) -> tuple[str, bytes] | None:
        """Who signed these bytes, and the packet.

        None where nobody here has, where it came before, or where too many strangers came since
        the last tick: their search must not take the time of those who are known.

        Args:
            data: a datagram.
            name: who is tried first, beyond the budget: the sender that this address had.
            likely: who is tried next: the sender that this host had.
        """
        for candidate in self._candidates(data, name, likely):
            fits, packet = self._tried(candidate, data)
            if fits and packet is None:
                self._judge(candidate)
                return None
            if fits:
                return candidate, packet
        return None

    def _judge(self, name: str) -> None:
        """Tells once of a key that many of its packets are not taken, and why."""
        counts = self._verifiers[name].counters
        repeated = counts["refused_replay"] + counts["refused_old"]
        if repeated < max(LEAST_REPEATED, LEAST_SHARE * counts["accepted"]) or name in self._named:
            return
        self._named.add(name)
        log.warning(
            "%d packets under the key %s came before or are old, and are refused: two senders have "
            "it, whose counters collide whatever their call numbers, or somebody plays a recording",
            repeated,
            name,
        )

    def _candidates(self, data: bytes, name: str | None, likely: str | None) -> Iterator[str]:
        """Whose key is tried, in order, as far as the budget goes."""
        tried = set()
        if name in self._verifiers:
            tried.add(name)
            yield name
        if likely in self._verifiers and likely not in tried and self._left["host"]:
            self._left["host"] -= 1
            tried.add(likely)
            yield likely
        budget = "recent" if is_recent(data) else "far"
        for _ in range(min(len(self._turns), self._left[budget])):
            candidate = self._turns[0]
            self._turns.rotate(-1)
            if candidate not in tried:
                self._left[budget] -= 1
                yield candidate

    def _tried(self, name: str, data: bytes) -> tuple[bool, bytes | None]:
        """Whether this sender signed it, and the packet unless it came before."""
        verifier = self._verifiers[name]
        packet = verifier.verify(data)
        return packet is not None or verifier.last_refusal not in FOREIGN, packet

    def signed(self, name: str, packet: bytes) -> bytes:
        """A packet for the way back; as it is for a sender whose key is gone."""
        signer = self._signers.get(name)
        return packet if signer is None else signer.sign(packet)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what a hostile flood costs the calls of a gateway.

    largesc study gateway_flood --output FOLDER

Some calls go on while as many datagrams of strangers come as the socket passes on between two
ticks: garbage of 1,000 senders; packets that are right but for their sender, each from a new
address; each packet of the calls once more, from their address and another one; and a caller that
has another address each second. Without keys and with 200. Writes ``gateway_flood.csv``, a row
each: processor time of a tick, with all that came before it, and what the calls lost.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .._core import PacketDecision, Packetizer
from ..gateway.gateway import Gateway
from ..gateway.inbox import MOST_OF_STRANGERS
from ..gateway.key_ring import KeyRing
from ..gateway.memory import resident_mib
from ..options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from ..packets.signature import PacketSigner
from ..speech.format import FRAME_MS
from .study import add_common, at_least_one, save_rows

LOADS = ("nothing", "garbage", "right packets", "replays", "a moving caller", "all")
SENDERS, KEYS = 1000, 200
WARM_UP_TICKS = 25
TICKS_A_SECOND = 1000 / FRAME_MS
GARBAGE_BYTES = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--calls", type=at_least_one, default=8, help="that go on [%(default)s]")
    parser.add_argument("--seconds", type=at_least_one, default=20, help="a row [%(default)s]")


class Nowhere:
    """Takes the speech of a call and throws it away."""

    def write(self, said: np.ndarray, heard: np.ndarray) -> None:
        """Throws away 80 ms of speech, as an output of a call."""

    def close(self) -> None:
        """Does nothing, since nothing is open."""


class Caller:
    """Makes packets of random tokens.

    Args:
        sign: what is done with each; its bytes as they are without keys.
        crc: they have one.
        rng: of the tokens.
    """

    def __init__(self, sign: Callable[[bytes], bytes], crc: bool, rng: np.random.Generator) -> None:
        self._packetizer, self._sign, self._rng = Packetizer(crc=crc), sign, rng

    def packets(self) -> list[bytes]:
        """Returns the packets of the next 80 ms."""
        tokens = self._rng.integers(0, 2048, 8).tolist()
        return [self._sign(p) for p in self._packetizer.push(tokens, PacketDecision())]


class Flood:
    """What comes beside the calls.

    Args:
        load: of :data:`LOADS`.
        keys: the calls are signed.
        moving: a caller.
        rng: of addresses and bytes.
    """

    def __init__(self, load: str, keys: bool, moving: Caller, rng: np.random.Generator) -> None:
        self._load, self._moving, self._rng = load, moving, rng
        self._key = os.urandom(32) if keys else b""
        (self._right,) = Caller(bytes, not keys, rng).packets()

    def strangers(self, tick: int) -> Iterator[tuple[bytes, tuple]]:
        """Yields datagrams and addresses of strangers in 80 ms."""
        every = self._load == "all"
        strangers = MOST_OF_STRANGERS // (2 if every else 1)
        if self._load == "garbage" or every:
            for n in self._rng.integers(0, SENDERS, strangers):
                yield self._rng.bytes(GARBAGE_BYTES), ("10.1.0.1", int(n))
        if self._load == "right packets" or every:
            # Under a key that nobody has; a new signer each time, since counters run ahead.
            sign = PacketSigner(self._key).sign if self._key else bytes
            for n in range(strangers):
                yield sign(self._right), ("10.1.0.2", tick * strangers + n)
        if self._load == "a moving caller" or every:
            for packet in self._moving.packets():
                yield packet, ("10.1.0.4", 1000 + int(tick / TICKS_A_SECOND))

    def replays(self, calls: list[tuple[bytes, tuple]]) -> Iterator[tuple[bytes, tuple]]:
        """Packets of ``calls`` once more, from their addresses and from others."""
        if self._load in ("replays", "all"):
            for data, (host, port) in calls:
                yield data, (host, port)
                yield data, ("10.1.0.3", port)


def key_folder(parent: Path) -> Path:
    """Writes random keys to files of ``parent``, and returns it."""
    for n in range(KEYS):
        path = parent / f"{n}.key"
        path.write_bytes(os.urandom(32))
        path.chmod(0o600)
    return parent


def measured(load: str, ring: KeyRing | None, folder: Path, args: argparse.Namespace) -> dict:
    """Runs calls under one load, and returns a row of the table."""
    rng = np.random.default_rng(args.seed)
    gateway = Gateway(
        # The moving caller has a place as well; where there are no keys others may take it.
        GatewayOptions(calls=args.calls + 1),
        LinkOptions(key="keys" if ring else ""),
        ReceiverOptions(),
        ReportOptions(),
        lambda name: Nowhere(),
        ring,
    )
    signs = [bytes] * (args.calls + 1)
    if ring is not None:
        files = [folder / f"{n}.key" for n in range(len(signs))]
        signs = [PacketSigner(path.read_bytes()).sign for path in files]
    *callers, moving = (Caller(sign, ring is None, rng) for sign in signs)
    flood = Flood(load, ring is not None, moving, rng)
    now_ns, took_ms, peers = 10**12, [], [("10.0.0.1", 1 + n) for n in range(args.calls)]
    ticks = WARM_UP_TICKS + int(args.seconds * TICKS_A_SECOND)
    before_mib = resident_mib()
    for tick in range(ticks):
        mine = [(p, who) for c, who in zip(callers, peers, strict=True) for p in c.packets()]
        # The calls come behind the strangers: whatever these use up, they have.
        arrived = mine
        if tick == WARM_UP_TICKS:
            before_mib = resident_mib()
        if tick >= WARM_UP_TICKS:
            arrived = [*flood.strangers(tick), *mine, *flood.replays(mine)]
        begin = time.process_time()
        for data, peer in arrived:
            gateway.take(data, peer, now_ns)
        now_ns += FRAME_MS * 1_000_000
        gateway.tick(now_ns)
        took_ms.append(1e3 * (time.process_time() - begin))
    real = [call for call in gateway.calls.values() if call.peer in peers]
    p50, p95 = np.percentile(took_ms[WARM_UP_TICKS:], (50, 95))
    return {
        "keys": KEYS if ring else 0,
        "load": load,
        "calls": len(real),
        "packets_lost": sum(call.statistics()["packets_lost"] for call in real),
        "tick_ms_p50": round(p50, 2),
        "tick_ms_p95": round(p95, 2),
        "datagrams": gateway.counters["packets"],
        "refused": gateway.counters["refused_packets"] + gateway.counters["refused_signature"],
        "memory_mib_more": round(resident_mib() - before_mib, 1),
    }


def study(args: argparse.Namespace) -> int:
    """Runs it; status 1 where a call ended or lost a packet."""
    import torch

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as parent:
        folder = key_folder(Path(parent))
        for signed in (False, True):
            for load in LOADS:
                rows.append(measured(load, KeyRing(folder) if signed else None, folder, args))
                print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    save_rows(args, "gateway_flood", rows)
    return int(any(row["packets_lost"] or row["calls"] < args.calls for row in rows))

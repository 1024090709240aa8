# SPDX-License-Identifier: GPL-3.0-or-later
"""What the depacketizers of a gateway cost of its tick: the most that N at a time could save.

Usage: depacketizers.py [CSV]

A fifth of the packets is lost. Each method of each depacketizer is timed where Python calls it, the
way into C++ and back included, and so is the whole tick with its packets: processor time, ms.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from gnuradio.largesc._core import Depacketizer, PacketDecision, Packetizer
from gnuradio.largesc.cli.audio import RECORDINGS
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.codec.speech_encoder import SpeechEncoder
from gnuradio.largesc.gateway import call
from gnuradio.largesc.gateway.gateway import Gateway
from gnuradio.largesc.options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from gnuradio.largesc.speech.files import read_audio
from gnuradio.largesc.tables import write_csv

CALLS, WARM_UP, TICKS, LOST = (4, 16, 64), 10, 100, 0.2
TICK_NS = 80_000_000
spent = 0.0


class Timed:
    """A depacketizer that adds up the time of all that is asked of it."""

    def __init__(self, **options: object) -> None:
        self._mine = Depacketizer(**options)

    def __getattr__(self, name: str) -> object:
        began = time.process_time_ns()
        found = getattr(self._mine, name)
        if not callable(found):
            count(began)
            return found
        return lambda *given: counted(found, given)


def count(began_ns: int) -> None:
    """Adds what has passed since."""
    global spent
    spent += (time.process_time_ns() - began_ns) / 1e6


def counted(method: object, given: tuple) -> object:
    """What the method gives."""
    began = time.process_time_ns()
    try:
        return method(*given)
    finally:
        count(began)


class Nowhere:
    """An output that keeps nothing."""

    def write(self, *_: object) -> None:
        """Takes a frame."""

    close = write


def measured(calls: int, tokens: list[list[int]]) -> dict:
    """A row of so many calls."""
    global spent
    gateway = Gateway(
        GatewayOptions(calls=calls), LinkOptions(), ReceiverOptions(), ReportOptions(),
        lambda name: Nowhere(),
    )  # fmt: skip
    senders, rng, now_ns = [Packetizer(crc=True) for _ in range(calls)], np.random.default_rng(1), 0
    times, mine = [], []
    for tick in range(WARM_UP + TICKS):
        packets = [
            (packet, ("127.0.0.1", 5000 + n))
            for n, sender in enumerate(senders)
            for packet in sender.push(tokens[(tick + 7 * n) % len(tokens)], PacketDecision())
            if rng.random() > LOST
        ]
        spent, began = 0.0, time.process_time_ns()
        for packet, peer in packets:
            gateway.take(packet, peer, now_ns)
        now_ns += TICK_NS
        gateway.tick(now_ns)
        times.append((time.process_time_ns() - began) / 1e6)
        mine.append(spent)
    assert len(gateway.calls) == calls
    tick_ms, part_ms = (float(np.median(x[WARM_UP:])) for x in (times, mine))
    return {
        "calls": calls,
        "tick_ms": round(tick_ms, 2),
        "depacketizers_ms": round(part_ms, 3),
        "share": round(part_ms / tick_ms, 4),
    }


def main() -> None:
    """Prints a row for each number of calls, and writes them where that was asked for."""
    torch.set_num_threads(1)
    call.Depacketizer = Timed
    speech = read_audio(RECORDINGS / "Front_Left.wav")
    tokens = [frame.tokens.tolist() for frame in SpeechEncoder(load_codec()).push(speech)]
    rows = [measured(calls, tokens) for calls in CALLS]
    for row in rows:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    if len(sys.argv) > 1:
        write_csv(rows, Path(sys.argv[1]))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Computing time, speed and memory of the whole chain with the embedded models.

Usage: chain.py SPEECH [--minutes 10] [--live] [options of `largesc loopback`]

The speech is repeated to the wanted length. From a file all goes as fast as it can; ``--live``
plays in real time, with the decoder as the clock, and both directions in one process.
"""

import argparse
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from gnuradio import blocks, gr
from gnuradio.largesc._blocks import real_time
from gnuradio.largesc.cli.arguments import channel_of, link_of, receiver_of, sender_of
from gnuradio.largesc.cli.audio import opened
from gnuradio.largesc.cli.link import loopback_of
from gnuradio.largesc.cli.main import parser as command_line
from gnuradio.largesc.flowgraphs.loopback import Loopback
from gnuradio.largesc.flowgraphs.parts import make_channel, make_rx, make_tx
from gnuradio.largesc.speech.format import SAMPLE_RATE_HZ


class LiveLoopback(Loopback):
    """As the loopback, in real time: the source is paced, and so is the receiver's clock."""

    def __init__(self, samples: np.ndarray, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "live loopback", catch_exceptions=False)
        source, sink = blocks.vector_source_f(samples.tolist()), blocks.null_sink(4)
        link, receiver = link_of(args), replace(receiver_of(args), end_with_sender=True)
        self.signature_bytes = 0
        self.tx = make_tx(link, sender_of(args))
        self.channel = make_channel(channel_of(args))
        self.rx = make_rx(link, receiver)
        self.connect(source, real_time(), self.tx)
        self.connect(self.rx, real_time(), sink)
        self.msg_connect(self.tx, "packets", self.channel, "packets")
        self.msg_connect(self.channel, "packets", self.rx, "packets")
        self.msg_connect(self.rx, "report", self.tx, "report")


def resident_mib() -> float:
    """Memory of this process that is resident."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def show(name: str, compute_ms: np.ndarray, elapsed_ms: np.ndarray) -> None:
    """One line of the table."""
    values = [np.percentile(t, q) for t in (compute_ms, elapsed_ms) for q in (50, 95)]
    print(f"{name:24}" + "".join(f"{v:10.1f}" for v in values))


def main() -> None:
    own = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    own.add_argument("speech")
    own.add_argument("--minutes", type=float, default=10.0)
    own.add_argument("--live", action="store_true")
    mine, rest = own.parse_known_args()
    args = command_line().parse_args(["loopback", "-", "-", *rest])
    count = int(mine.minutes * 60 * SAMPLE_RATE_HZ)
    samples = np.resize(opened(mine.speech).read(), count)

    tb = (LiveLoopback if mine.live else loopback_of)(samples, args)
    memory, over = [], threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            memory.append(round(resident_mib()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.monotonic()
    tb.start()
    if mine.live:
        # The channel drops the end packet like any other: the sender's end is enough here.
        time.sleep(mine.minutes * 60)
        tb.stop()
    tb.wait()
    seconds = time.monotonic() - begin
    over.set()
    watcher.join()
    facts = tb.statistics()
    print(json.dumps({k: v for k, v in facts.items() if not isinstance(v, dict)}))
    print(json.dumps({k: facts[k] for k in ("concealer", "decoder")}))
    print("ms a frame             computing p50, p95   by the clock p50, p95")
    parts = {p.name(): p.times for p in (tb.tx.encoder, tb.rx.concealer, tb.rx.decoder)}
    for name, found in parts.items():
        show(name, found.compute_ms, found.elapsed_ms)
    show("all three", tb.frame_ms(), tb.frame_ms("elapsed_ms"))
    print(f"{count / SAMPLE_RATE_HZ / seconds:.2f} times real time")
    tenth = max(1, len(memory) // 10)
    print(f"resident: {max(memory)} MiB at most; mean by tenth of the run:", end=" ")
    print([round(float(np.mean(memory[i : i + tenth]))) for i in range(0, len(memory), tenth)])


if __name__ == "__main__":
    sys.exit(main())

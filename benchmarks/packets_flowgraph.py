# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets a second through packetizer, channel and depacketizer, posted beforehand.

Usage: packets_flowgraph.py [packets, default 100000]
"""

import sys
import time

import numpy as np
import pmt
from gnuradio import gr, largesc
from gnuradio.largesc import keys


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    tb = gr.top_block("packets", catch_exceptions=False)
    tx = largesc.uep_packetizer()
    channel = largesc.loss_channel(model="gilbert_elliott", loss_probability=0.1, mean_burst=2.0)
    rx = largesc.uep_depacketizer(mode="offline")
    tb.msg_connect(tx, "packets", channel, "packets")
    tb.msg_connect(channel, "packets", rx, "packets")

    meta = pmt.to_pmt({keys.tokens_sent: 8, keys.tokens_repeated: 2, keys.copy_distance: 1})
    frames = np.random.default_rng(1).integers(0, 2048, (1024, 8))
    pdus = [pmt.cons(meta, pmt.init_u16vector(8, [int(t) for t in f])) for f in frames]
    for n in range(count):
        tx._post(pmt.intern("tokens"), pdus[n % 1024])
    tx._post(pmt.intern("system"), pmt.cons(pmt.intern("done"), pmt.from_long(1)))

    start = time.perf_counter()
    tb.start()
    tb.wait()
    seconds = time.perf_counter() - start
    assert rx.statistics()["frames_released"] == count
    print(f"{count} packets in {seconds:.2f} s: {count / seconds:,.0f} packets/s")


if __name__ == "__main__":
    main()

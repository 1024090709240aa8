#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech through a lossy packet channel, from file to file, without a display.

python examples/loopback_headless.py in.wav out.wav --loss 0.2 --burst 3
"""

import argparse
import sys

from gnuradio import blocks, gr, largesc
from gnuradio.largesc.cli.process import ending
from gnuradio.largesc.speech.format import SAMPLE_RATE_HZ


class loopback(gr.top_block):  # noqa: N801
    """WAV file (24 kHz) to WAV file, as fast as it goes."""

    def __init__(self, source: str, target: str, loss: float, burst: float, budget_bps: float):
        gr.top_block.__init__(self, "LargeSC loopback")
        self.wav_in = blocks.wavfile_source(source, False)
        if self.wav_in.sample_rate() != SAMPLE_RATE_HZ:
            raise ValueError(
                f"{source} has {self.wav_in.sample_rate()} Hz: use {SAMPLE_RATE_HZ} Hz"
            )
        self.wav_out = blocks.wavfile_sink(
            target, 1, SAMPLE_RATE_HZ, blocks.FORMAT_WAV, blocks.FORMAT_PCM_16, False
        )
        # From a file only so many frames are under way; credit comes back from channel and decoder.
        self.sender = largesc.speech_tx(budget_bps=budget_bps, max_in_flight=64)
        self.channel = largesc.loss_channel(
            model="gilbert_elliott", loss_probability=loss, mean_burst=burst
        )
        self.receiver = largesc.speech_rx(mode="offline")
        self.connect(self.wav_in, self.sender)
        self.connect(self.receiver, self.wav_out)
        self.msg_connect(self.sender, "packets", self.channel, "packets")
        self.msg_connect(self.channel, "packets", self.receiver, "packets")
        self.msg_connect(self.channel, "credit", self.sender, "credit")
        self.msg_connect(self.receiver, "credit", self.sender, "credit")
        self.msg_connect(self.receiver, "report", self.sender, "report")


def main(arguments: list[str] | None = None) -> int:
    """Runs to the end of the file, or until a signal comes; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="WAV file at 24 kHz")
    parser.add_argument("target", help="WAV file to write")
    parser.add_argument("--loss", type=float, default=0.2, help="lost packets, 0 to 1 [0.2]")
    parser.add_argument("--burst", type=float, default=3.0, help="mean run of losses [3]")
    parser.add_argument("--budget", type=float, default=1500.0, help="payload bit/s [1500]")
    args = parser.parse_args(arguments)
    # A shell lets what it starts in the background ignore Ctrl-C; with this it ends there too.
    with ending.listening():
        tb = loopback(args.source, args.target, args.loss, args.burst, args.budget)
        tb.start()
        tb.wait()
    print(tb.receiver.statistics())
    return ending.status() if ending.signal else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Time from mouth to ear of a live flowgraph, and where it goes.

Usage: latency.py SPEECH [--seconds 60] [options of `largesc loopback`]

Sound cards are stood in for by paces of 20 ms. The whole is measured by the envelopes of speech
in and speech out, the parts by the messages on the way; what is left is the decoder with its
codec's delay, and the buffers of the flowgraph behind it. Where frames were lost at the start,
inserted or dropped, the receiver numbers them otherwise than the sender: then only the whole is
shown.
"""

import argparse
import sys
import time
from dataclasses import replace

import numpy as np
import pmt
from gnuradio import blocks, gr
from gnuradio.largesc import keys
from gnuradio.largesc._blocks import real_time
from gnuradio.largesc.cli.arguments import channel_of, link_of, receiver_of, sender_of
from gnuradio.largesc.cli.audio import opened
from gnuradio.largesc.cli.main import parser as command_line
from gnuradio.largesc.flowgraphs.parts import make_channel, make_rx, make_tx
from gnuradio.largesc.speech.format import FRAME_S, SAMPLE_RATE_HZ

HOP = 48
WINDOW_S, MOST_LAG_S = 5.0, 1.0


class SampleTap(gr.sync_block):
    """Keeps samples, and when which of them came."""

    def __init__(self) -> None:
        gr.sync_block.__init__(self, "sample_tap", [np.float32], None)
        self.parts, self.marks, self.count = [], [], 0

    def work(self, input_items: list, output_items: list) -> int:
        found = input_items[0]
        self.marks.append((time.monotonic(), self.count, self.count + len(found)))
        self.parts.append(found.copy())
        self.count += len(found)
        return len(found)

    def clock(self, at_end: bool) -> float:
        """When sample 0 was spoken (a card gives a chunk at its end) or heard, s."""
        return float(
            np.median(
                [
                    now - (end if at_end else begin) / SAMPLE_RATE_HZ
                    for now, begin, end in self.marks
                ]
            )
        )


class FrameTap(gr.basic_block):
    """Keeps when each frame's PDU came by."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "frame_tap", None, None)
        self.times = {}
        self.message_port_register_in(pmt.intern("pdus"))
        self.set_msg_handler(pmt.intern("pdus"), self._on_pdu)

    def _on_pdu(self, message: object) -> None:
        now, head = time.monotonic(), pmt.car(message)
        index = pmt.dict_ref(head, pmt.intern(keys.frame_index), pmt.PMT_NIL)
        repair = pmt.dict_ref(head, pmt.intern(keys.repair), pmt.PMT_F)
        if pmt.is_integer(index) and not pmt.equal(repair, pmt.PMT_T):
            self.times.setdefault(pmt.to_long(index), now)


class LiveLink(gr.top_block):
    """Sender, channel and receiver in real time, with taps between them."""

    def __init__(self, samples: np.ndarray, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "live link", catch_exceptions=False)
        self.mouth, self.ear = SampleTap(), SampleTap()
        self.packets, self.received, self.concealed = FrameTap(), FrameTap(), FrameTap()
        source, pace = blocks.vector_source_f(samples.tolist()), real_time()
        link, receiver = link_of(args), replace(receiver_of(args), end_with_sender=True)
        tx, channel = make_tx(link, sender_of(args)), make_channel(channel_of(args))
        self.rx = make_rx(link, receiver)
        self.connect(source, pace, tx)
        self.connect(pace, self.mouth)
        self.connect(self.rx, real_time(), self.ear)
        self.msg_connect(tx, "packets", channel, "packets")
        self.msg_connect(tx, "packets", self.packets, "pdus")
        self.msg_connect(channel, "packets", self.rx, "packets")
        self.msg_connect(self.rx, "report", tx, "report")
        self.msg_connect(self.rx.depacketizer, "tokens", self.received, "pdus")
        self.msg_connect(self.rx.concealer, "tokens", self.concealed, "pdus")


def envelope(samples: np.ndarray) -> np.ndarray:
    """Level of each 2 ms, smoothed over 20 ms, log."""
    power = np.square(samples[: len(samples) // HOP * HOP]).reshape(-1, HOP).mean(axis=1)
    return np.log(np.convolve(power, np.ones(10) / 10, "same") + 1e-6)


def lags_s(spoken: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """By how much ``heard`` lags, for each window of some seconds."""
    a, b = envelope(spoken), envelope(heard)
    size, most = round(WINDOW_S * SAMPLE_RATE_HZ / HOP), round(MOST_LAG_S * SAMPLE_RATE_HZ / HOP)
    found = []
    for begin in range(0, min(len(a), len(b)) - size - most, size):
        part = a[begin : begin + size]
        scores = [np.corrcoef(part, b[begin + k : begin + k + size])[0, 1] for k in range(most)]
        if max(scores) > 0.5:
            found.append(int(np.argmax(scores)) * HOP / SAMPLE_RATE_HZ)
    return np.array(found)


def between_ms(first: dict, second: dict) -> np.ndarray:
    """Times from the same frame in ``first`` to that in ``second``."""
    return 1000 * np.array([second[k] - first[k] for k in first.keys() & second.keys()])


def show(name: str, values_ms: np.ndarray) -> None:
    """One line of the table."""
    print(f"{name:52}" + "".join(f"{np.percentile(values_ms, q):9.0f}" for q in (50, 95)))


def show_parts(tb: LiveLink, spoken: dict, total_ms: np.ndarray) -> None:
    """From when a frame was ``spoken`` to when it is heard."""
    parts = {
        "packet, behind the last sample of its frame": (spoken, tb.packets.times),
        "network and depacketizer": (tb.packets.times, tb.received.times),
        "concealer": (tb.received.times, tb.concealed.times),
    }
    known = 1000 * FRAME_S
    show("framing", np.array([known]))
    for name, (first, second) in parts.items():
        values = between_ms(first, second)
        show(name, values)
        known += np.median(values)
    show("decoder, its codec's delay, buffers behind it", total_ms - known)


def main() -> None:
    own = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    own.add_argument("speech")
    own.add_argument("--seconds", type=float, default=60.0)
    mine, rest = own.parse_known_args()
    args = command_line().parse_args(["loopback", "-", "-", *rest])
    tb = LiveLink(np.resize(opened(mine.speech).read(), round(mine.seconds * SAMPLE_RATE_HZ)), args)
    tb.start()
    time.sleep(mine.seconds)
    tb.stop()
    tb.wait()

    mouth, ear = tb.mouth.clock(at_end=True), tb.ear.clock(at_end=False)
    spoken = {f: mouth + (f + 1) * FRAME_S for f in tb.packets.times}
    lags = lags_s(np.concatenate(tb.mouth.parts), np.concatenate(tb.ear.parts))
    total = 1000 * (lags + ear - mouth)
    print(f"{'ms':52}{'p50':>9}{'p95':>9}")
    facts = tb.rx.statistics()
    renumbered = facts["depacketizer"]["skew_inserted"] + facts["depacketizer"]["skew_dropped"]
    if not (args.loss or args.trace or renumbered):
        show_parts(tb, spoken, total)
    show(f"mouth to ear ({len(total)} windows of {WINDOW_S:.0f} s)", total)
    print(facts["depacketizer"] | facts["decoder"])


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills sender or receiver with SIGKILL at random, and measures how soon the other goes on.

    largesc study restarts --kills 10 --output FOLDER

Two processes over UDP: token frames in real time through uep_packetizer and socket_pdu, and
socket_pdu and a live uep_depacketizer that is asked for a frame every 80 ms. No model is loaded, so
that a process is back within a second or two. *Resumed* is from the first packet sent, or the first
frame asked for, behind the return, to the first frame that comes out received.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict

import numpy as np
import pmt
from gnuradio import blocks, gr, network

from .. import keys, uep_depacketizer, uep_packetizer
from ..blocks.messages import make_pdu, read_pdu
from ..speech.format import FRAME_S
from .study import add_common, at_least_one, save_rows

HOST = "127.0.0.1"
PATIENCE_S = 20.0
LIMIT_S = 1.0
MODULE = "gnuradio.largesc.studies.restarts"


class listener(gr.basic_block):  # noqa: N801
    """Prints a line for each frame: ``received`` or ``lost``, and when."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "listener", None, None)
        self.message_port_register_in(pmt.intern("tokens"))
        self.set_msg_handler(pmt.intern("tokens"), self._on_tokens)

    def _on_tokens(self, message: object) -> None:
        meta, _ = read_pdu(message)
        if not meta.get(keys.repair):
            tell("lost" if meta.get(keys.lost) else "received")


def tell(what: str) -> None:
    """A line for the parent, whose clock is ours; in one piece, whichever thread it is of."""
    os.write(1, f"{what} {time.monotonic()}\n".encode())


def send(port: str) -> None:
    """Packets of random tokens until killed."""
    tb = gr.top_block("sender", catch_exceptions=False)
    packetizer = uep_packetizer(frames_per_packet=1, layout="sequential", crc=True)
    udp = network.socket_pdu("UDP_CLIENT", HOST, port, 1500, False)
    tb.msg_connect(packetizer, "packets", udp, "pdus")
    tb.start()
    draw = np.random.default_rng()
    begin, index = time.monotonic(), 0
    while True:
        meta = {keys.frame_index: index, keys.tokens_sent: 8}
        packetizer.to_basic_block()._post(
            pmt.intern("tokens"), make_pdu(meta, draw.integers(0, 2048, 8))
        )
        tell("sent")
        index += 1
        time.sleep(max(0.0, begin + index * FRAME_S - time.monotonic()))


def receive(port: str) -> None:
    """Frames out of packets until killed."""
    tb = gr.top_block("receiver", catch_exceptions=False)
    udp = network.socket_pdu("UDP_SERVER", HOST, port, 1500, False)
    depacketizer = uep_depacketizer(mode="live")
    clock, ears = blocks.message_strobe(pmt.make_dict(), round(1000 * FRAME_S)), listener()
    tb.msg_connect(udp, "pdus", depacketizer, "packets")
    tb.msg_connect(clock, "strobe", depacketizer, "pull")
    tb.msg_connect(depacketizer, "tokens", ears, "tokens")
    tb.start()
    while True:
        tell("asked")
        time.sleep(FRAME_S)


class Peer:
    """One of the two processes, and the latest time of each thing that it told."""

    def __init__(self, role: str, port: int) -> None:
        command = [sys.executable, "-m", MODULE, role, str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.times: dict[str, list[float]] = defaultdict(list)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            what, when = line.split()
            self.times[what].append(float(when))

    def first(self, what: str, after: float) -> float:
        """When ``what`` came first behind ``after``; waits for it.

        Raises:
            RuntimeError: the process ended, or nothing came in time.
        """
        end = time.monotonic() + PATIENCE_S
        while True:
            for when in list(self.times[what]):
                if when > after:
                    return when
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"nothing {what}, exit status {self.process.poll()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends the process by SIGKILL, and waits until it is gone."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    """Returns a UDP port that no program uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def run(kills: int, seed: int) -> list[dict]:
    """A row a kill, of sender and receiver in turn."""
    port, chance, rows = free_port(), random.Random(seed), []
    peers = {"receiver": Peer("receiver", port), "sender": Peer("sender", port)}
    try:
        peers["receiver"].first("received", 0.0)
        for number in range(kills * len(peers)):
            role, other = ("sender", "receiver")[:: 1 - 2 * (number % 2)]
            time.sleep(chance.uniform(0.2, 2.5))
            peers[role].kill()
            down = chance.uniform(0.0, 6.5)
            time.sleep(down)
            alive = peers[other].process.poll() is None
            peers[role] = Peer(role, port)
            began = peers[role].first("sent" if role == "sender" else "asked", 0.0)
            resumed = peers["receiver"].first("received", began)
            rows.append(
                {
                    "killed": role,
                    "down_s": round(down, 2),
                    "other_ran_on": alive and peers[other].process.poll() is None,
                    "resumed_s": round(resumed - began, 3),
                }
            )
            print(rows[-1], flush=True)
    finally:
        for peer in peers.values():
            peer.kill()
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--kills", type=at_least_one, default=10, help="of each side [10]")


def study(args: argparse.Namespace) -> int:
    """Kills and measures; 0 where all resumed in time."""
    rows = run(args.kills, args.seed)
    save_rows(args, "restarts", rows)
    worst = max(row["resumed_s"] for row in rows)
    print(f"{len(rows)} kills, resumed within {worst:.2f} s")
    return 0 if worst <= LIMIT_S and all(row["other_ran_on"] for row in rows) else 1


if __name__ == "__main__":
    # One of the two processes.
    {"sender": send, "receiver": receive}[sys.argv[1]](sys.argv[2])

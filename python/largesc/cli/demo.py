# SPDX-License-Identifier: GPL-3.0-or-later
"""Real speech through the whole flowgraph at three loss settings."""

import argparse
import time
from pathlib import Path

import numpy as np
import pmt
from gnuradio import gr

from .._core import ERASED_TOKEN, keys
from ..blocks.messages import DONE, read_pdu
from ..evaluation.measures import missing, visqol
from ..studies.picture import STATES, Transmission, draw
from .audio import default_speech, read_speech, say, write_speech
from .link import FRAME_SAMPLES, Loopback
from .options import add_loopback

SETTINGS = [
    ("no loss", "loss-free", []),
    ("20 % uniform", "uniform-20", ["--loss", "0.2", "--expected-loss", "0.2"]),
    (
        "30 % in bursts of 3",
        "bursts-30",
        ["--loss", "0.3", "--burst", "3", "--expected-loss", "0.3", "--distance", "4"],
    ),
]
BUDGET_BPS = 1500
CONCEALED = STATES.index("concealed")


class Observer(gr.basic_block):
    """Keeps what passes on its ports, by frame."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "observer", None, None)
        self.decisions: dict[int, dict] = {}
        self.tokens: dict[int, np.ndarray] = {}
        self.received: dict[int, np.ndarray] = {}
        self.concealed: dict[int, int] = {}
        for port, handler in (
            ("sent", self._on_sent),
            ("received", self._on_received),
            ("concealed", self._on_concealed),
        ):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)
        # The end comes with the messages; the scheduler's own may overtake some of them.
        self.set_msg_handler(pmt.intern("system"), self._ignore)
        self._ends = 0

    def _ignore(self, message: object) -> None:
        pass

    def _take(self, message: object) -> tuple[dict, np.ndarray] | None:
        found = read_pdu(message)
        if found is not None and found[0].get(keys.end_of_stream):
            self._ends += 1
            if self._ends == 3:
                self.gateway.system_handler(DONE)
            return None
        return found

    def _on_sent(self, message: object) -> None:
        if (found := self._take(message)) is not None:
            self.decisions[found[0][keys.frame_index]] = found[0]
            self.tokens[found[0][keys.frame_index]] = found[1]

    def _on_received(self, message: object) -> None:
        if (found := self._take(message)) is not None and not found[0].get(keys.repair):
            self.received[found[0][keys.frame_index]] = found[1]

    def _on_concealed(self, message: object) -> None:
        if (found := self._take(message)) is not None:
            self.concealed[found[0][keys.frame_index]] = found[0][keys.concealed_tokens]


class PacketFates(gr.basic_block):
    """Frames whose packet came through the channel."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "packet_fates", None, None)
        self.arrived: set[int] = set()
        self.message_port_register_in(pmt.intern("packets"))
        self.set_msg_handler(pmt.intern("packets"), self._on_packet)
        self.set_msg_handler(pmt.intern("system"), self._ignore)

    def _ignore(self, message: object) -> None:
        pass

    def _on_packet(self, message: object) -> None:
        meta = pmt.to_python(pmt.car(message)) or {}
        if meta.get(keys.end_of_stream):
            self.gateway.system_handler(DONE)
        elif keys.frame_index in meta:
            self.arrived.add(meta[keys.frame_index])


def fates(observer: Observer, packets: PacketFates, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """States of the tokens, int ``[frames, 8]``, and the payload rate ``[frames]``."""
    states = np.zeros((frames, 8), dtype=int)
    payload = np.zeros(frames)
    for index in range(frames):
        how = observer.decisions.get(index, {})
        sent = how.get(keys.tokens_sent, 0)
        repeated = how.get(keys.tokens_repeated, 0)
        payload[index] = (sent + repeated) * 11 / 0.08
        received = observer.received.get(index, np.full(8, ERASED_TOKEN))
        for k in range(8):
            arrived = received[k] != ERASED_TOKEN
            if k >= sent:
                name = "not sent"
            elif not arrived:
                name = "concealed" if k < observer.concealed.get(index, 0) else "lost"
            elif index not in packets.arrived:
                name = "lost, copy arrived"
            else:
                name = "sent twice" if k < repeated else "sent"
            states[index, k] = STATES.index(name)
    return states, payload


def transmit(speech: np.ndarray, options: list[str]) -> tuple[Loopback, Observer, PacketFates]:
    """Runs the flowgraph once and returns it with what was observed."""
    parser = argparse.ArgumentParser()
    add_loopback(parser)
    args = parser.parse_args(["-", "-", "--budget", str(BUDGET_BPS), *options])
    tb = Loopback(speech, args)
    observer, packets = Observer(), PacketFates()
    tb.msg_connect(tb.tx.controller, "tokens", observer, "sent")
    tb.msg_connect(tb.rx.depacketizer, "tokens", observer, "received")
    tb.msg_connect(tb.rx.concealer, "tokens", observer, "concealed")
    tb.msg_connect(tb.channel, "packets", packets, "packets")
    tb.start()
    tb.wait()
    return tb, observer, packets


def demo(args: argparse.Namespace) -> int:
    """Writes WAVs, a picture and a table to ``args.output``."""
    speech = read_speech(args.input) if args.input else default_speech()
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    write_speech(str(output / "original.wav"), speech)
    padded = np.concatenate([speech, np.zeros(FRAME_SAMPLES, dtype=np.float32)])
    shown, rows = [], []
    for title, name, options in SETTINGS:
        begin = time.monotonic()
        tb, observer, packets = transmit(padded, options)
        out = tb.output(len(speech))
        write_speech(str(output / f"{name}.wav"), out)
        facts = tb.statistics()
        states, payload = fates(observer, packets, facts["frames"])
        lost = np.array([n not in packets.arrived for n in range(facts["frames"])])
        shown.append(Transmission(title, speech, out, states, payload, lost))
        score = None if missing(["visqol"]) else visqol(speech, out)
        times = tb.frame_ms()
        rows.append(
            f"{title:21}{facts['payload_bps']:9.0f}{facts['total_bps_radio']:9.0f}"
            f"{facts['total_bps_udp']:9.0f}{100 * facts['loss']:8.1f}"
            f"{np.sum((states == CONCEALED).any(axis=1)):6d}/{facts['frames']:<5d}"
            f"{np.percentile(times, 50):7.1f}{np.percentile(times, 95):7.1f}"
            + (f"{score:8.2f}" if score is not None else "       -")
        )
        say(f"{title}: done in {time.monotonic() - begin:.0f} s")
    figure = draw(shown)
    figure.savefig(output / "demo.png", dpi=80)
    print(
        "\n                     payload    radio   UDP/IP    lost  concealed  ms a frame   ViSQOL"
        "\n                       bit/s    bit/s    bit/s       %     frames    p50    p95"
    )
    print("\n".join(rows))
    print(
        "\nradio: header and CRC with each packet; UDP/IP: 28 bytes more. concealed: nothing of the"
        "\nframe arrived. ViSQOL: speech mode, polynomial mapping, comparable only within"
        "\nthis table. ms a frame: processor time of encoder, concealer and decoder together."
        f"\nWAVs and demo.png are in {output}/"
    )
    return 0

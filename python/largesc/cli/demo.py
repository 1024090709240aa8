# SPDX-License-Identifier: GPL-3.0-or-later
"""Real speech through the whole flowgraph at three loss settings."""

import argparse
import time
from pathlib import Path

import numpy as np

from .._core import ERASED_TOKEN, keys
from ..evaluation.measures import missing, visqol
from ..flowgraphs.loopback import Loopback
from ..flowgraphs.observer import Observer, PacketFates, observed
from ..options import ChannelOptions, ReceiverOptions, SenderOptions
from ..speech.format import FRAME_S, FRAME_SAMPLES
from ..studies.picture import STATES, Transmission, draw
from .audio import default_speech, read_speech, say, write_speech

BUDGET_BPS = 1500
# Title, file, loss, mean burst and deadline.
SETTINGS = [
    ("no loss", "loss-free", 0.0, 0.0, 80),
    ("20 % uniform", "uniform-20", 0.2, 0.0, 80),
    ("30 % in bursts of 3", "bursts-30", 0.3, 3.0, 320),
]
CONCEALED = STATES.index("concealed")


def fates(observer: Observer, packets: PacketFates, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """States of the tokens, int ``[frames, 8]``, and the payload rate ``[frames]``."""
    states = np.zeros((frames, 8), dtype=int)
    payload = np.zeros(frames)
    for index in range(frames):
        how = observer.decisions.get(index, {})
        sent = how.get(keys.tokens_sent, 0)
        repeated = how.get(keys.tokens_repeated, 0)
        payload[index] = (sent + repeated) * 11 / FRAME_S
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


def link_at(speech: np.ndarray, loss: float, burst: float, deadline_ms: int) -> Loopback:
    """The flowgraph at one setting; the sender knows the loss, not the burst."""
    return Loopback(
        speech,
        sender=SenderOptions(budget_bps=BUDGET_BPS, loss_probability=loss, deadline_ms=deadline_ms),
        channel=ChannelOptions(
            model="gilbert_elliott" if burst else "bernoulli",
            loss_probability=loss,
            mean_burst=burst or ChannelOptions.mean_burst,
        ),
        receiver=ReceiverOptions(deadline_ms=deadline_ms),
    )


def demo(args: argparse.Namespace) -> int:
    """Writes WAVs, a picture and a table to ``args.output``."""
    speech = read_speech(args.input) if args.input else default_speech()
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    write_speech(str(output / "original.wav"), speech)
    padded = np.concatenate([speech, np.zeros(FRAME_SAMPLES, dtype=np.float32)])
    shown, rows = [], []
    for title, name, loss, burst, deadline_ms in SETTINGS:
        begin = time.monotonic()
        tb = link_at(padded, loss, burst, deadline_ms)
        observer, packets = observed(tb)
        tb.start()
        tb.wait()
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Real speech through the whole flowgraph at three loss settings."""

import argparse
import time
from pathlib import Path

import numpy as np

from .._core import ERASED_TOKEN, keys
from ..evaluation.measures import missing, visqol
from ..evaluation.words import count_words
from ..files import writable_folder
from ..flowgraphs.loopback import Loopback
from ..flowgraphs.observer import Observer, PacketFates, observed
from ..options import ChannelOptions, ReceiverOptions, SenderOptions
from ..speech.files import write_audio
from ..speech.format import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ
from ..studies.picture import STATES, Transmission, draw
from ..tables import write_csv
from .audio import default_speech, default_text, opened
from .process import ending
from .say import say
from .watches import wait_for, waiting

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


def run(tb: Loopback) -> bool:
    """Runs a flowgraph; returns whether it came to its end, or a signal to it."""
    with ending.awaited():
        tb.start()
        waiter = waiting(tb)
        wait_for(lambda: not waiter.is_alive())
        done = not waiter.is_alive()
        if not done:
            tb.stop()
        waiter.join()
    return done


def words_kept(original: np.ndarray, decoded: np.ndarray, text: str | None) -> str:
    """Share of the words that a recogniser still hears, in %; - where it cannot tell."""
    if missing(["words_tiny"]):
        return "-"
    try:
        counted = count_words("words_tiny", original, decoded, text)
    except ValueError as error:
        say(str(error))
        return "-"
    return f"{100 * (1 - counted['words_tiny']):.0f}" if "words_tiny" in counted else "-"


def print_table(rows: list[dict]) -> None:
    """The rows of ``demo.csv``, side by side."""
    print(
        "\n                     payload    radio   UDP/IP    lost  concealed  ms a frame   ViSQOL"
        "    words\n                       bit/s    bit/s    bit/s       %     frames    p50    p95"
        "           kept %"
    )
    for row in rows:
        print(
            f"{row['channel']:21}{row['payload_bps']:9}{row['radio_bps']:9}{row['udp_bps']:9}"
            f"{100 * row['packets_lost']:8.1f}{row['frames_made_up']:6}/{row['frames']:<5}"
            f"{row['compute_ms_p50']:7}{row['compute_ms_p95']:7}{row['visqol']:>8}"
            f"{row['words_kept_percent']:>9}"
        )


def demo(args: argparse.Namespace) -> int:
    """Writes WAVs, a picture and a table to ``args.output``, as far as no signal comes."""
    output = writable_folder(Path(args.output))
    speech = opened(args.input).read() if args.input else default_speech()
    text = None if args.input else default_text()
    write_audio(output / "original.wav", speech)
    padded = np.concatenate([speech, np.zeros(FRAME_SAMPLES, dtype=np.float32)])
    shown, rows = [], []
    try:
        for title, name, loss, burst, deadline_ms in SETTINGS:
            begin = time.monotonic()
            tb = link_at(padded, loss, burst, deadline_ms)
            observer, packets = observed(tb)
            if not run(tb):
                break
            out = tb.output(len(speech))
            write_audio(output / f"{name}.wav", out)
            facts = tb.statistics()
            states, payload = fates(observer, packets, facts["frames"])
            lost = np.array([n not in packets.arrived for n in range(facts["frames"])])
            score = None if missing(["visqol"]) else visqol(speech, out)
            times = tb.frame_ms()
            rows.append(
                {
                    "channel": title,
                    "seconds": round(len(speech) / SAMPLE_RATE_HZ, 2),
                    "payload_bps": round(facts["payload_bps"]),
                    "radio_bps": round(facts["total_bps_radio"]),
                    "udp_bps": round(facts["total_bps_udp"]),
                    "packets_lost": round(facts["loss"], 4),
                    "frames_made_up": int(np.sum((states == CONCEALED).any(axis=1))),
                    "frames": facts["frames"],
                    "compute_ms_p50": round(float(np.percentile(times, 50)), 1),
                    "compute_ms_p95": round(float(np.percentile(times, 95)), 1),
                    "visqol": "-" if score is None else round(score, 2),
                }
            )
            shown.append(Transmission(title, speech, out, states, payload, lost))
            say(f"{title}: done in {time.monotonic() - begin:.0f} s")
    except KeyboardInterrupt:
        pass
    if ending.signal:
        say(f"interrupted: {len(rows)} of {len(SETTINGS)} settings are done, in {output}/")
        return ending.status()
    for row, of in zip(rows, shown, strict=True):
        row["words_kept_percent"] = words_kept(speech, of.received, text)
    figure = draw(shown)
    figure.savefig(output / "demo.png", dpi=80)
    write_csv(rows, output / "demo.csv")
    print_table(rows)
    print(
        "\nradio: header and CRC with each packet; UDP/IP: 28 bytes more. concealed: nothing of the"
        "\nframe arrived. ViSQOL: speech mode, polynomial mapping, comparable only within"
        "\nthis table. words: that Whisper tiny.en still hears, of those said, or that it hears in"
        "\nFILE; ./bootstrap evaluate installs it. ms a frame: processor time of encoder, concealer"
        "\nand decoder together."
        f"\nWAVs, demo.png and demo.csv are in {output}/"
    )
    return 0

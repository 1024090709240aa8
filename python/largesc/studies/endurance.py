# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the link for a long simulated time, faster than real time, and tells what grows.

    largesc study endurance --speech FILE --minutes 60 --output FOLDER

The speech goes round and round through speech_tx, fades that let nothing pass, a Gilbert-Elliott
channel and speech_rx, all with their real models; with --air radio through the modem, Rayleigh
fading, fades and noise in its place. Each minute of speech is a line of a CSV file: resident
memory, frames under way between encoder and decoder, counters, and the sound that came out. The
exit status is 1 where memory, latency, counters or sound fail the checks that are printed.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from gnuradio import blocks, gr

from .. import (
    loss_channel,
    packet_radio_rx,
    packet_radio_tx,
    radio_channel,
    speech_rx,
    speech_tx,
)
from ..options import METHODS
from ..radio.profiles import PROFILES
from ..speech.files import read_audio, rows_of
from ..speech.format import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from .probes import FadeTimes, audio_probe, packet_fades, sample_fades, silent_runs
from .study import add_common, plt, save_figure, save_rows

FRAMES_PER_PACKET = 2
PACKET_MS = float(FRAME_MS * FRAMES_PER_PACKET)
# A fade, what the receiver holds back, and what is on its way must all fit.
MAX_IN_FLIGHT = 128
LOOP_SECONDS = 60.0
AMPLITUDE, DOPPLER_HZ = 0.5, 1.0
OFFSET_HZ = 0.72
# Share of the run that is not judged: models are loaded, buffers and caches filled.
WARM_UP = 0.15
MEMORY_SHARE, LATENCY_FRAMES, SILENCE_S = 0.02, 2.0, 0.5


def looped_speech(source: Path) -> np.ndarray:
    """Up to 60 s of an audio file, or of the utterances of a table or folder, whole frames."""
    if source.is_file() and source.suffix != ".tsv":
        speech = read_audio(source)
    else:
        folder, rows = rows_of(source)
        parts, seconds = [], 0.0
        for row in rows:
            parts.append(read_audio(folder / row["path"]))
            seconds += len(parts[-1]) / SAMPLE_RATE_HZ
            if seconds >= LOOP_SECONDS:
                break
        speech = np.concatenate(parts)
    speech = speech[: round(LOOP_SECONDS * SAMPLE_RATE_HZ)]
    return speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES]


def resident_mb() -> float:
    """Memory of this process that lies in RAM, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Endurance(gr.top_block):
    """The link, with something that looks at it every second.

    Args:
        speech: float32, 24 kHz, whole frames; goes round.
        args: of the command line.
    """

    def __init__(self, speech: np.ndarray, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "endurance", catch_exceptions=False)
        frames = round(args.minutes * 60 * SAMPLE_RATE_HZ) // FRAME_SAMPLES
        self.rows: list[dict] = []
        self._args = args
        self._lags: list[int] = []
        source = blocks.vector_source_f(speech.tolist(), True)
        head = blocks.head(gr.sizeof_float, frames * FRAME_SAMPLES)
        link = {"frames_per_packet": FRAMES_PER_PACKET, "crc": args.air == "packets"}
        self.tx = speech_tx(
            max_in_flight=MAX_IN_FLIGHT,
            budget_bps=1100.0,
            loss_probability=args.loss,
            mean_burst_packets=args.burst,
            deadline_ms=round(PACKET_MS),
            codec=args.codec,
            **link,
        )
        self.rx = speech_rx(
            mode="offline", method=args.concealer, model=args.model, codec=args.codec, **link
        )
        self.probe = audio_probe(self._each_second)
        fades = FadeTimes(args.fade, args.fade_every, args.seed)
        self._on_air = args.air == "radio"
        connect = self._connect_radio if self._on_air else self._connect_packets
        connect(fades, args)
        # An encoder that is not held back runs ahead as far as credit and the machine's load allow,
        # and how many frames are under way says nothing of the link.
        pace = blocks.throttle(gr.sizeof_float, args.pace * SAMPLE_RATE_HZ)
        self.connect(source, head, pace, self.tx)
        self.connect(self.rx, self.probe)
        self.msg_connect(self.rx, "credit", self.tx, "credit")
        self.msg_connect(self.rx, "report", self.tx, "report")
        self._begin = time.monotonic()

    def _connect_packets(self, fades: FadeTimes, args: argparse.Namespace) -> None:
        self.fades = packet_fades(fades)
        # Both together lose what was asked for.
        faded = args.fade / args.fade_every
        loss = max(0.0, (args.loss - faded) / (1 - faded))
        self.channel = loss_channel(
            model="gilbert_elliott",
            loss_probability=loss,
            mean_burst=args.burst,
            packet_ms=PACKET_MS,
            seed=args.seed,
        )
        chain = [self.tx, self.fades, self.channel, self.rx]
        for sender, receiver in zip(chain, chain[1:], strict=False):
            self.msg_connect(sender, "packets", receiver, "packets")
        for block in (self.fades, self.channel):
            self.msg_connect(block, "credit", self.tx, "credit")

    def _connect_radio(self, fades: FadeTimes, args: argparse.Namespace) -> None:
        profile = PROFILES["ssb"]
        self.modem_tx = packet_radio_tx(
            profile="ssb", amplitude=AMPLITUDE, queue_packets=MAX_IN_FLIGHT
        )
        self.modem_rx = packet_radio_rx(profile="ssb")
        air = radio_channel(
            sample_rate=profile.sample_rate,
            carrier_offset_hz=OFFSET_HZ,
            clock_ppm=20.0,
            fading="rayleigh",
            doppler_hz=DOPPLER_HZ,
            seed=args.seed,
        )
        # Nothing else keeps a Python block alive.
        self.silence = sample_fades(fades, profile.sample_rate)
        # Noise behind the fades: a receiver never hears nothing.
        floor = radio_channel(
            sample_rate=profile.sample_rate,
            snr_db=args.es_n0,
            snr_bandwidth_hz=profile.noise_bandwidth_hz,
            amplitude=AMPLITUDE,
            seed=args.seed + 1,
        )
        self.connect(self.modem_tx, air, self.silence, floor, self.modem_rx)
        self.msg_connect(self.tx, "packets", self.modem_tx, "packets")
        self.msg_connect(self.modem_rx, "packets", self.rx, "packets")

    def _each_second(self, second: int) -> None:
        encoded = self.tx.encoder.counters["frames"]
        self._lags.append(encoded - self.rx.decoder.counters["frames"])
        if second % 60 == 0:
            self.rows.append(self._row(second))
            self._lags.clear()
            # What is there remains, should the run be cut short.
            save_rows(self._args, f"endurance_{self._args.air}", self.rows)

    def _row(self, seconds: int) -> dict:
        lags = self._lags or [0]
        return {
            "minute": round(seconds / 60, 2),
            "elapsed_s": round(time.monotonic() - self._begin, 1),
            "processor_s": round(time.process_time(), 1),
            "resident_mb": round(resident_mb(), 1),
            "frames_under_way": round(float(np.mean(lags)), 2),
            "most_frames_under_way": max(lags),
            **self.counts(),
        }

    def counts(self) -> dict[str, int]:
        """Packets by what became of them, frames, and the sound."""
        rx = self.rx.statistics()
        there = rx["depacketizer"]
        refused = there["refused_format"] + there["refused_crc"] + there["refused_messages"]
        if self._on_air:
            sent = self.modem_tx.statistics()["packets"]
            modem = self.modem_rx.statistics()
            unheard = sent - modem["accepted"] - modem["crc_failures"]
            lost, refused = unheard, refused + modem["crc_failures"]
        else:
            sent = self.fades.counters["sent"]
            lost = self.fades.counters["dropped"] + self.channel.statistics()["dropped"]
        return {
            "packets_sent": sent,
            "packets_received": there["packets_received"],
            "packets_lost": lost,
            "packets_refused": refused,
            "duplicates": there["duplicates"],
            "late": there["late"],
            "missed_by_receiver": there["packets_lost"],
            "resyncs": there["resyncs"],
            "frames_encoded": self.tx.encoder.counters["frames"],
            "frames_decoded": rx["decoder"]["frames"],
            "frames_made_up": rx["concealer"]["frames_made_up"],
            "samples_out": self.probe.samples,
            "invalid_samples": self.probe.invalid,
            "longest_silence_s": round(self.probe.longest_silence / SAMPLE_RATE_HZ, 3),
        }

    def last_row(self) -> dict:
        """Returns a row like those of the minutes, for the end of the run."""
        return self._row(self.probe.samples / SAMPLE_RATE_HZ)


def checks(rows: list[dict], last: dict, speech: np.ndarray) -> list[tuple[str, bool, str]]:
    """What was promised, whether it held, and the figures.

    Args:
        rows: one a minute.
        last: behind the end of the stream.
        speech: what went round.
    """
    judged = rows[int(np.ceil(WARM_UP * len(rows))) :] or rows
    memory = np.array([row["resident_mb"] for row in judged])
    middle = (memory.max() + memory.min()) / 2
    apart = (memory.max() - memory.min()) / 2 / middle
    lags = np.array([row["frames_under_way"] for row in judged])
    third = max(1, len(lags) // 3)
    growth = float(lags[-third:].mean() - lags[:third].mean())
    arrived = last["packets_received"] + last["duplicates"] + last["late"]
    told = arrived + last["packets_lost"] + last["packets_refused"]
    longest = silent_runs(np.concatenate([speech, speech]))[0] / SAMPLE_RATE_HZ
    samples = last["frames_encoded"] * FRAME_SAMPLES
    return [
        ("memory flat", apart <= MEMORY_SHARE, f"{middle:.1f} MB ± {100 * apart:.2f} %"),
        ("latency not growing", growth <= LATENCY_FRAMES, f"{growth:+.2f} frames"),
        (
            "packets sent = received + lost + refused",
            # On the air the end packet is sent as well, and is none that is received.
            last["packets_sent"] - told in (0, 1),
            f"{last['packets_sent']} = {arrived} + {last['packets_lost']} "
            f"+ {last['packets_refused']}",
        ),
        ("samples out = in", last["samples_out"] == samples, f"{last['samples_out']} of {samples}"),
        ("numbers only", not last["invalid_samples"], f"{last['invalid_samples']} others"),
        (
            "no long silence",
            last["longest_silence_s"] <= longest + SILENCE_S,
            f"{last['longest_silence_s']:.2f} s, in the speech {longest:.2f} s",
        ),
    ]


def draw(rows: list[dict], title: str) -> plt.Figure:
    """Memory, frames under way and losses by the minute."""
    figure, axes = plt.subplots(3, 1, figsize=(8, 6), sharex=True)
    minutes = [row["minute"] for row in rows]
    axes[0].plot(minutes, [row["resident_mb"] for row in rows])
    axes[0].set_ylabel("resident MB")
    axes[0].set_ylim(0, 1.15 * max(row["resident_mb"] for row in rows))
    axes[1].plot(minutes, [row["frames_under_way"] for row in rows], label="mean")
    axes[1].plot(minutes, [row["most_frames_under_way"] for row in rows], ":", label="most")
    axes[1].set_ylabel("frames under way")
    axes[1].set_ylim(0, None)
    axes[1].legend(frameon=False, loc="lower right")
    sent, gone = (
        np.diff([0, *(row[k] for row in rows)]) for k in ("packets_sent", "packets_received")
    )
    axes[2].plot(minutes, 100 * (1 - gone / np.maximum(sent, 1)))
    axes[2].set_ylabel("packets not received, %")
    axes[2].set_ylim(0, None)
    axes[2].set_xlabel("minutes of speech")
    figure.suptitle(title)
    figure.tight_layout()
    return figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser)
    add = parser.add_argument
    add("--minutes", type=float, default=60.0, help="of speech [60]")
    add("--pace", type=float, default=2.5, help="times real time [2.5]")
    add("--air", choices=["packets", "radio"], default="packets", help="[packets]")
    add("--loss", type=float, default=0.25, help="packets lost, fades too [0.25]")
    add("--burst", type=float, default=3.0, help="mean run of losses, packets [3]")
    add("--fade", type=float, default=2.0, help="seconds of a fade [2]")
    add("--fade-every", type=float, default=60.0, help="seconds [60]")
    add("--es-n0", type=float, default=9.0, help="dB, with --air radio [9]")
    add("--concealer", choices=METHODS, default="interpolate", help="[%(default)s]")
    add("--codec", default="embedded", help="model source")
    add("--model", default="embedded", help="model source of the language model")


def study(args: argparse.Namespace) -> int:
    """Runs, writes CSV and PNG, prints the checks; 0 where all held."""
    if args.pace <= 0:
        raise ValueError(f"--pace {args.pace:g} is out of range: use a number above 0")
    speech = looped_speech(args.speech)
    tb = Endurance(speech, args)
    begin = time.monotonic()
    tb.start()
    tb.wait()
    elapsed = time.monotonic() - begin
    last = tb.last_row()
    name = f"endurance_{args.air}"
    save_rows(args, name, [*tb.rows, last])
    seconds = tb.probe.samples / SAMPLE_RATE_HZ
    lost = 1 - last["packets_received"] / max(1, last["packets_sent"])
    said = f"{seconds / 60:.1f} minutes in {elapsed / 60:.1f}, {100 * lost:.1f} % not received"
    print(said)
    if tb.rows:
        save_figure(args, name, draw(tb.rows, said))
    found = checks(tb.rows or [last], last, speech)
    for what, held, figures in found:
        print(f"{'ok  ' if held else 'FAIL'} {what}: {figures}")
    return 0 if all(held for _, held, _ in found) else 1

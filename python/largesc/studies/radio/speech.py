# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech quality against SNR: our link and Codec 2 over the same modem, as CSV files and a PNG.

    largesc study radio_speech --speech TABLE --output FOLDER

All go through packet_radio_tx, radio_channel and packet_radio_rx of the profile `ssb`: the same
bandwidth, symbol rate, sync, header, CRC and code, the same power while sending, and the same
fading at the same time. SNR is that of the power while sending over the noise in 3 kHz.

What the modem did and what was measured is kept in FOLDER: a run that was cut short goes on there.
"""

import argparse
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ...channel.loss_timeline import LossChannel
from ...control.policies import Channel
from ...evaluation.cache import Cache, key_of
from ...evaluation.measures import measure, usable
from ...evaluation.systems.codec2 import Codec2
from ...evaluation.systems.own import OwnSystem, encoded, received
from ...evaluation.systems.system import Packets
from ...evaluation.utterances import spread, utterances
from ...options import METHODS
from ...radio.air import NOISE_BANDWIDTH_HZ
from ...speech.files import read_audio
from ...tables import markdown, mean_half, means
from ..processes import alone, results_of
from ..study import add_common, at_least_one, plt, save_figure, save_rows
from .own_packets import Contestant, own_packets
from .per import decibels
from .runs import Setting, energies, in_time, receive, transmit

# What Codec 2 needs to see a gap; the CRC is the modem's.
SEQUENCE_BITS = 4
# In one process, which alone gives their buffers back.
RUNS_TOGETHER = 8
OFFSET_HZ, CLOCK_PPM, DOPPLER_HZ, ECHO_US = 10.0, 10.0, 1.0, 1000.0
# Channel and SNR in dB.
POINTS = {
    "white noise": (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0),
    "Rayleigh, 1 Hz": (2.0, 6.0, 10.0, 14.0, 18.0),
}
MEASURES = ("visqol", "stoi", "plcmos")
# Thresholds of RADE V1 and V2 in white noise, quoted from its project's publications.
RADE_QUOTED = {"RADE V1": -2.0, "RADE V2": -4.5}


CONTESTANTS = (
    Contestant("ours, 8 tokens", Setting("ssb"), 160, policy="fixed"),
    Contestant("ours, exact", Setting("ssb"), 160, policy="exact"),
    Contestant("Codec 2 1300", Setting("ssb"), 200, "1300"),
    Contestant("Codec 2 700C", Setting("ssb"), 200, "700C"),
    Contestant("Codec 2 700C, BPSK", Setting("ssb", "bpsk"), 400, "700C"),
)


@dataclass(frozen=True)
class Losses:
    """What one point of the modem did.

    Attributes:
        lost: bool, one a packet of all utterances, in their order.
        ebn0_db: energy of header and payload for each bit of a mean packet.
        air_share: of the time that something is sent.
    """

    lost: np.ndarray
    ebn0_db: float
    air_share: float

    @property
    def channel(self) -> Channel:
        """Returns the loss and the mean burst that a receiver would report."""
        starts = np.sum(self.lost[1:] & ~self.lost[:-1]) + self.lost[0]
        return Channel(float(self.lost.mean()), max(1.0, float(self.lost.sum() / max(1, starts))))


def on_air(
    contestant: Contestant, sizes: list[int], channel: str, snr_db: float, seed: int = 1
) -> Losses:
    """Sends random packets of ``sizes`` bytes, each when its speech is complete."""
    setting, radio = contestant.setting, contestant.setting.radio
    packets = [np.random.default_rng([7, n]).bytes(size) for n, size in enumerate(sizes)]
    slot_s = contestant.packet_ms / 1000
    sent, spans = in_time(setting, transmit(setting, packets), sizes, slot_s)
    slot, air = round(slot_s * radio.sample_rate), int(np.sum(spans[:, 1] - spans[:, 0]))
    # Half a second more: the receiver wants to see behind a burst.
    x = np.zeros(slot * len(sizes) + air // 8 + 3600, dtype=np.complex64)
    x[: len(sent)] = sent
    energy = energies(setting, round(float(np.mean(sizes))))
    es_n0 = 10 ** (snr_db / 10) * NOISE_BANDWIDTH_HZ / radio.symbol_rate
    noise_power = energy.symbol / es_n0
    received, _ = receive(
        setting,
        x,
        noise_power,
        seed,
        carrier_offset_hz=OFFSET_HZ,
        clock_ppm=CLOCK_PPM,
        **fading_of(channel),
    )
    there = set(received)
    lost = np.array([packet not in there for packet in packets])
    bits = 8 * float(np.mean(sizes))
    ebn0_db = decibels(energy.used / bits / noise_power)
    return Losses(lost, ebn0_db, air / (slot * len(sizes)))


def fading_of(channel: str) -> dict[str, object]:
    """The fading of a channel by its name, as ``radio_channel`` takes it."""
    if channel.startswith("Rayleigh"):
        return {"fading": "rayleigh", "doppler_hz": DOPPLER_HZ}
    if channel.startswith("Two paths"):
        return {"fading": "selective", "doppler_hz": DOPPLER_HZ, "delay_us": ECHO_US}
    return {}


@cache
def speech_of(file: str) -> np.ndarray:
    """Reads the speech of a file, float32 at 24 kHz, once a process."""
    return read_audio(Path(file))


@cache
def tokens_of(file: str) -> tuple[list, np.ndarray]:
    """Frames of a file as the codec makes them, and the time of each in ms."""
    return encoded("embedded", speech_of(file).tobytes())


def codec2(contestant: Contestant, file: str) -> tuple[Codec2, Packets]:
    """Codec 2 and its packets of a file."""
    system = Codec2(contestant.mode, contestant.packet_ms)
    return system, system.encode(speech_of(file), LossChannel(0.0))


def sizes_of(contestant: Contestant, file: str, channel: Channel) -> list[int]:
    """Bytes of each packet of a file."""
    if not contestant.mode:
        return [len(p) for p in own_packets(contestant, tokens_of(file)[0], channel)]
    system, packets = codec2(contestant, file)
    frames = contestant.packet_ms // system.frame_ms
    return [math.ceil((system.bits * frames + SEQUENCE_BITS) / 8)] * len(packets.data)


@dataclass(frozen=True)
class Job:
    """One utterance of one contestant through known losses."""

    contestant: Contestant
    file: str
    channel: Channel
    lost: tuple[bool, ...]
    concealer: str
    measures: tuple[str, ...]
    text: str | None = None


def decoded(job: Job) -> np.ndarray:
    """Returns the speech that is played at the other end, at 24 kHz."""
    speech, lost = speech_of(job.file), np.array(job.lost)
    if job.contestant.mode:
        system, packets = codec2(job.contestant, job.file)
        return system.decode(packets, lost, len(speech)).speech
    frames, times = tokens_of(job.file)
    packets = own_packets(job.contestant, frames, job.channel)
    of = job.contestant
    came = received(packets, lost, of.layout, of.frames, len(frames))
    own = OwnSystem("ours", concealer=job.concealer)
    facts = {"frames": frames, "encode_ms": times}
    return own.play(Packets(np.zeros(0), np.zeros(0), 0.0, [], facts), came, len(speech)).speech


def score(job: Job) -> dict[str, float]:
    """Returns the measures of a job's decoded speech, by name."""
    values = measure(list(job.measures), speech_of(job.file), decoded(job), job.text)
    return {name: rounded(value) for name, value in values.items()}


def rounded(value: float | str) -> float | str:
    """A measure as CSV files have it; what it says in words stays."""
    return round(value, 4) if isinstance(value, float) else value


@dataclass(frozen=True)
class Point:
    """One contestant at one SNR; what was reported to it, and its bytes, utterance by utterance."""

    contestant: Contestant
    channel: str
    snr_db: float
    reported: Channel
    sizes: tuple[tuple[int, ...], ...]
    seed: int

    @property
    def key(self) -> str:
        """The same for the same run of the modem."""
        who = self.contestant
        of = (who.name, who.setting, who.packet_ms, self.sizes, self.seed)
        return key_of(self.channel, self.snr_db, *of)


def all_on_air(points: list[Point]) -> list[Losses]:
    """Sends the packets of all points, one point after the other."""
    return [
        on_air(p.contestant, list(sum(p.sizes, ())), p.channel, p.snr_db, p.seed) for p in points
    ]


def losses_of(points: list[Point], kept: Cache) -> list[Losses]:
    """What the modem does at each of the points."""
    of = {point.key: point for point in points}
    missing = kept.missing(list(of))
    for first in range(0, len(missing), RUNS_TOGETHER):
        keys = missing[first : first + RUNS_TOGETHER]
        for key, found in zip(keys, alone(all_on_air, [of[k] for k in keys]), strict=True):
            kept.add(key, [found.lost.astype(int).tolist(), found.ebn0_db, found.air_share])
        print(f"modem: {min(first + RUNS_TOGETHER, len(missing))} of {len(missing)}", flush=True)
    return [Losses(np.array(lost, dtype=bool), *rest) for lost, *rest in (kept[k] for k in of)]


def points_of(
    policy: str, rows: list[dict], reported: dict[tuple, Channel], seed: int
) -> list[Point]:
    """Points of the contestants with this policy, or of all others where it is empty.

    Args:
        reported: by channel and SNR; without, nothing is known.
    """
    found = []
    for contestant in CONTESTANTS:
        if (contestant.policy == "exact") != (policy == "exact"):
            continue
        for channel, snrs in POINTS.items():
            for snr_db in snrs:
                told = reported.get((channel, snr_db), Channel(0.0))
                sizes = (tuple(sizes_of(contestant, row["file"], told)) for row in rows)
                found.append(Point(contestant, channel, snr_db, told, tuple(sizes), seed))
    return found


def scores_of(jobs: list[Job], kept: Cache, processes: int) -> list[dict]:
    """Measures of each job; equal jobs are done once."""
    of = {key_of(job): job for job in jobs}
    # Of few files the tokens are remembered.
    missing = sorted(kept.missing(list(of)), key=lambda key: of[key].file)
    todo = [of[key] for key in missing]
    for key, values in zip(missing, results_of(score, todo, processes), strict=True):
        kept.add(key, values)
    return [kept[key_of(job)] for job in jobs]


def table_of(rows: list[dict], args: argparse.Namespace, names: list[str]) -> list[dict]:
    """One row an utterance and point."""
    kept = Cache(args.output / "radio_speech_cells")
    points = points_of("", rows, {}, args.seed)
    losses = losses_of(points, kept)
    # The losses of ours without reports are what is reported.
    reported = {
        (point.channel, point.snr_db): found.channel
        for point, found in zip(points, losses, strict=True)
        if point.contestant.policy == "fixed"
    }
    later = points_of("exact", rows, reported, args.seed)
    points, losses = points + later, losses + losses_of(later, kept)
    out, jobs = [], []
    for point, found in zip(points, losses, strict=True):
        at = 0
        for row, count in zip(rows, map(len, point.sizes), strict=True):
            lost = tuple(found.lost[at : at + count].tolist())
            at += count
            job = (point.contestant, row["file"], point.reported, lost)
            jobs.append(Job(*job, args.concealer, tuple(names)))
            out.append(
                {
                    "channel": point.channel,
                    "system": point.contestant.name,
                    "snr_db": point.snr_db,
                    "mean_power_snr_db": round(point.snr_db + decibels(found.air_share), 2),
                    "ebn0_db": round(found.ebn0_db, 2),
                    "air_share": round(found.air_share, 3),
                    "per": round(float(found.lost.mean()), 4),
                    "utterance": row["path"],
                    "packets_lost": round(float(np.mean(lost)), 4),
                }
            )
    if not names:
        return out
    values = scores_of(jobs, kept, args.processes)
    return [row | of for row, of in zip(out, values, strict=True)]


def draw(rows: list[dict], names: list[str]) -> plt.Figure:
    """Means over the utterances against SNR, a column a channel."""
    shown = ["packets_lost", *names]
    size = (6 * len(POINTS), 3.4 * len(shown) + 0.8)
    figure, grid = plt.subplots(len(shown), len(POINTS), figsize=size, squeeze=False)
    for line, name in zip(grid, shown, strict=True):
        for axis, channel in zip(line, POINTS, strict=True):
            for contestant in CONTESTANTS:
                of = [r for r in rows if (r["channel"], r["system"]) == (channel, contestant.name)]
                points = [
                    (x, *mean_half([r[name] for r in of if r["snr_db"] == x]))
                    for x in POINTS[channel]
                ]
                x, y, half = zip(*points, strict=True)
                axis.errorbar(x, y, half, marker=".", capsize=2, label=contestant.name)
            if channel == "white noise":
                for quoted, threshold in RADE_QUOTED.items():
                    axis.axvline(threshold, color="grey", linestyle=":", linewidth=1)
                    where = (threshold, 0.02)
                    transform = axis.get_xaxis_transform()
                    axis.text(*where, f"{quoted} (quoted)", rotation=90, fontsize=7, color="grey",
                              transform=transform, ha="right")  # fmt: skip
            axis.set_title(f"{channel}: {name}", fontsize=10)
            axis.set_xlabel("SNR in 3 kHz while sending (dB)")
            axis.grid(True, alpha=0.3)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0.4 / size[1], 1, 1))
    return figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser)
    add = parser.add_argument
    add("--utterances", type=at_least_one, default=6, help="of different speakers [6]")
    add("--concealer", choices=METHODS, default="interpolate", help="of ours [%(default)s]")
    add("--measures", default=",".join(MEASURES), help="[%(default)s]; empty: losses alone")
    add("--processes", type=at_least_one, default=1)


def study(args: argparse.Namespace) -> None:
    """Measures, writes, draws and prints."""
    names = usable(args.measures.split(",")) if args.measures else []
    rows = spread(utterances(args.speech, args.utterances), args.utterances)
    table = table_of(rows, args, names)
    save_rows(args, "radio_speech", table)
    save_figure(args, "radio_speech", draw(table, names), dpi=80)
    labels = ["channel", "snr_db", "system", "per", "ebn0_db", "mean_power_snr_db"]
    print(markdown(means(table, labels, names)))

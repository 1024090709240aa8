# SPDX-License-Identifier: GPL-3.0-or-later
"""Words against SNR: analogue speech beside packets over the same modem's band, as CSV and PNG.

    largesc study radio_analogue --speech TABLE --output FOLDER

All have 2.25 kHz and the same power while sending, and go through radio_channel with the same
fading at the same time. SNR is that of the power while sending over the noise in 3 kHz.

What the modem did and what was measured is kept in FOLDER: a run that was cut short goes on there.
"""

import argparse
import gc
import math
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
from gnuradio import analog, blocks, gr

from ... import radio_channel
from ...control.policies import Channel
from ...evaluation.cache import Cache, key_of
from ...evaluation.measures import measure, usable
from ...evaluation.utterances import spread, utterances
from ...models.store import EMBEDDED, known_sha256
from ...options import AnalogueOptions
from ...radio.air import NOISE_BANDWIDTH_HZ, SILENCE_SYMBOLS, SimulatedAir
from ...radio.speech_burst import BURST_S, OVER_SYMBOLS
from ...radio.symbol_burst import find_symbol_profile
from ...speech.format import SAMPLE_RATE_HZ
from ...tables import markdown, means
from ...tasks.analogue_loopback import slots_of
from ...tasks.analogue_speech import AnalogueReceiver, AnalogueSender
from ..processes import results_of
from ..study import add_common, at_least_one, plt, save_figure, save_rows
from .own_packets import Contestant
from .runs import AMPLITUDE, Setting
from .speech import (
    CLOCK_PPM,
    OFFSET_HZ,
    Job,
    Point,
    fading_of,
    losses_of,
    rounded,
    scores_of,
    sizes_of,
    speech_of,
)

POINTS = {
    "white noise": (-6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 3.0, 6.0),
    "Rayleigh, 1 Hz": (-3.0, 0.0, 6.0, 12.0),
    "Two paths, 1 ms apart, 1 Hz": (0.0, 6.0, 12.0),
}
MEASURES = ("words_tiny", "stoi", "visqol")
ANALOGUE = "ours, analogue"
FIXED = Contestant("ours, 8 tokens", Setting("ssb"), 160, policy="fixed")
EXACT = Contestant("ours, exact", Setting("ssb"), 160, policy="exact")
PARITY = Contestant("ours, exact, parity", Setting("ssb"), 160, policy="exact", layout="parity")
SLOW = Contestant("ours, 4 tokens, BPSK", Setting("ssb", "bpsk"), 320, policy="fixed", tokens=4)
CODEC2 = Contestant("Codec 2 700C, BPSK", Setting("ssb", "bpsk"), 400, "700C")
# As it comes.
CONCEALER = "interpolate"


@dataclass(frozen=True)
class Utterance:
    """A file, and what is said in it."""

    file: str
    text: str | None


@dataclass(frozen=True)
class Run:
    """All utterances as analogue speech at one SNR; ``model`` is the sum of the weights."""

    channel: str
    snr_db: float
    utterances: tuple[Utterance, ...]
    measures: tuple[str, ...]
    seed: int
    model: str


@dataclass(frozen=True)
class Sent:
    """All utterances one behind the other, as the modem has them.

    Attributes:
        samples: complex64 ``[n]``.
        firsts: number of the first burst or pause of each utterance.
        bursts: that are sent.
        power: mean of a sample while sending.
    """

    samples: np.ndarray
    firsts: list[int]
    bursts: int
    power: float


@cache
def sent(files: tuple[str, ...]) -> Sent:
    """What is sent of these files, made once a process."""
    sender = AnalogueSender(AnalogueOptions())
    sps, slots, firsts = sender.profile.samples_per_symbol, [], []
    for file in files:
        sender.reset()
        firsts.append(len(slots))
        slots += slots_of(sender, [speech_of(file)])
    symbols = np.concatenate([*slots, np.zeros(OVER_SYMBOLS + 2 * sender.length, np.complex64)])
    plain = SimulatedAir(sender.profile, None, None, 0.0, np.random.default_rng())
    samples = AMPLITUDE * plain.piece(np.pad(symbols, SILENCE_SYMBOLS), 0.0)
    bursts = sum(bool(np.any(slot)) for slot in slots)
    energy = float(np.sum(np.abs(samples) ** 2))
    return Sent(samples, firsts, bursts, energy / (bursts * sender.length * sps))


def heard(what: Sent, noise_power: float, run: Run) -> tuple[np.ndarray, dict[str, float]]:
    """What a receiver plays, on the clock of what was said.

    Returns:
        Speech; and ``lost`` bursts by those sent, ``core_share`` of the receiver.
    """
    samples = what.samples
    receiver = AnalogueReceiver(AnalogueOptions())
    tb = gr.top_block("analogue", catch_exceptions=False)
    source = blocks.vector_source_c(samples.tolist())
    air = radio_channel(
        sample_rate=receiver.profile.sample_rate,
        seed=run.seed,
        carrier_offset_hz=OFFSET_HZ,
        clock_ppm=CLOCK_PPM,
        **fading_of(run.channel),
    )
    # A noise source of its own: that of the channel model repeats itself.
    noise = analog.noise_source_c(analog.GR_GAUSSIAN, float(np.sqrt(noise_power)), run.seed)
    count, add = blocks.head(gr.sizeof_gr_complex, len(samples)), blocks.add_cc()
    sink = blocks.vector_sink_c()
    tb.connect(source, air, (add, 0))
    tb.connect(noise, count, (add, 1))
    tb.connect(add, sink)
    tb.run()
    received = np.array(sink.data(), dtype=np.complex64)
    del tb, source, air, noise, count, add, sink
    gc.collect()
    began = time.process_time()
    played = np.concatenate([receiver.push(received), receiver.flush()])
    share = (time.process_time() - began) * receiver.profile.sample_rate / len(received)
    lost = 1.0 - receiver.counters["bursts"] / what.bursts
    # The channel's filters delay by less than a frame.
    late = receiver.delay_s - BURST_S
    facts = {"lost": round(lost, 4), "core_share": round(share, 3)}
    return played[round(late * SAMPLE_RATE_HZ) :], facts


def analogue_scores(run: Run) -> list[dict]:
    """Measures of each utterance of a run, and what the receiver and the sender were like."""
    what = sent(tuple(one.file for one in run.utterances))
    profile = find_symbol_profile(AnalogueOptions.profile)
    es_n0 = 10 ** (run.snr_db / 10) * NOISE_BANDWIDTH_HZ / profile.symbol_rate
    noise_power = what.power * profile.samples_per_symbol / es_n0
    (played, facts), found = heard(what, noise_power, run), []
    peak = float(np.abs(what.samples).max()) / math.sqrt(what.power)
    for one, first in zip(run.utterances, what.firsts, strict=True):
        speech = speech_of(one.file)
        begin = round(first * BURST_S * SAMPLE_RATE_HZ)
        part = np.zeros(len(speech), dtype=np.float32)
        there = played[begin : begin + len(speech)]
        part[: len(there)] = there
        values = measure(list(run.measures), speech, part, one.text)
        values = {name: rounded(value) for name, value in values.items()}
        found.append(values | facts | {"peak_by_rms": round(peak, 2)})
    return found


def analogue_rows(chosen: list[dict], args: argparse.Namespace, names: list[str]) -> list[dict]:
    """One row for each utterance and SNR, as analogue speech."""
    kept = Cache(args.output / "radio_analogue_cells")
    said = tuple(Utterance(row["file"], row.get("text")) for row in chosen)
    model = known_sha256(EMBEDDED)["analogue.safetensors"]
    runs = [
        Run(channel, snr_db, said, tuple(names), args.seed, model)
        for channel, snrs in POINTS.items()
        for snr_db in snrs
    ]
    of = {key_of(run): run for run in runs}
    missing = kept.missing(list(of))
    todo = [of[key] for key in missing]
    found = results_of(analogue_scores, todo, args.processes)
    for key, values in zip(missing, found, strict=True):
        kept.add(key, values)
    return [
        {"channel": run.channel, "system": ANALOGUE, "snr_db": run.snr_db}
        | {"utterance": row["path"]}
        | values
        for key, run in of.items()
        for row, values in zip(chosen, kept[key], strict=True)
    ]


def points_of(
    contestant: Contestant, chosen: list[dict], told: dict[tuple, Channel], seed: int
) -> list[Point]:
    """A contestant at each SNR; ``told`` is what was reported to it, by channel and SNR."""
    found = []
    for channel, snrs in POINTS.items():
        for snr_db in snrs:
            known = told.get((channel, snr_db), Channel(0.0))
            sizes = tuple(tuple(sizes_of(contestant, row["file"], known)) for row in chosen)
            found.append(Point(contestant, channel, snr_db, known, sizes, seed))
    return found


def packet_rows(chosen: list[dict], args: argparse.Namespace, names: list[str]) -> list[dict]:
    """One row an utterance, SNR and system that sends packets."""
    kept = Cache(args.output / "radio_analogue_cells")
    first = points_of(FIXED, chosen, {}, args.seed)
    reported = {
        (point.channel, point.snr_db): losses.channel
        for point, losses in zip(first, losses_of(first, kept), strict=True)
    }
    points = []
    for contestant in (EXACT, PARITY):
        points += points_of(contestant, chosen, reported, args.seed)
    for contestant in (SLOW, CODEC2):
        points += points_of(contestant, chosen, {}, args.seed)
    jobs, rows = [], []
    for point, losses in zip(points, losses_of(points, kept), strict=True):
        at = 0
        for row, count in zip(chosen, map(len, point.sizes), strict=True):
            lost = tuple(losses.lost[at : at + count].tolist())
            at += count
            facts = (point.contestant, row["file"], point.reported, lost, CONCEALER, tuple(names))
            jobs.append(Job(*facts, row.get("text")))
            rows.append(
                {
                    "channel": point.channel,
                    "system": point.contestant.name,
                    "snr_db": point.snr_db,
                    "lost": round(float(np.mean(lost)), 4),
                    "utterance": row["path"],
                }
            )
    if args.modem:
        return []
    values = scores_of(jobs, kept, args.processes)
    return [row | of for row, of in zip(rows, values, strict=True)]


def original_rows(chosen: list[dict], names: list[str]) -> list[dict]:
    """Of each utterance as it was said, the words that the recogniser has wrong."""
    found = []
    for row in chosen:
        speech = speech_of(row["file"])
        words = [name for name in names if name.startswith("words")]
        values = measure(words, speech, speech, row.get("text"))
        facts = {"channel": "none", "system": "original speech", "snr_db": "", "lost": ""}
        found.append(
            facts | {"utterance": row["path"]} | {k: rounded(v) for k, v in values.items()}
        )
    return found


def draw(rows: list[dict], names: list[str]) -> plt.Figure:
    """Means over the utterances against SNR, a column a channel."""
    systems = list(dict.fromkeys(row["system"] for row in rows if row["channel"] in POINTS))
    shape = (len(names), len(POINTS))
    figure, grid = plt.subplots(*shape, figsize=(12, 3.2 * len(names) + 0.6), squeeze=False)
    for line, name in zip(grid, names, strict=True):
        for axis, channel in zip(line, POINTS, strict=True):
            for system in systems:
                of = [r for r in rows if (r["channel"], r["system"]) == (channel, system)]
                x = sorted({r["snr_db"] for r in of})
                y = [pooled([r for r in of if r["snr_db"] == snr], name) for snr in x]
                style = {"linewidth": 2.5} if system == ANALOGUE else {}
                axis.plot(x, y, marker=".", label=system, **style)
            axis.set_title(f"{channel}: {LABELS.get(name, name)}", fontsize=10)
            axis.set_xlabel("SNR in 3 kHz while sending (dB)")
            axis.grid(True, alpha=0.3)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return figure


LABELS = {"words_tiny": "words wrong, Whisper tiny.en", "stoi": "STOI", "visqol": "ViSQOL"}


def pooled(rows: list[dict], name: str) -> float:
    """Mean of a measure; of words, all that are wrong by all there are."""
    of = [row for row in rows if isinstance(row.get(name), (int, float)) and row[name] == row[name]]
    weights = [float(row.get(f"{name}_of", 1.0)) for row in of]
    if not of:
        return float("nan")
    return float(np.average([float(row[name]) for row in of], weights=weights))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser)
    add = parser.add_argument
    add("--utterances", type=at_least_one, default=12, help="of different speakers [12]")
    add("--corpus", default="", help="those of which the name begins so [all]")
    add("--measures", default=",".join(MEASURES), help="[%(default)s]")
    add("--processes", type=at_least_one, default=1)
    add("--modem", action="store_true", help="only send the packets, and measure another time")


def study(args: argparse.Namespace) -> None:
    """Measures, writes, draws and prints."""
    names = usable(args.measures.split(","))
    found = [r for r in utterances(args.speech, args.utterances)
             if r.get("corpus", "").startswith(args.corpus)]  # fmt: skip
    chosen = spread(found, args.utterances)
    rows = packet_rows(chosen, args, names)
    if args.modem:
        return
    rows = analogue_rows(chosen, args, names) + [
        row | {"core_share": "", "peak_by_rms": ""} for row in rows
    ]
    save_rows(args, "radio_analogue", rows)
    save_figure(args, "radio_analogue", draw(rows, names), dpi=80)
    print(markdown(means(rows, ["channel", "snr_db", "system"], ["lost", *names])))

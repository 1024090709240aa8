# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a stronger code for the first tokens of a burst pays, at equal air time, as CSV and PNG.

    largesc study radio_unequal --speech TABLE --output FOLDER

A burst of the profile `ssb` has 222 payload symbols, 444 coded bits, for two frames of 8 tokens.
They are split between a first part (packet header and the first n tokens of both frames) and the
rest, each with a CRC-16 of its own and the convolutional code of the profile, its bits repeated or
punctured until the part is full. Beside it stands one code over fewer tokens. Offline: ideal
coherent QPSK, sync and header taken for received; white noise, or Rayleigh fading that stays as it
is for a burst and is drawn anew for the next (1 Hz comes near that).
"""

import argparse
from dataclasses import dataclass

import numpy as np

from ...concealment.concealer import ReceivedFrame
from ...evaluation.measures import measure, usable
from ...evaluation.systems.own import OwnSystem
from ...evaluation.systems.system import Packets
from ...evaluation.utterances import spread, utterances
from ...options import METHODS
from ...radio.codes import PacketCode
from ...radio.profiles import PROFILES, TAIL_BITS
from ...tables import markdown, mean_half, means
from ..processes import results_of
from ..study import add_common, at_least_one, plt, save_figure, save_rows
from .speech import speech_of, tokens_of

FRAMES, TOKENS, TOKEN_BITS, ERASED = 2, 8, 11, 0xFFFF
PACKET_BYTES = 25
CODED_BITS = 2 * PROFILES["ssb"].payload_symbols(PACKET_BYTES)
HEADER_BITS, CRC_BITS = 24, 16
# Channel, and Es/N0 in dB.
POINTS = {
    "white noise": (1.0, 2.0, 3.0, 4.0),
    "Rayleigh by the burst": (6.0, 10.0, 14.0),
}


@dataclass(frozen=True)
class Split:
    """How a burst is divided.

    Attributes:
        name: for tables.
        first: tokens of a frame in the first part.
        tokens: of a frame that are sent at all; as many as ``first``: there is no second part.
        first_coded: coded bits of the first part.
    """

    name: str
    first: int
    tokens: int
    first_coded: int

    def parts(self) -> list[tuple[int, int]]:
        """Information bits (CRC included) and coded bits of each part."""
        found = [(HEADER_BITS + FRAMES * TOKEN_BITS * self.first + CRC_BITS, self.first_coded)]
        if self.tokens > self.first:
            rest = FRAMES * TOKEN_BITS * (self.tokens - self.first) + CRC_BITS
            found.append((rest, CODED_BITS - self.first_coded))
        return found

    def rates(self) -> str:
        """Returns the code rates of the parts, as text for the table."""
        return ", ".join(f"{bits / coded:.2f}" for bits, coded in self.parts())


SPLITS = (
    Split("one code, 8 tokens", 8, 8, CODED_BITS),
    Split("one code, 5 tokens", 5, 5, CODED_BITS),
    Split("one code, 3 tokens", 3, 3, CODED_BITS),
    Split("1 token first, 8 in all", 1, 8, 180),
    Split("2 tokens first, 8 in all", 2, 8, 220),
    Split("2 tokens first, 6 in all", 2, 6, 240),
)


def fitted(coded: int, room: int) -> np.ndarray:
    """int ``[room]``: which of ``coded`` bits are sent, evenly repeated or left out."""
    return np.arange(room) * coded // room


def errors(
    bits: int, room: int, gains: np.ndarray, es_n0: float, random: np.random.Generator
) -> np.ndarray:
    """Which bursts have a part that cannot be read, bool ``[bursts]``.

    Args:
        bits: of the part, CRC included.
        room: coded bits that are sent of it.
        gains: amplitude of each burst, of mean power 1.
        es_n0: mean, of a QPSK symbol, as a ratio.
    """
    code, coded = PacketCode("convolutional"), 2 * (bits + TAIL_BITS)
    places = fitted(coded, room)
    wrong = np.zeros(len(gains), dtype=bool)
    # A coded bit has half a symbol's energy.
    amplitude, deviation = 1.0, np.sqrt(1.0 / es_n0)
    for n, gain in enumerate(gains):
        sent = random.integers(0, 2, bits).astype(np.uint8)
        signal = (2.0 * code.encode(sent)[places] - 1.0) * amplitude * gain
        heard = gain * (signal + deviation * random.standard_normal(room))
        soft = np.bincount(places, heard, coded)
        wrong[n] = not np.array_equal(code.decode(soft, bits), sent)
    return wrong


def received_tokens(
    split: Split, channel: str, es_n0_db: float, bursts: int, seed: int = 3
) -> np.ndarray:
    """Tokens of each frame that arrive, int ``[bursts]``; the same noise and fades each time."""
    random = np.random.default_rng([seed, round(10 * es_n0_db)])
    gains = np.ones(bursts)
    if channel.startswith("Rayleigh"):
        gains = np.abs(random.standard_normal(bursts) + 1j * random.standard_normal(bursts))
        gains /= np.sqrt(2.0)
    es_n0 = 10 ** (es_n0_db / 10)
    found = [errors(bits, room, gains, es_n0, random) for bits, room in split.parts()]
    # The rest without the first part is no prefix, and cannot be used.
    tokens = np.where(found[0], 0, split.first)
    if len(found) > 1:
        tokens = np.where(~found[0] & ~found[1], split.tokens, tokens)
    return tokens


@dataclass(frozen=True)
class Job:
    """One utterance of which each burst brings so many tokens a frame."""

    file: str
    tokens: tuple[int, ...]
    concealer: str
    measures: tuple[str, ...]


def score(job: Job) -> dict[str, float]:
    """Returns the distortion and the measures of a job, by name."""
    speech = speech_of(job.file)
    frames, times = tokens_of(job.file)
    values = {"distortion": distortion(frames, job.tokens)}
    if job.measures:
        values |= measure(list(job.measures), speech, decoded(job, frames, times, len(speech)))
    return {name: round(value, 4) for name, value in values.items()}


def decoded(job: Job, frames: list, times: np.ndarray, samples: int) -> np.ndarray:
    """Speech of the tokens that arrive."""
    received = []
    for n, frame in enumerate(frames):
        tokens = frame.tokens.astype(np.uint16).copy()
        tokens[job.tokens[n // FRAMES] :] = ERASED
        received.append(ReceivedFrame(n, tokens, False, None))
    own = OwnSystem("ours", concealer=job.concealer)
    facts = {"frames": frames, "encode_ms": times}
    return own.play(Packets(np.zeros(0), np.zeros(0), 0.0, [], facts), received, samples).speech


def distortion(frames: list, tokens: tuple[int, ...]) -> float:
    """What the policy ``exact`` minimises, as a share of what it is where nothing arrives.

    The latent's squared error with as many tokens as arrive, of each frame, weighted by loudness.
    """
    weights = 10.0 ** (0.03 * np.array([f.level_dbfs for f in frames]))
    errors = np.array([f.distortion for f in frames]) * weights[:, None]
    there = errors[np.arange(len(frames)), np.repeat(tokens, FRAMES)[: len(frames)]]
    return float(there.sum() / errors[:, 0].sum())


def table(rows: list[dict], args: argparse.Namespace, names: list[str]) -> list[dict]:
    """One row an utterance, split and point."""
    counts = [-(-len(tokens_of(row["file"])[0]) // FRAMES) for row in rows]
    out, jobs = [], []
    for channel, points in POINTS.items():
        for es_n0_db in points:
            for split in SPLITS:
                tokens = received_tokens(split, channel, es_n0_db, sum(counts), args.seed)
                at = 0
                for row, count in zip(rows, counts, strict=True):
                    part = tuple(tokens[at : at + count].tolist())
                    at += count
                    jobs.append(Job(row["file"], part, args.concealer, tuple(names)))
                    out.append(
                        {
                            "channel": channel,
                            "split": split.name,
                            "rates": split.rates(),
                            "esn0_db": es_n0_db,
                            "nothing": round(float(np.mean(tokens == 0)), 4),
                            "part": round(
                                float(np.mean((tokens > 0) & (tokens < split.tokens))), 4
                            ),
                            "utterance": row["path"],
                        }
                    )
    # Of few files the tokens are remembered.
    once = sorted(dict.fromkeys(jobs), key=lambda job: job.file)
    values = dict(zip(once, results_of(score, once, args.processes), strict=True))
    return [row | values[job] for row, job in zip(out, jobs, strict=True)]


def draw(rows: list[dict], names: list[str]) -> plt.Figure:
    """Means over the utterances against Es/N0, a column a channel."""
    size = (5 * len(POINTS), 3.6 * len(names) + 1.2)
    figure, grid = plt.subplots(len(names), len(POINTS), figsize=size, squeeze=False)
    for line, name in zip(grid, names, strict=True):
        for axis, (channel, points) in zip(line, POINTS.items(), strict=True):
            for split in SPLITS:
                of = [r for r in rows if (r["channel"], r["split"]) == (channel, split.name)]
                middle = [mean_half([r[name] for r in of if r["esn0_db"] == x])[0] for x in points]
                style = "-" if split.tokens == split.first else "--"
                label = f"{split.name} (rate {split.rates()})"
                axis.plot(points, middle, style, marker=".", label=label)
            axis.set_title(f"{channel}: {name}", fontsize=10)
            axis.set_xlabel("Es/N0 (dB)")
            axis.grid(True, alpha=0.3)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.7 / size[1], 1, 1))
    return figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, seed=3)
    add = parser.add_argument
    add("--utterances", type=at_least_one, default=6, help="of different speakers [6]")
    add("--concealer", choices=METHODS, default="interpolate", help="[%(default)s]")
    add("--measures", default="", help="such as visqol,stoi; takes long [none]")
    add("--processes", type=at_least_one, default=1)


def study(args: argparse.Namespace) -> None:
    """Measures, writes, draws and prints."""
    names = usable(args.measures.split(",")) if args.measures else []
    shown = ["distortion", *names]
    rows = spread(utterances(args.speech, args.utterances), args.utterances)
    found = table(rows, args, names)
    save_rows(args, "radio_unequal", found)
    save_figure(args, "radio_unequal", draw(found, shown), dpi=80)
    labels = ["channel", "esn0_db", "split", "rates", "nothing", "part"]
    print(markdown(means(found, labels, shown)))

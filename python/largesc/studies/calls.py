# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the calls that one machine carries in real time: in one process, and a process a call.

    largesc study calls --speech eval.tsv --output FOLDER

A fifth of the frames is lost. Each run is paced as a link is, a step each 80 ms. Writes
``calls.csv``, a row a run: what a step of all calls takes, processor time of a call's part of it,
and memory; and ``calls.png``. Counted are codec and concealer, not sockets and files.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from .._core import ERASED_TOKEN
from ..evaluation.utterances import utterances
from ..speech.files import read_audio
from ..speech.format import FRAME_MS, FRAME_SAMPLES
from .study import add_common, at_least_one, plt, save_figure, save_rows

KINDS = ("receive", "send", "both")
WAYS = ("one process", "a process a call")
WARM_UP_STEPS = 5
GROWTH = 4
LOST = 0.2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser)
    parser.add_argument("--most", type=at_least_one, default=64, help="calls [%(default)s]")
    parser.add_argument(
        "--most-processes", type=at_least_one, default=4, help="of the second way [%(default)s]"
    )
    parser.add_argument("--seconds", type=at_least_one, default=10, help="a run [%(default)s]")
    parser.add_argument(
        "--threads", type=at_least_one, default=1, help="of each process [%(default)s]"
    )
    parser.add_argument("--kinds", default=",".join(KINDS))


class Receiving:
    """Receivers of some calls: concealed and decoded."""

    def __init__(self, calls: int, tokens: np.ndarray, seed: int) -> None:
        from ..codec.codebooks import codebooks_of
        from ..codec.load import load_codec
        from ..codec.speech_decoder import SpeechDecoders
        from ..concealment.load import concealer_maker
        from ..concealment.together import Codebooks, ConcealerGroup

        codec = load_codec()
        books = codebooks_of(codec.model)
        self._decoders = SpeechDecoders(codec, calls)
        self._group, make = ConcealerGroup(Codebooks(books)), concealer_maker("interpolate", books)
        self._calls = {self._decoders.open(): make() for _ in range(calls)}
        self._tokens, self._rng, self._at = tokens, np.random.default_rng(seed), 0

    def step(self) -> None:
        """Conceals and decodes the next frame of each call."""
        from ..concealment.concealer import ReceivedFrame
        from ..gateway.gateway import to_decode

        turns = {}
        for stream, concealer in self._calls.items():
            place = (self._at + 7 * stream) % (len(self._tokens) - 1)
            tokens = self._tokens[place].copy()
            if self._rng.random() < LOST:
                tokens[:] = ERASED_TOKEN
            frame = ReceivedFrame(self._at, tokens, following=self._tokens[place + 1], sent=8)
            turns[stream] = (concealer, frame)
        self._at += 1
        found = self._group.step(turns)
        self._decoders.decode({stream: to_decode(frame) for stream, frame in found.items()})


class Sending:
    """Encodes the speech of some calls together."""

    def __init__(self, calls: int, speech: np.ndarray) -> None:
        from ..codec.load import load_codec
        from ..codec.speech_encoder import SpeechEncoders

        self._encoders = SpeechEncoders(load_codec(), calls)
        self._streams = [self._encoders.open() for _ in range(calls)]
        self._frames, self._at = speech, 0

    def step(self) -> None:
        """Encodes the next frame of each call."""
        places = {s: (self._at + 7 * s) % len(self._frames) for s in self._streams}
        self._at += 1
        self._encoders.encode({stream: self._frames[n] for stream, n in places.items()})


class Alone:
    """One call as `largesc tx` or `largesc rx` has it."""

    def __init__(self, kind: str, tokens: np.ndarray, speech: np.ndarray, seed: int) -> None:
        from ..codec.load import load_codec
        from ..codec.speech_decoder import SpeechDecoder
        from ..codec.speech_encoder import SpeechEncoder
        from ..concealment.load import load_concealer

        self._tokens, self._speech, self._at = tokens, speech, 0
        self._rng = np.random.default_rng(seed)
        self._encoder = SpeechEncoder(load_codec()) if kind != "receive" else None
        self._decoder = SpeechDecoder(load_codec()) if kind != "send" else None
        self._concealer = load_concealer("interpolate") if kind != "send" else None

    def step(self) -> None:
        """Encodes or decodes the next frame, or both."""
        from ..concealment.concealer import ReceivedFrame

        place = self._at % (len(self._tokens) - 1)
        self._at += 1
        if self._encoder is not None:
            self._encoder.push(self._speech[place % len(self._speech)])
        if self._decoder is not None:
            tokens = self._tokens[place].copy()
            if self._rng.random() < LOST:
                tokens[:] = ERASED_TOKEN
            frame = ReceivedFrame(place, tokens, following=self._tokens[place + 1], sent=8)
            done = self._concealer.step(frame)
            self._decoder.decode(done.tokens, done.gain, done.latent)


def worker(kind: str, calls: int, threads: int, seconds: float, paths: tuple, out: object) -> None:
    """A process: steps of 0 (a process a call) or more calls; sends their times and its memory."""
    import torch

    torch.set_num_threads(threads)
    tokens, speech = (np.load(path) for path in paths)
    if calls == 0:
        parts = [Alone(kind, tokens, speech, 1)]
    else:
        parts = [Receiving(calls, tokens, 1)] if kind != "send" else []
        parts += [Sending(calls, speech)] if kind != "receive" else []
    for _ in range(WARM_UP_STEPS):
        for part in parts:
            part.step()
    out.send(None)
    out.recv()
    out.send((paced(parts, seconds), memory_mib()))


def paced(parts: list, seconds: float) -> list[tuple[float, float]]:
    """What each step took in ms, and its processor time; one each 80 ms."""
    took, due = [], time.monotonic()
    for _ in range(int(1000 * seconds / FRAME_MS)):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + FRAME_MS / 1000, time.monotonic())
        began, computed = time.perf_counter(), time.process_time()
        for part in parts:
            part.step()
        wall, computing = time.perf_counter() - began, time.process_time() - computed
        took.append((1e3 * wall, 1e3 * computing))
    return took


def memory_mib() -> float:
    """Of this process: what it shares with others counts in part."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measured(kind: str, way: str, calls: int, args: argparse.Namespace, paths: tuple) -> dict:
    """A row: all processes begin together."""
    context = multiprocessing.get_context("spawn")
    one = way == WAYS[0]
    given = (kind, calls if one else 0, args.threads)
    pipes, processes = [], []
    for _ in range(1 if one else calls):
        mine, theirs = context.Pipe()
        process = context.Process(target=worker, args=(*given, args.seconds, paths, theirs))
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send(None)
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    took, computing = np.concatenate([times for times, _ in found]).T
    row = {
        "kind": kind,
        "way": way,
        "calls": calls,
        "step_ms_p50": round(float(np.median(took)), 2),
        "step_ms_p95": round(float(np.percentile(took, 95)), 2),
        "computing_ms_a_call": round(float(np.median(computing)) / (calls if one else 1), 3),
        "memory_mib": round(sum(memory for _, memory in found), 1),
    }
    print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


def study(args: argparse.Namespace) -> None:
    """Measures each kind and way, from one call up to what still keeps time."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = prepared(args, Path(folder))
        for kind in args.kinds.split(","):
            for way, most in zip(WAYS, (args.most, args.most_processes), strict=True):
                rows += growing(kind, way, most, args, paths)
    save_rows(args, "calls", rows)
    save_figure(args, "calls", drawn(rows))


def growing(kind: str, way: str, most: int, args: argparse.Namespace, paths: tuple) -> list[dict]:
    """Rows of 1, 4, 16 and more calls, until half of the steps are too long."""
    rows, calls = [], 1
    while calls <= most and not (rows and rows[-1]["step_ms_p50"] > FRAME_MS):
        rows.append(measured(kind, way, calls, args, paths))
        calls *= GROWTH
    return rows


def prepared(args: argparse.Namespace, folder: Path) -> tuple[str, str]:
    """Files of tokens ``[n, 8]`` and of speech ``[n, 1920]``."""
    from ..codec.load import load_codec
    from ..codec.speech_encoder import SpeechEncoder

    files = [row["file"] for row in utterances(args.speech, 4)]
    speech = np.concatenate([read_audio(Path(file)) for file in files])
    speech = speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES]
    tokens = np.stack([frame.tokens for frame in SpeechEncoder(load_codec()).push(speech)])
    paths = (str(folder / "tokens.npy"), str(folder / "speech.npy"))
    np.save(paths[0], tokens)
    np.save(paths[1], speech.reshape(-1, FRAME_SAMPLES))
    return paths


def drawn(rows: list[dict]) -> object:
    """A call's part of a step, against calls."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure, axes = plt.subplots(1, len(kinds), figsize=(4 * len(kinds), 3.5), sharey=True)
    for axis, kind in zip(np.atleast_1d(axes), kinds, strict=True):
        for way in WAYS:
            mine = [row for row in rows if (row["kind"], row["way"]) == (kind, way)]
            axis.plot(
                [r["calls"] for r in mine],
                [r["computing_ms_a_call"] for r in mine],
                "o-",
                label=way,
            )
        axis.set(xscale="log", title=kind, xlabel="calls")
        axis.set_xticks([2**n for n in range(0, 7, 2)], [str(2**n) for n in range(0, 7, 2)])
    # They share it: set before all is drawn it would hold for what comes first.
    np.atleast_1d(axes)[0].set_ylim(bottom=0.0)
    np.atleast_1d(axes)[0].set_ylabel("computing a call and frame, ms")
    np.atleast_1d(axes)[0].legend()
    figure.tight_layout()
    return figure

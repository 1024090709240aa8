# SPDX-License-Identifier: GPL-3.0-or-later
"""What an adaptive playout costs in delay and saves in late tokens, over synthetic jitter.

    largesc study playout --output FOLDER

Prints a table (Markdown) and writes ``playout.csv``, a row for each jitter, loss and playout.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .._core import ERASED_TOKEN, TOKEN_VALUES, Depacketizer, PacketDecision, Packetizer
from ..speech.format import FRAME_MS, FRAME_S
from ..tables import markdown
from .study import add_common, at_least_one, save_rows

FRAME_NS = 80_000_000
# While nothing plays the decoder asks each 10 ms, as the block does.
POLL_NS = 10_000_000
DEADLINE_MS = FRAME_MS
MOST_MS = 400
DECISION = PacketDecision(tokens_sent=6, tokens_repeated=2, copy_distance=1)


def step_ms(random: np.random.Generator, count: int) -> np.ndarray:
    """A quiet third, one of 0 to 200 ms, and a quiet one."""
    bad = np.arange(count) * 3 // count == 1
    return np.where(bad, random.uniform(0, 200, count), random.exponential(5, count))


def jams_ms(random: np.random.Generator, count: int) -> np.ndarray:
    """Every 10 s or so everything is held up for 300 ms."""
    hold = np.zeros(count)
    for first in np.flatnonzero(random.random(count) < 0.08 / 10):
        left = 300 - 80 * np.arange(4)
        hold[first : first + 4] = left[: len(hold[first : first + 4])]
    return hold + random.exponential(5, count)


# Delay of each packet on its way, ms, the shortest near 0.
JITTERS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "none": lambda random, count: np.zeros(count),
    "normal, 20 ms": lambda random, count: np.maximum(0, random.normal(60, 20, count)),
    "normal, 50 ms": lambda random, count: np.maximum(0, random.normal(150, 50, count)),
    "exponential, 20 ms": lambda random, count: random.exponential(20, count),
    "exponential, 50 ms": lambda random, count: random.exponential(50, count),
    "exponential, 100 ms": lambda random, count: random.exponential(100, count),
    "step to 0-200 ms and back": step_ms,
    "held up for 300 ms each 10 s": jams_ms,
}
LOSSES = (0.0, 0.1)


@dataclass
class Played:
    """What became of the frames of one run.

    Attributes:
        delay_ms: from sending to playing, of each frame that was played with tokens.
        late: share of frames that were played without tokens that came in the end.
        inserted, dropped: frames a minute, by jitter or skew.
    """

    delay_ms: np.ndarray
    late: float
    inserted: float
    dropped: float


def packets_of(count: int) -> list[bytes]:
    """Packets of one frame whose first two tokens are its number."""
    packetizer = Packetizer()
    out = []
    for n in range(count):
        tokens = [n % TOKEN_VALUES, n // TOKEN_VALUES, *[0] * 6]
        out += packetizer.push(tokens, DECISION)
    return out


def number_of(tokens: list[int]) -> int | None:
    """Number of the frame, where its first tokens are there."""
    if tokens[0] == ERASED_TOKEN:
        return None
    return tokens[0] + TOKEN_VALUES * tokens[1]


def run(packets: list[bytes], came_ns: np.ndarray, lost: np.ndarray, rx: Depacketizer) -> Played:
    """Plays ``packets``, sent 80 ms apart; those of ``lost`` never come."""
    count = len(packets)
    released_ns: dict[int, int] = {}
    tokens_played = np.zeros(count, dtype=int)
    for due_ns, frame in playout(packets, came_ns, lost, rx):
        n = number_of(frame.tokens)
        if n is not None:
            released_ns[n] = due_ns
            tokens_played[n] = frame.received_tokens
    # A copy is there if the packet behind the lost one has come.
    copied = np.append(~lost[1:], False)
    deserved = np.where(lost, np.where(copied, 2, 0), 6)
    played = np.array(sorted(released_ns))
    delay_ms = np.array([released_ns[n] for n in played]) / 1e6 - FRAME_MS * played
    facts = rx.statistics()
    minutes = count * FRAME_S / 60
    return Played(
        delay_ms=delay_ms,
        late=float(np.mean(tokens_played < deserved)),
        inserted=(facts["playout_grown"] + facts["skew_inserted"]) / minutes,
        dropped=(facts["playout_shrunk"] + facts["skew_dropped"]) / minutes,
    )


def playout(
    packets: list[bytes], came_ns: np.ndarray, lost: np.ndarray, rx: Depacketizer
) -> Iterator[tuple[int, object]]:
    """Time and frame of each pull that gave one."""
    due_ns = 0
    order = [n for n in np.argsort(came_ns, kind="stable") if not lost[n]]
    arrivals = [(int(came_ns[n]), packets[n]) for n in order]
    for now_ns, packet in [*arrivals, (int(came_ns.max()) + 10 * FRAME_NS, b"")]:
        while due_ns < now_ns:
            frame = rx.pull(due_ns)
            if frame is not None:
                yield due_ns, frame
            due_ns += POLL_NS if frame is None else FRAME_NS
        rx.push(packet, now_ns)
        while rx.pop() is not None:
            pass


def measure(minutes: float, seeds: range) -> Iterator[dict]:
    """Rows of the table: a jitter, a loss and a playout each, the mean over the seeds."""
    count = round(minutes * 60 / FRAME_S)
    packets = packets_of(count)
    for jitter, draw in JITTERS.items():
        for loss in LOSSES:
            for most_ms in (80, 160, 240, 400, None):
                runs = []
                for seed in seeds:
                    random = np.random.default_rng(seed)
                    came_ms = FRAME_MS * np.arange(count) + draw(random, count)
                    came_ns = (came_ms * 1e6).astype(int)
                    lost = random.random(count) < loss
                    deadline = most_ms or DEADLINE_MS
                    rx = Depacketizer(
                        live=True,
                        deadline_ms=deadline,
                        max_deadline_ms=0 if most_ms else MOST_MS,
                    )
                    runs.append(run(packets, came_ns, lost, rx))
                delays = np.concatenate([r.delay_ms for r in runs])
                yield {
                    "jitter": jitter,
                    "loss": loss,
                    "playout": f"fixed {most_ms}" if most_ms else f"{DEADLINE_MS} to {MOST_MS}",
                    "delay_ms": round(float(np.mean(delays)), 1),
                    "delay_p95_ms": round(float(np.percentile(delays, 95)), 1),
                    "late_percent": round(100 * float(np.mean([r.late for r in runs])), 2),
                    "inserted_per_minute": round(float(np.mean([r.inserted for r in runs])), 2),
                    "dropped_per_minute": round(float(np.mean([r.dropped for r in runs])), 2),
                }


def table_of(rows: list[dict]) -> list[list[str]]:
    """Delay in ms / late frames in percent; a line a jitter and loss, a column a playout."""
    playouts = list(dict.fromkeys(row["playout"] for row in rows))
    lines = [["jitter", "packets lost", *playouts, "changes a minute"]]
    for jitter, loss in dict.fromkeys((row["jitter"], row["loss"]) for row in rows):
        found = {r["playout"]: r for r in rows if (r["jitter"], r["loss"]) == (jitter, loss)}
        cells = [f"{found[p]['delay_ms']:.0f} / {found[p]['late_percent']:.2f}" for p in playouts]
        last = found[playouts[-1]]
        changes = last["inserted_per_minute"] + last["dropped_per_minute"]
        lines.append([jitter, f"{100 * loss:.0f} %", *cells, f"{changes:.1f}"])
    return lines


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False, seed=0)
    parser.add_argument("--minutes", type=float, default=20.0, help="of each run [20]")
    parser.add_argument("--runs", type=at_least_one, default=5, help="of each kind [5]")


def study(args: argparse.Namespace) -> None:
    """Measures, prints and writes the table; ``--seed`` is that of the first run."""
    rows = list(measure(args.minutes, range(args.seed, args.seed + args.runs)))
    save_rows(args, "playout", rows)
    print(markdown(table_of(rows)))

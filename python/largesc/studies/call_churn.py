# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets calls come and go at a gateway for an hour of its time, and counts what is left behind.

    largesc study call_churn --output FOLDER

A fifth of the packets is lost, in bursts of three. Each call keys a voice on and off in a pattern
of its own: what comes out must follow that pattern, and no other. Writes ``call_churn.csv``, a row
a minute: calls, memory, and how far the patterns heard agree with those sent.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from .._core import LossModel, PacketDecision, Packetizer
from ..codec.load import load_codec
from ..codec.speech_encoder import SpeechEncoder
from ..gateway.gateway import Gateway
from ..gateway.memory import resident_mib
from ..options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from ..speech.format import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from .study import add_common, at_least_one, save_rows

TICK_NS = FRAME_MS * 1_000_000
TICKS_A_MINUTE = 60_000 // FRAME_MS
LOSS, BURST_PACKETS = 0.2, 3.0
# A voice is keyed for so many frames at a time, in a pattern of so many keys.
KEY_FRAMES, PATTERN_KEYS = 3, 80
MEAN_CALL_S, LEAST_CALL_S = 40.0, 20.0
# Frames by which what is heard is late, or by which its begin was lost; behind the fade-in.
MOST_LAG, MOST_LOST, FIRST_FRAMES = 8, 24, 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--minutes", type=at_least_one, default=60, help="[%(default)s]")
    parser.add_argument("--calls", type=at_least_one, default=8, help="at once [%(default)s]")


class Caller:
    """A sender with a pattern, and what is heard of it.

    Args:
        number: of it.
        sounds: tokens of a voice and of silence, lists of 8.
        rng: of its pattern and its length.
    """

    def __init__(self, number: int, sounds: tuple[list, list], rng: np.random.Generator) -> None:
        self.peer = ("10.0.0.1", 1024 + number % 60000)
        self.pattern = rng.permutation(np.arange(PATTERN_KEYS) % 2)
        seconds = LEAST_CALL_S + rng.exponential(MEAN_CALL_S - LEAST_CALL_S)
        self._frames = int(1000 * seconds / FRAME_MS)
        self._leaves_quietly = rng.random() < 0.3
        self._sounds = sounds
        seed = int(rng.integers(2**31))
        self._loss = LossModel("gilbert_elliott", LOSS, BURST_PACKETS, seed=seed)
        self.levels: list[float] = []
        self.closed = False

    def keyed(self, frame: int) -> int:
        """Returns 1 where the voice is on in a frame, 0 where it is silent."""
        return int(self.pattern[frame // KEY_FRAMES % PATTERN_KEYS])

    def packets(self) -> Iterator[list[bytes]]:
        """Those of 80 ms each time that arrive."""
        packetizer = Packetizer(crc=True)
        for frame in range(self._frames):
            tokens = self._sounds[1 - self.keyed(frame)]
            made = packetizer.push(tokens, PacketDecision(8, 0))
            yield [packet for packet in made if not self._loss.lost()]
        if not self._leaves_quietly:
            yield [packetizer.end_packet()] * 3

    def write(self, said: np.ndarray, heard: np.ndarray) -> None:
        """Keeps the level of what the gateway said, as an output of its call."""
        self.levels.append(float(np.sqrt(np.square(said).mean())))

    def close(self) -> None:
        """Notes that the gateway has ended the call."""
        self.closed = True

    def agreement(self, other: "Caller") -> float:
        """Correlation of what was heard here with the other's pattern, where it fits best."""
        heard = np.array(self.levels[FIRST_FRAMES:])
        shifts = range(FIRST_FRAMES - MOST_LAG, FIRST_FRAMES + MOST_LOST)
        sent = [[other.keyed(n + shift) for n in range(len(heard))] for shift in shifts]
        found = [np.corrcoef(heard, np.array(keys, dtype=float))[0, 1] for keys in sent]
        return float(np.nanmax(found))


def sounds() -> tuple[list, list]:
    """Tokens of a hum and of silence."""
    t = np.arange(40 * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    voice = sum(np.sin(2 * np.pi * 130.0 * k * t) / k for k in range(1, 20))
    found = []
    for speech in (0.1 * voice, np.zeros_like(t)):
        frames = SpeechEncoder(load_codec()).push(speech.astype(np.float32))
        found.append(frames[-1].tokens.tolist())
    return found[0], found[1]


class Minute:
    """Collects what happened in one minute of the study."""

    def __init__(self) -> None:
        self.own: list[float] = []
        self.others: list[float] = []
        self.strange = 0

    def row(self, number: int, gateway: Gateway, datagrams: int) -> dict:
        """Returns the row of the table for minute ``number``."""
        steps = list(gateway.step_ms)
        return {
            "minute": number,
            "calls": len(gateway.calls),
            "calls_begun": gateway.counters["calls_begun"],
            "calls_ended": gateway.counters["calls_ended"],
            "datagrams": datagrams,
            "datagrams_counted": gateway.counters["packets"],
            "datagrams_refused": gateway.counters["refused_packets"],
            "memory_mib": round(resident_mib(), 1),
            "step_ms_p95": round(float(np.percentile(steps, 95)), 2),
            "own_pattern_least": round(min(self.own, default=1.0), 3),
            "other_pattern_most": round(max(self.others, default=0.0), 3),
            "heard_another": self.strange,
        }


def study(args: argparse.Namespace) -> int:
    """Runs it; status 1 where a call heard another one, or counters do not add up."""
    rng, voices = np.random.default_rng(args.seed), sounds()
    callers: dict[str, Caller] = {}
    gateway = Gateway(
        # Those that leave without a word keep their places for a while.
        GatewayOptions(calls=2 * args.calls),
        LinkOptions(),
        ReceiverOptions(),
        ReportOptions(),
        lambda name: callers[name],
    )
    talking: dict[str, Iterator[list[bytes]]] = {}
    rows, minute, now_ns, datagrams, number = [], Minute(), 10**12, 0, 0
    for tick in range(args.minutes * TICKS_A_MINUTE):
        if len(talking) < args.calls and rng.random() < 0.1:
            caller = Caller(number, voices, rng)
            number += 1
            name = f"{caller.peer[0]}:{caller.peer[1]}"
            callers[name], talking[name] = caller, caller.packets()
        for name, packets in list(talking.items()):
            arrived = next(packets, None)
            if arrived is None:
                del talking[name]
            for packet in arrived or ():
                gateway.take(packet, callers[name].peer, now_ns)
                datagrams += 1
        now_ns += TICK_NS
        gateway.tick(now_ns)
        judge(callers, talking, minute)
        if tick % TICKS_A_MINUTE == TICKS_A_MINUTE - 1:
            rows.append(minute.row(len(rows) + 1, gateway, datagrams))
            print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
            minute = Minute()
    save_rows(args, "call_churn", rows)
    return 0 if all(is_right(row) for row in rows) else 1


def judge(callers: dict[str, Caller], talking: dict, minute: Minute) -> None:
    """Compares what ended calls were heard with, and forgets them."""
    for name, caller in list(callers.items()):
        if name in talking or not (caller.closed or not caller.levels):
            continue
        del callers[name]
        if len(caller.levels) >= int(1000 * LEAST_CALL_S / FRAME_MS):
            caller.levels = caller.levels[: int(1000 * LEAST_CALL_S / FRAME_MS)]
            own = caller.agreement(caller)
            others = [caller.agreement(other) for other in callers.values()]
            minute.own.append(own)
            minute.others.append(max(others, default=0.0))
            minute.strange += max(others, default=0.0) >= own


def is_right(row: dict) -> bool:
    """Whether counters add up, and every call heard itself."""
    counted = row["datagrams_counted"] == row["datagrams"] and not row["datagrams_refused"]
    calls = row["calls_begun"] - row["calls_ended"] == row["calls"]
    return counted and calls and not row["heard_another"]

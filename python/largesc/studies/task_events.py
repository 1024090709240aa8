# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the study `task`: commands that nobody gave, and an SNR that runs away."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..channel.symbols import SymbolChannel
from ..evaluation.task_link import Heard, logits_of, over_link
from ..options import TaskOptions
from ..radio.profiles import find_profile
from ..radio.task_burst import TaskBurstReceiver
from ..speech.files import read_audio, rows_of
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.noise import coloured
from ..tasks.commands import CommandDecider, CommandEncoder
from ..tasks.model import TaskModel

NOISE_S, TALK_S, PIECE_S = 600, 3600, 10
# Fall of the power with frequency, in dB an octave, and level in dBFS.
NOISES = {"white": (0.0, -40.0), "pink": (-3.0, -40.0), "loud pink": (-3.0, -20.0)}
# Noise whose level wanders, as wind and traffic.
GUSTS_DB, GUSTS_HZ = 12.0, 1.0
AIR_SNR_DB = (20.0, -5.0)
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

STEP_DB_S, LATE_S, SWING_DB = 10.0, 0.5, (-15.0, 15.0)


def noise_of(
    seconds: float, octave_db: float, level_dbfs: float, rng: np.random.Generator
) -> np.ndarray:
    """Coloured noise at 24 kHz, float32."""
    found = coloured(rng, int(seconds * SAMPLE_RATE_HZ), octave_db)
    return (found * 10.0 ** (level_dbfs / 20.0)).astype(np.float32)


def gusty(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Pink noise that comes and goes by 12 dB."""
    found = noise_of(seconds, -3.0, -35.0, rng)
    slow = rng.standard_normal(int(seconds * 2 * GUSTS_HZ) + 2)
    at = np.linspace(0, len(slow) - 1, len(found))
    return (found * 10.0 ** (GUSTS_DB / 20.0 * np.interp(at, np.arange(len(slow)), slow))).astype(
        np.float32
    )


def counted(model: TaskModel, pieces: Iterable[np.ndarray], name: str, seed: int) -> list[dict]:
    """Utterances and commands that were understood in a stream, by SNR of the air."""
    encoder, seconds, commands = CommandEncoder(model), 0.0, []
    for samples in pieces:
        seconds += len(samples) / SAMPLE_RATE_HZ
        commands += encoder.push(samples)
    commands += encoder.flush()
    decider, rows = CommandDecider(model, TaskOptions.confidence), []
    for snr_db in AIR_SNR_DB:
        channel, understood = SymbolChannel("awgn", snr_db, seed), []
        for command in commands:
            burst = encoder.burst(command, snr_db, TaskOptions.symbols)
            y, _ = channel(torch.from_numpy(burst)[None])
            decision = decider.decide(y[0].numpy(), snr_db, 1.0, command.index)
            if decision.understood:
                understood.append(decision.label)
        rows.append(
            {
                "what": name, "seconds": round(seconds), "snr_db": snr_db,
                "detected": len(commands), "too_long": encoder.detector.counters["too_long"],
                "understood": len(understood), "labels": " ".join(understood),
            }
        )  # fmt: skip
    return rows


def false_commands(model: TaskModel, talk: Path | None, seed: int) -> list[dict]:
    """Counts over ten minutes of each noise, of noise on the air, and an hour of ``talk``."""
    rows = []
    for name, (octave_db, level) in NOISES.items():
        rng = np.random.default_rng(seed)
        pieces = (noise_of(PIECE_S, octave_db, level, rng) for _ in range(NOISE_S // PIECE_S))
        rows += counted(model, pieces, f"{name} noise at {level:g} dBFS", seed)
    rng = np.random.default_rng(seed)
    pieces = (gusty(PIECE_S, rng) for _ in range(NOISE_S // PIECE_S))
    rows += counted(model, pieces, "pink noise in gusts", seed)
    rows.append(noise_on_the_air(model, seed))
    if talk is not None:
        rows += counted(model, conversation(talk), f"speech of {talk.name}", seed)
    return rows


def noise_on_the_air(model: TaskModel, seed: int) -> dict:
    """Bursts that a receiver finds where nobody sends."""
    profile, rng = find_profile("ssb"), np.random.default_rng(seed)
    receiver = TaskBurstReceiver(profile, model.codec.words(TaskOptions.symbols).numpy())
    count = 0
    for _ in range(NOISE_S // PIECE_S):
        noise = rng.standard_normal((2, int(PIECE_S * profile.sample_rate)))
        count += len(receiver.push((noise[0] + 1j * noise[1]).astype(np.complex64)))
    return {
        "what": "noise on the air, ssb",
        "seconds": NOISE_S,
        "detected": count,
        "understood": count,
    }


def conversation(talk: Path) -> Iterator[np.ndarray]:
    """An hour of the speech of a table or folder, half a second between two files."""
    seconds, (folder, rows) = 0.0, rows_of(talk)
    for row in rows:
        samples = read_audio(folder / row["path"])
        quiet = 1e-4 * np.random.default_rng(len(samples)).standard_normal(SAMPLE_RATE_HZ // 2)
        yield np.concatenate([samples, quiet.astype(np.float32)])
        seconds += len(samples) / SAMPLE_RATE_HZ
        if seconds > TALK_S:
            return


def thresholds(model: TaskModel, heard: Heard, cut: list[np.ndarray], seed: int) -> list[dict]:
    """Of the commands among recordings, what each least probability understands and refuses.

    Args:
        cut: what voice activity finds of each recording, see :func:`as_detected`.
    """
    command = heard.label < len(model.config.labels) - 2
    found = np.array([len(samples) > 0 for samples in cut])[command]
    label, snr_db = heard.label[command], AIR_SNR_DB[1]
    logits = logits_of(model, [s for s, is_one in zip(cut, command, strict=True) if is_one])
    channel = SymbolChannel("awgn", snr_db, seed)
    likely = torch.softmax(over_link(model, logits, channel, TaskOptions.symbols), dim=1)
    probability, best = (part.numpy() for part in likely.max(dim=1))
    said = found & (best < len(model.config.labels) - 2)
    rows = []
    for confidence in CONFIDENCES:
        understood = said & (probability >= confidence)
        rows.append(
            {
                "confidence": confidence, "snr_db": snr_db, "commands": len(label),
                "right": round(float((understood & (best == label)).mean()), 4),
                "wrong": round(float((understood & (best != label)).mean()), 4),
            }
        )  # fmt: skip
    return rows


def running_snr(at_s: np.ndarray) -> np.ndarray:
    """An SNR that rises and falls by 10 dB a second between -15 and 15 dB."""
    low, high = SWING_DB
    phase = (at_s * STEP_DB_S) % (2 * (high - low))
    return low + np.minimum(phase, 2 * (high - low) - phase)


def following(model: TaskModel, logits: torch.Tensor, heard: Heard, seed: int) -> list[dict]:
    """What is right while the SNR runs, by what the sender knows of it."""
    rng = np.random.default_rng(seed)
    at_s = rng.uniform(0.0, 60.0, len(logits))
    now = running_snr(at_s)
    believed = {
        "knows it": now,
        f"knows it {LATE_S:g} s late": running_snr(at_s - LATE_S),
        "does not know it, takes 0 dB": np.zeros(len(now)),
    }
    rows = []
    for kind in ("awgn", "rayleigh"):
        for symbols in model.config.codec.symbols:
            for who, snrs in believed.items():
                found = []
                for n, (snr_db, told) in enumerate(zip(now, snrs, strict=True)):
                    channel = SymbolChannel(kind, float(snr_db), seed + n)
                    back = over_link(model, logits[n : n + 1], channel, symbols, float(told))
                    found.append(int(back.argmax()) == heard.label[n])
                rows.append(
                    {
                        "channel": kind, "symbols": symbols, "sender": who,
                        "commands": len(found), "right": round(float(np.mean(found)), 4),
                    }
                )  # fmt: skip
    return rows

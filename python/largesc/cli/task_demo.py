# SPDX-License-Identifier: GPL-3.0-or-later
"""The command task demo: ten recorded commands over a noisy channel, in words and one picture."""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch

from ..channel.symbols import SymbolChannel
from ..files import writable_folder
from ..options import TaskOptions
from ..speech.files import AudioError, read_audio
from ..speech.format import SAMPLE_RATE_HZ
from ..tables import write_csv
from ..tasks.commands import Command, CommandDecider, CommandEncoder, Decision
from ..tasks.model import TaskModel, load_task

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

RECORDINGS = Path("/usr/share/asterisk/sounds/en/digits")
SPOKEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SNR_DB, SHOWN_DB = -5.0, (-5.0, 5.0, 20.0)
GAP_S = 0.8


def recordings() -> list[np.ndarray]:
    """The ten digits of Debian's package.

    Raises:
        AudioError: it is not installed.
    """
    if not (RECORDINGS / "0.wav").exists():
        raise AudioError(
            f"no recordings in {RECORDINGS}: ./bootstrap task installs them, as does apt-get "
            "install asterisk-core-sounds-en asterisk-core-sounds-en-wav"
        )
    return [read_audio(RECORDINGS / f"{n}.wav") for n in range(len(SPOKEN))]


def one_after_the_other(pieces: list[np.ndarray]) -> tuple[np.ndarray, list[float]]:
    """All in one stream with pauses between, and when each begins in s."""
    gap = 1e-4 * np.random.default_rng(1).standard_normal(int(GAP_S * SAMPLE_RATE_HZ))
    stream, starts = [gap], []
    for piece in pieces:
        starts.append(sum(len(s) for s in stream) / SAMPLE_RATE_HZ)
        stream += [piece, gap]
    return np.concatenate(stream).astype(np.float32), starts


def received(
    encoder: CommandEncoder, decider: CommandDecider, command: Command, channel: SymbolChannel
) -> tuple[np.ndarray, Decision]:
    """Symbols of a command behind a channel, and what is made of them."""
    burst = encoder.burst(command, channel.snr_db, TaskOptions.symbols)
    y, h = channel(torch.from_numpy(burst)[None])
    symbols = y[0].numpy()
    return symbols, decider.decide(symbols, channel.snr_db, complex(h[0, 0]), command.index)


def draw(
    stream: np.ndarray,
    commands: list[Command],
    decisions: list[Decision],
    symbols: list[np.ndarray],
    model: TaskModel,
) -> plt.Figure:
    """Speech with what was cut out, one command's symbols at three SNRs, all probabilities."""
    figure = plt.figure(figsize=(11, 9))
    grid = figure.add_gridspec(3, len(SHOWN_DB), height_ratios=(1, 1.6, 2))
    axis = figure.add_subplot(grid[0, :])
    axis.plot(np.arange(len(stream))[::24] / SAMPLE_RATE_HZ, stream[::24], linewidth=0.4)
    for command, decision in zip(commands, decisions, strict=True):
        begin = command.start / SAMPLE_RATE_HZ
        end = begin + len(command.samples) / SAMPLE_RATE_HZ
        axis.axvspan(begin, end, alpha=0.2, color="C2" if decision.understood else "C3")
        said = decision.label if decision.understood else "?"
        axis.text((begin + end) / 2, 0.9 * axis.get_ylim()[1], said, ha="center", va="top")
    axis.set(xlabel="time (s)", title="speech, commands, and what was understood", xlim=(0, None))
    axis.set_xlim(0, len(stream) / SAMPLE_RATE_HZ)
    for column, (snr_db, points) in enumerate(zip(SHOWN_DB, symbols, strict=True)):
        axis = figure.add_subplot(grid[1, column])
        axis.scatter(points.real, points.imag, s=6)
        axis.set(title=f"the first one's symbols at {snr_db:g} dB", xlim=(-5, 5), ylim=(-5, 5))
        axis.set_aspect("equal")
        axis.grid(True, alpha=0.3)
    axis = figure.add_subplot(grid[2, :])
    table = np.array([d.probabilities for d in decisions])
    image = axis.imshow(table, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    labels = model.config.labels
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axis.set_yticks(range(len(commands)), [f"{n + 1}" for n in range(len(commands))])
    axis.set(title=f"probability of each label at {SNR_DB:g} dB", ylabel="command")
    figure.colorbar(image, ax=axis, pad=0.01)
    figure.tight_layout()
    return figure


def demo(args: argparse.Namespace) -> int:
    """Speaks, sends, decides, prints and draws."""
    output = writable_folder(Path(args.output))
    stream, starts = one_after_the_other(recordings())
    model = load_task(args.model)
    encoder, decider = CommandEncoder(model), CommandDecider(model, TaskOptions.confidence)
    commands = [*encoder.push(stream), *encoder.flush()]
    channel, decisions = SymbolChannel("awgn", SNR_DB, args.seed), []
    print(f"{TaskOptions.symbols} symbols a command, white noise, {SNR_DB:g} dB a symbol\n")
    print("said      understood   probability")
    rows = []
    for command in commands:
        decision = received(encoder, decider, command, channel)[1]
        decisions.append(decision)
        at_s = command.start / SAMPLE_RATE_HZ + 0.3
        said = SPOKEN[max(0, sum(start <= at_s for start in starts) - 1)]
        shown = decision.label if decision.understood else "-"
        print(f"{said:9} {shown:12} {decision.probability:.2f}")
        rows.append(
            {
                "said": said, "label": decision.label, "understood": decision.understood,
                "probability": round(decision.probability, 4), "snr_db": SNR_DB,
            }
        )  # fmt: skip
    right = sum(row["understood"] and row["label"] == row["said"] for row in rows)
    wrong = sum(row["understood"] and row["label"] != row["said"] for row in rows)
    print(f"\n{right} of {len(SPOKEN)} understood, {wrong} wrong, the others refused")
    if commands:
        points = [
            received(encoder, decider, commands[0], SymbolChannel("awgn", db, args.seed))[0]
            for db in SHOWN_DB
        ]
        draw(stream, commands, decisions, points, model).savefig(output / "task.png", dpi=90)
    write_csv(rows, output / "task.csv")
    print(f"task.png and task.csv are in {output}/")
    return 0

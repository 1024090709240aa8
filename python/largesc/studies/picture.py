# SPDX-License-Identifier: GPL-3.0-or-later
"""One picture of a transmission: speech in and out, what became of each token, the bit rate."""

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Patch

from ..speech.format import FRAME_S, SAMPLE_RATE_HZ
from .study import plt

# Fate of a token, in the order of the colours.
STATES = ["not sent", "sent", "sent twice", "lost", "lost, copy arrived", "concealed"]
COLOURS = ["#eeeeee", "#4c9be8", "#1b4f8f", "#c0392b", "#27ae60", "#f39c12"]


@dataclass(frozen=True)
class Transmission:
    """What is needed to draw one transmission.

    Attributes:
        title: one line.
        sent, received: float32 speech at 24 kHz, of one length.
        states: int ``[frames, 8]``, index into :data:`STATES`.
        payload_bps: ``[frames]``, 11 bit a token sent or repeated.
        packet_lost: bool ``[frames]``.
    """

    title: str
    sent: np.ndarray
    received: np.ndarray
    states: np.ndarray
    payload_bps: np.ndarray
    packet_lost: np.ndarray


def spectrogram(axis: plt.Axes, samples: np.ndarray, label: str) -> np.ndarray:
    """Draws 0 to 8 kHz of 24 kHz speech; returns the levels drawn in dB, ``[bins, hops]``."""
    # Digital silence has no logarithm.
    noise = 1e-6 * np.random.default_rng(0).standard_normal(len(samples))
    power, frequencies, _, _ = axis.specgram(
        samples + noise, NFFT=512, Fs=SAMPLE_RATE_HZ, noverlap=384, vmin=-140, vmax=-40
    )
    axis.set_ylim(0, 8000)
    axis.set_ylabel(f"{label}\nHz")
    return np.clip(10.0 * np.log10(power[frequencies <= 8000]), -140.0, -40.0)


def draw(transmissions: list[Transmission]) -> plt.Figure:
    """Draws one column for each transmission."""
    columns = len(transmissions)
    heights = [1, 2, 1, 2, 2, 1.2]
    figure, axes = plt.subplots(
        6, columns, figsize=(7 * columns, 12), height_ratios=heights, squeeze=False, sharex="col"
    )
    for column, shown in zip(axes.T, transmissions, strict=True):
        seconds = np.arange(len(shown.sent)) / SAMPLE_RATE_HZ
        column[0].set_title(shown.title)
        for axis, samples, label in (
            (column[0], shown.sent, "in"),
            (column[2], shown.received, "out"),
        ):
            axis.plot(seconds, samples, linewidth=0.4, color="#333333")
            axis.set_ylim(-1, 1)
            axis.set_ylabel(label)
        spectrogram(column[1], shown.sent, "in")
        spectrogram(column[3], shown.received, "out")
        frames = len(shown.states)
        edges = np.arange(frames + 1) * FRAME_S
        column[4].pcolormesh(
            edges,
            np.arange(9) + 0.5,
            shown.states.T,
            cmap=ListedColormap(COLOURS),
            norm=BoundaryNorm(np.arange(7) - 0.5, 6),
        )
        column[4].set_ylabel("token")
        column[4].set_yticks(range(1, 9))
        middles = edges[:-1] + FRAME_S / 2
        column[5].step(edges[:-1], shown.payload_bps, where="post", color="#1b4f8f")
        column[5].plot(
            middles[shown.packet_lost],
            np.zeros(int(shown.packet_lost.sum())),
            "x",
            color="#c0392b",
            markersize=4,
        )
        column[5].set_ylim(-100, 2400)
        column[5].set_ylabel("payload\nbit/s")
        column[5].set_xlabel("time (s); x: packet lost")
        column[5].set_xlim(0, edges[-1])
    handles = [Patch(color=c, label=s) for c, s in zip(COLOURS, STATES, strict=True)]
    figure.legend(handles=handles, loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return figure

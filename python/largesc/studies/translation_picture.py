# SPDX-License-Identifier: GPL-3.0-or-later
"""One picture of a translation: speech in, symbols on the air, text over time, speech out."""

import numpy as np

from ..speech.format import SAMPLE_RATE_HZ
from ..tasks.translation_loopback import Said
from .picture import spectrogram
from .study import plt

MOST_SYMBOLS = 6000


def draw_translation(
    title: str, source: np.ndarray, steps: list[Said], speech: np.ndarray
) -> plt.Figure:
    """Draws one translation.

    Args:
        title: one line.
        source: what is said, float32 at 24 kHz.
        steps: of the loopback.
        speech: what the listener hears, on the same clock.
    """
    figure = plt.figure(figsize=(13, 9), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=[1, 1.3, 1])
    length_s = max(len(source), len(speech)) / SAMPLE_RATE_HZ
    top, middle, bottom = (figure.add_subplot(grid[row, :2]) for row in range(3))
    spectrogram(top, source, "source")
    spectrogram(bottom, speech if len(speech) else np.zeros(SAMPLE_RATE_HZ), "speech out")
    top.set_title(title)
    middle.set(ylim=(-0.5, 7.5), yticks=[], ylabel="text")
    for number, step in enumerate(s for s in steps if s.text.committed.strip()):
        text = step.text.committed.strip()
        middle.plot(step.text_s, number % 8, "k.", ms=4)
        middle.text(step.text_s, number % 8, " " + text[:60], fontsize=8, va="center", clip_on=True)
    for axis in (top, middle, bottom):
        axis.set_xlim(0.0, length_s)
    bottom.set_xlabel("s")
    symbols(figure.add_subplot(grid[0, 2]), steps, straight=False)
    symbols(figure.add_subplot(grid[1, 2]), steps, straight=True)
    fades = figure.add_subplot(grid[2, 2])
    gain = np.concatenate([np.abs(step.burst.h[:, 0]) for step in steps])
    fades.plot(0.08 * np.arange(len(gain)), 20.0 * np.log10(np.maximum(gain, 1e-3)))
    fades.set(title="fading of each block", xlabel="s on the air", ylabel="|h| in dB")
    return figure


def symbols(axis: plt.Axes, steps: list[Said], straight: bool) -> None:
    """Symbols as received, or with the fading taken out."""
    found = []
    for step in steps:
        y = step.burst.symbols
        if not np.iscomplexobj(y):
            return
        found.append((y / step.burst.h if straight else y).ravel())
    points = np.concatenate(found)[:MOST_SYMBOLS]
    axis.plot(points.real, points.imag, ",")
    axis.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
    axis.set_title("symbols, equalised" if straight else "symbols as received")

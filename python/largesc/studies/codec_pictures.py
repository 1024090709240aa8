# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the learning curve, and spectrograms of one utterance through several coders.

    largesc study codec_pictures --speech one.flac --lyra FOLDER \
        --curves learning_curves.csv --output FOLDER

Writes ``spectrograms.png``, how far each coder's spectrogram is from the original's as
``codec_pictures.csv`` and, with ``--curves`` of ``largesc train card``, ``learning_curve.png``.
"""

import argparse
from pathlib import Path

import numpy as np

from ..evaluation.systems.lyra import Lyra
from ..speech.files import read_audio
from ..tables import read_csv
from .codec_table import coded, own_coder
from .picture import spectrogram
from .study import add_common, plt, save_figure, save_rows

# Of each stage what it is judged by.
CURVES = {
    "autoencoder": ("dev_envelope", "dev_mel"),
    "decoder": ("dev_envelope", "dev_mel"),
    "adversarial": ("dev_envelope", "dev_mel"),
    "lm": tuple(f"dev_{k}" for k in range(8)),
}


def draw_spectrograms(
    speech: np.ndarray, coded: dict[str, np.ndarray]
) -> tuple[plt.Figure, dict[str, float]]:
    """One row for the original and each coder; of each coder the mean distance in dB."""
    shown = {"original": speech} | coded
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(11, 2.2 * len(shown)), sharex=True, squeeze=False
    )
    levels = {
        name: spectrogram(axis, samples, name)
        for axis, (name, samples) in zip(axes[:, 0], shown.items(), strict=True)
    }
    axes[-1, 0].set_xlabel("time (s)")
    figure.tight_layout()
    apart = {name: float(np.mean(np.abs(levels[name] - levels["original"]))) for name in coded}
    return figure, apart


def draw_curves(points: list[dict]) -> plt.Figure:
    """One panel a stage that was run: losses on development speech against minutes."""
    stages = [s for s in CURVES if any(p["stage"] == s for p in points)]
    figure, axes = plt.subplots(1, len(stages), figsize=(5 * len(stages), 4), squeeze=False)
    for axis, stage in zip(axes[0], stages, strict=True):
        for name in CURVES[stage]:
            known = [p for p in points if p["stage"] == stage and p.get(name)]
            minutes = [float(p["seconds"]) / 60 for p in known]
            axis.plot(minutes, [float(p[name]) for p in known], label=name)
        axis.set_title(stage)
        axis.set_xlabel("minutes of computing")
        axis.set_ylabel("loss, nats or nepers")
        axis.set_yscale("log")
        axis.legend(fontsize=7)
    figure.tight_layout()
    return figure


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser)
    parser.add_argument("--codec", default="embedded", help="model source")
    parser.add_argument("--lyra", type=Path, help="folder of Lyra v2's TFLite models")
    parser.add_argument("--curves", type=Path, help="CSV of largesc train card")


def study(args: argparse.Namespace) -> None:
    """Draws the pictures that were asked for, and writes them."""
    speech = read_audio(args.speech)
    coders = [own_coder(args.codec, tokens) for tokens in (8, 4, 2)]
    if args.lyra:
        coders.append(Lyra(args.lyra, 3200))
    shown = {coder.name: coded(coder, speech) for coder in coders}
    figure, apart = draw_spectrograms(speech, {name: out for name, (out, _) in shown.items()})
    save_figure(args, "spectrograms", figure, dpi=55)
    rows = [
        {"coder": name, "payload_bps": round(payload_bps), "distance_db": round(apart[name], 3)}
        for name, (_, payload_bps) in shown.items()
    ]
    save_rows(args, "codec_pictures", rows)
    if args.curves:
        save_figure(args, "learning_curve", draw_curves(read_csv(args.curves)))

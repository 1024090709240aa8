# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws the learning curve, and spectrograms of one utterance through several coders.

    python -m gnuradio.largesc.evaluation.codec_pictures --speech one.flac --lyra FOLDER \
        --curves learning_curves.csv --output FOLDER

Writes ``spectrograms.png`` and, with ``--curves`` of ``largesc train card``,
``learning_curve.png``.
"""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

from ..speech_files import read_audio  # noqa: E402
from .codec_table import coded, own_coder  # noqa: E402
from .picture import spectrogram  # noqa: E402
from .systems.lyra import Lyra  # noqa: E402

# Of each stage what it is judged by.
CURVES = {
    "autoencoder": ("dev_envelope", "dev_mel"),
    "decoder": ("dev_envelope", "dev_mel"),
    "adversarial": ("dev_envelope", "dev_mel"),
    "lm": tuple(f"dev_{k}" for k in range(8)),
}


def draw_spectrograms(speech: np.ndarray, coded: dict[str, np.ndarray], path: Path) -> None:
    """One row for the original and each coder."""
    shown = {"original": speech} | coded
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(11, 2.2 * len(shown)), sharex=True, squeeze=False
    )
    for axis, (name, samples) in zip(axes[:, 0], shown.items(), strict=True):
        spectrogram(axis, samples, name)
    axes[-1, 0].set_xlabel("time (s)")
    figure.tight_layout()
    figure.savefig(path, dpi=55)
    plt.close(figure)


def draw_curves(points: list[dict], path: Path) -> None:
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
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--speech", type=Path, required=True, help="audio file, a few seconds")
    parser.add_argument("--codec", default="embedded", help="model source")
    parser.add_argument("--lyra", type=Path, help="folder of Lyra v2's TFLite models")
    parser.add_argument("--curves", type=Path, help="CSV of largesc train card")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pictures")
    args = parser.parse_args()
    speech = read_audio(args.speech)
    coders = [own_coder(args.codec, tokens) for tokens in (8, 4, 2)]
    if args.lyra:
        coders.append(Lyra(args.lyra, 3200))
    shown = {coder.name: coded(coder, speech)[0] for coder in coders}
    draw_spectrograms(speech, shown, args.output / "spectrograms.png")
    if args.curves:
        with args.curves.open(newline="") as file:
            draw_curves(list(csv.DictReader(file)), args.output / "learning_curve.png")


if __name__ == "__main__":
    main()

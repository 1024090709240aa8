# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits the linear channel code to features of a large model, in closed form.

    largesc train channel-code --speech train.tsv --output MODEL

Features are weighed by what the decoder reads of them: the keys and values of its cross-attention.
The strongest directions of blocks of four frames are kept. ``--output`` receives
``channel_code.json`` and ``channel_code.safetensors``.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...channel_codec.linear import BLOCK_FRAMES, Statistics
from ...channel_codec.load import save_channel_code
from ...features.fronts import FRONTS, open_front
from ...features.load import loaded
from ...features.log_mel import LEAST
from ...features.model import LargeModel
from ...files import writable_folder
from ...models.store import write_sha256
from ...speech.files import read_audio, rows_of
from ...speech.format import SAMPLE_RATE_HZ
from ...speech.prompts import PACKAGE, RATE_HZ, Prompt, prompts, speech_of
from ..config import read_config
from ..large_model import variables_of
from ..whisper_weights import layers_of

DEFAULT_CONFIG = Path(__file__).parent / "channel_code.yaml"
CONFIG_KEYS = ("seed", "minutes", "least_s", "prompts", "symbols")
# Kept from all training, as in `training/speech.py`.
NON_NATIVE, UNSEEN_SPEAKERS = "speechocean762", 10
LONGEST_FRAMES, TAIL_FRAMES = 1480, 50


def weight_of(variables: dict[str, np.ndarray]) -> np.ndarray:
    """(AᵀA)^½ with A the key and value projections of all cross-attentions, ``[width, width]``."""
    layers = range(layers_of(variables, "decoder"))
    read = np.concatenate(
        [variables[f"decoder/layer_{n}/attention/linear_1/weight"] for n in layers]
    ).astype(np.float64)
    values, vectors = np.linalg.eigh(read.T @ read)
    # None may vanish, since the way back divides by them.
    return (vectors * np.sqrt(np.maximum(values, 1e-4 * values.max()))) @ vectors.T


def speech(config: dict, source: Path) -> Iterator[tuple[np.ndarray, int, str]]:
    """Drawn utterances and prompts, with their rates in Hz and their corpora."""
    folder, rows = rows_of(source)
    unseen = {row["speaker"] for row in rows if row["corpus"] == NON_NATIVE}
    unseen = set(sorted(unseen)[-UNSEEN_SPEAKERS:])
    seconds = 0.0
    for number in np.random.default_rng(config["seed"]).permutation(len(rows)):
        if seconds >= 60 * config["minutes"]:
            break
        row = rows[number]
        if row["corpus"] == NON_NATIVE and row["speaker"] in unseen:
            continue
        samples = read_audio(folder / row["path"])
        if len(samples) >= config["least_s"] * SAMPLE_RATE_HZ:
            seconds += len(samples) / SAMPLE_RATE_HZ
            yield samples, SAMPLE_RATE_HZ, row["corpus"]
    for prompt in fitted_prompts(config["prompts"]):
        yield speech_of(prompt), RATE_HZ, f"{PACKAGE}-{prompt.language}"


def fitted_prompts(languages: list[str]) -> list[Prompt]:
    """The half of the prompts that no study judges."""
    return [prompt for language in languages for prompt in prompts(language, fitted=True)]


def features_of(model: LargeModel, samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Whole blocks of features of an utterance, at most 15 s."""
    frames = open_front(model.front, rate_hz).push(samples)[:LONGEST_FRAMES]
    quiet = np.full((TAIL_FRAMES, FRONTS[model.front]), LEAST, dtype=np.float32)
    blocks = len(frames) // model.stride // BLOCK_FRAMES
    return model.encode(np.concatenate([frames, quiet]))[: blocks * BLOCK_FRAMES]


def fit(features: list[np.ndarray], variables: dict[str, np.ndarray], symbols: int) -> Statistics:
    """The statistics of a code of up to ``symbols`` complex symbols a frame.

    Raises:
        ValueError: too few features for so many directions.
    """
    frames, width = sum(map(len, features)), features[0].shape[1]
    if frames < 4 * BLOCK_FRAMES * width:
        raise ValueError(
            f"{frames} frames of features are too few: give at least {4 * BLOCK_FRAMES * width}"
        )
    mean = sum(f.sum(axis=0, dtype=np.float64) for f in features) / frames
    weight = weight_of(variables)
    size = BLOCK_FRAMES * width
    covariance = np.zeros((size, size))
    for found in features:
        blocks = ((found - mean) @ weight).reshape(-1, size)
        covariance += blocks.T @ blocks
    values, vectors = np.linalg.eigh(covariance * BLOCK_FRAMES / frames)
    kept = slice(None, -2 * BLOCK_FRAMES * symbols - 1, -1)
    return Statistics(
        mean,
        weight,
        vectors[:, kept],
        values[kept],
        variables["encoder/layer_norm/gamma"],
        variables["encoder/layer_norm/beta"],
    )


def train(config: dict, source: Path, whisper: str, output: Path) -> Statistics:
    """Fits the code to speech, writes it to ``output`` and returns its statistics."""
    model = loaded(whisper)
    features, frames = [], Counter()
    for samples, rate_hz, corpus in speech(config, source):
        features.append(features_of(model, samples, rate_hz))
        frames[corpus] += len(features[-1])
    found = fit(features, variables_of(model), config["symbols"])
    facts = {
        "model": whisper if whisper == "base" else Path(whisper).name,
        "width": model.width,
        "directions": found.basis.shape[1],
        "minutes": {
            corpus: round(frames[corpus] / model.features_per_s / 60, 1) for corpus in frames
        },
    }
    save_channel_code(found, facts, output)
    write_sha256(output)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train channel-code`` with ``arguments``; None: those of the process."""
    parser = argparse.ArgumentParser(
        prog="largesc train channel-code", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="YAML [%(default)s]")
    parser.add_argument("--speech", type=Path, required=True, help="folder, or a table of speech")
    parser.add_argument(
        "--whisper",
        default="base",
        help="Whisper base, a folder of Whisper or SeamlessM4T v2, or hf://OWNER/NAME [base]",
    )
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    args = parser.parse_args(arguments)
    # Before the work, which takes an hour.
    writable_folder(args.output)
    train(read_config(args.config, CONFIG_KEYS), args.speech, args.whisper, args.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits the estimates of missing tokens by least squares, on tokens that went through losses.

    largesc train interpolation --config interpolation.yaml --work WORK --lm MODEL --output MODEL

The frame before a gap is known, within a gap it is an estimate: two rounds, the second with those
of the first. The language model runs as in the link, over fewer frames, and what it puts into lost
ones is kept.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ..._core import ERASED_TOKEN
from ...channel.loss_patterns import LossPatterns
from ...codec.codebooks import codebooks_of
from ...codec.load import load_codec
from ...concealment.interpolation import FrameCompleter, LatentEstimator, Surroundings
from ...concealment.load import LanguageModel, load_language_model
from ...files import replacing
from ...models.store import write_sha256
from ..config import recipe_parser, start
from ..token_sets import TokenSet, load

DEFAULT_CONFIG = Path(__file__).parent / "interpolation.yaml"
CONFIG_KEYS = ("seed", "frames", "lm_frames", "temperature", "samples", "ridge", "received")
CROP_FRAMES = 100
ROUNDS = 2


def sample_of(found: TokenSet, frames: int, seed: int) -> np.ndarray:
    """Frames' numbers of crops drawn from all over, int ``[at most frames]``, a crop in a row."""
    crops = max(1, frames // CROP_FRAMES)
    places = np.arange(0, max(1, len(found.tokens) - CROP_FRAMES), CROP_FRAMES)
    chosen = np.random.default_rng(seed).permutation(places)[:crops]
    size = min(CROP_FRAMES, len(found.tokens))
    return (np.sort(chosen)[:, None] + np.arange(size)).ravel()


def received_of(tokens: np.ndarray, facts: dict, seed: int) -> np.ndarray:
    """``tokens`` ``[frames, 8]`` as they arrive, 0xFFFF where one does not."""
    crops = -(-len(tokens) // CROP_FRAMES)
    arrives = LossPatterns(**facts, seed=seed).draw(crops, CROP_FRAMES)
    arrives = arrives.transpose(0, 2, 1).reshape(-1, 8)[: len(tokens)]
    return np.where(arrives, tokens, ERASED_TOKEN).astype(np.uint16)


def guesses_of(
    loaded: LanguageModel, received: np.ndarray, books: np.ndarray, config: dict
) -> np.ndarray:
    """What the language model makes of frames in the link, uint16 ``[frames, 8]``."""
    from ...concealment.lm_stream import LanguageModelStream

    stream = LanguageModelStream(
        loaded.model,
        config["temperature"],
        samples=config["samples"],
        codebooks=books,
        sample_text=loaded.text,
    )
    out = []
    for number, tokens in enumerate(received):
        out.append(stream.step(tokens))
        if number % 5000 == 4999:
            print(f"interpolation: {number + 1} of {len(received)} frames", flush=True)
    return np.array(out)


def cases_of(
    received: np.ndarray,
    guesses: np.ndarray | None,
    books: np.ndarray,
    estimator: LatentEstimator,
) -> list[tuple[int, Surroundings]]:
    """Number and surroundings of each incomplete frame, as ``estimator`` leaves those before it."""
    completer, found = FrameCompleter(estimator, books), []
    for n, tokens in enumerate(received):
        following = received[n + 1] if n + 1 < len(received) else None
        guess = None if guesses is None else guesses[n]
        if tokens[-1] == ERASED_TOKEN:
            found.append((n, completer.surroundings(tokens, following, guess)))
        completer.complete(tokens, following, guess)
    return found


def fitted(
    found: list[tuple[int, Surroundings]], latents: np.ndarray, mean: np.ndarray, ridge: float
) -> dict[str, np.ndarray]:
    """Fits one matrix a case by ridge regression, and returns them by name of the case."""
    groups: dict[str, tuple[list, list]] = {}
    for n, known in found:
        # A frame with one behind it serves the case without as well.
        for following in {known.following is not None, False}:
            seen = known if following else replace(known, following=None)
            rows, wanted = groups.setdefault(seen.case(), ([], []))
            rows.append(seen.inputs(mean))
            wanted.append(latents[n] - mean)
    matrices = {}
    for case, (rows, wanted) in sorted(groups.items()):
        inputs, outputs = np.array(rows, np.float64), np.array(wanted, np.float64)
        if len(inputs) < 2 * inputs.shape[1]:
            print(f"{case}: {len(inputs)} frames are too few, left out", flush=True)
            continue
        energy = inputs.T @ inputs
        energy += ridge * np.trace(energy) / len(energy) * np.eye(len(energy))
        matrices[case] = np.linalg.solve(energy, inputs.T @ outputs).astype(np.float32)
        left = np.square(outputs - inputs @ matrices[case]).sum() / np.square(outputs).sum()
        print(f"{case}: {len(inputs)} frames, {left:.3f} of the energy left", flush=True)
    return matrices


def train(config: dict, work: Path, codec: str, lm: str) -> dict[str, np.ndarray]:
    """Matrices and mean, see ``LatentEstimator``.

    Raises:
        ValueError: the tokens are too few.
    """
    found, seed = load(work / "tokens_train.npz"), config["seed"]
    books = codebooks_of(load_codec(codec).model)
    facts = config["received"]

    def crops(frames: int, facts: dict) -> tuple[np.ndarray, np.ndarray]:
        chosen = sample_of(found, frames, seed)
        latents = found.latents[chosen].astype(np.float32)
        return latents, received_of(found.tokens[chosen], facts, seed)

    plain, lossy = crops(config["frames"], facts)
    # The model's guess counts in frames of which nothing came.
    guessed, through_lm = crops(config["lm_frames"], facts | {"prefix_share": 0.0})
    guesses = guesses_of(load_language_model(lm), through_lm, books, config)
    mean = plain.mean(axis=0)
    matrices = {"mean": mean}
    for _ in range(ROUNDS):
        estimator = LatentEstimator(matrices)
        alone = fitted(cases_of(lossy, None, books, estimator), plain, mean, config["ridge"])
        seen = cases_of(through_lm, guesses, books, estimator)
        matrices = alone | fitted(seen, guessed, mean, config["ridge"]) | {"mean": mean}
    if len(matrices) == 1:
        raise ValueError(
            f"{len(plain)} frames of tokens are too few for a single case: give more speech to "
            "`largesc train tokens`, or set more frames in the config"
        )
    return matrices


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train interpolation`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("interpolation", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    parser.add_argument("--codec", default="embedded", help="model source of the tokens' codec")
    parser.add_argument("--lm", default="embedded", help="model source of the language model")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write into")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    matrices = train(config, args.work, args.codec, args.lm)
    args.output.mkdir(parents=True, exist_ok=True)
    halves = {name: value.astype(np.float16) for name, value in matrices.items()}
    with replacing(args.output / "estimator.safetensors") as partial:
        save_file(halves, str(partial))
    write_sha256(args.output)


if __name__ == "__main__":
    main()

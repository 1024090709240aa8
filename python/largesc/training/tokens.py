# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a codec over the training speech once and keeps the tokens.

largesc train tokens --speech train.tsv --work DIR --codec FOLDER
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..codec.spectral import FRAME_SAMPLES
from ..models.loader import load_codec
from .speech import open_samples, prepare, split
from .variants import add_variants


@dataclass(frozen=True)
class TokenSet:
    """Tokens of many utterances, one after the other.

    Attributes:
        tokens: uint16 ``[frames, 8]``.
        latents: float16 ``[frames, dimension]``.
        starts: int64 ``[utterances + 1]``, first frame of each utterance, then the end.
    """

    tokens: np.ndarray
    latents: np.ndarray
    starts: np.ndarray


@torch.inference_mode()
def encode_all(codec, samples: np.ndarray, utterances: list) -> TokenSet:
    """Encodes whole utterances offline."""
    tokens, latents, starts = [], [], [0]
    for number, u in enumerate(utterances):
        count = u.samples // FRAME_SAMPLES
        if count == 0:
            continue
        pcm = samples[u.start : u.start + count * FRAME_SAMPLES].astype(np.float32) / 32768.0
        latent = codec.model._encode_to_unquantized_latent(torch.from_numpy(pcm)[None, None])
        codes = codec.model.quantizer.encode(latent)
        tokens.append(codes[0, :8].T.numpy().astype(np.uint16))
        latents.append(latent[0].T.numpy().astype(np.float16))
        starts.append(starts[-1] + count)
        if number % 500 == 0:
            print(f"tokens: {number} of {len(utterances)} utterances", flush=True)
    return TokenSet(np.concatenate(tokens), np.concatenate(latents), np.array(starts))


def save(found: TokenSet, path: Path) -> None:
    """Writes a token set as npz."""
    np.savez(path, tokens=found.tokens, latents=found.latents, starts=found.starts)


def load(path: Path) -> TokenSet:
    """Reads what :func:`save` wrote.

    Raises:
        ValueError: the file is not there yet.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing: run training.tokens first")
    with np.load(path) as data:
        return TokenSet(data["tokens"], data["latents"], data["starts"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="largesc train tokens", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--speech", type=Path, required=True, help="folder of audio, or tsv: path, corpus, speaker"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for cache and tokens")
    parser.add_argument("--codec", default="embedded", help="model source")
    parser.add_argument(
        "--variants", action="store_true", help="each training utterance once more, varied"
    )
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    codec = load_codec(args.codec)
    utterances = prepare(args.speech, args.work / "speech")
    train_set, dev_set = split(utterances)
    if args.variants:
        train_set = train_set + split(add_variants(utterances, args.work / "speech"))[0]
    samples = open_samples(args.work / "speech")
    save(encode_all(codec, samples, dev_set), args.work / "tokens_dev.npz")
    save(encode_all(codec, samples, train_set), args.work / "tokens_train.npz")


if __name__ == "__main__":
    main()

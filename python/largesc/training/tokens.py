# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a codec over the training speech once and keeps the tokens.

largesc train tokens --speech train.tsv --work DIR --codec FOLDER
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from ..codec.load import load_codec
from ..files import replacing
from ..speech.files import from_pcm16
from ..speech.format import FRAME_SAMPLES
from .speech import open_samples, prepare, split
from .text import TextTokenizer, text_beside
from .variants import add_variants


@dataclass(frozen=True)
class TokenSet:
    """Tokens of many utterances, one after the other.

    Attributes:
        tokens: uint16 ``[frames, 8]``.
        latents: float16 ``[frames, dimension]``.
        starts: int64 ``[utterances + 1]``, first frame of each utterance, then the end.
        text: int32 ``[frames]``, text tokens and placeholders, see ``text``; or None.
        text_pieces: tokens that the text's tokenizer has; 0 without text.
    """

    tokens: np.ndarray
    latents: np.ndarray
    starts: np.ndarray
    text: np.ndarray | None = None
    text_pieces: int = 0


@torch.inference_mode()
def encode_all(codec, samples: np.ndarray, utterances: list) -> TokenSet:
    """Encodes whole utterances offline.

    Raises:
        ValueError: none is as long as a frame.
    """
    tokens, latents, starts = [], [], [0]
    for number, u in enumerate(utterances):
        count = u.samples // FRAME_SAMPLES
        if count == 0:
            continue
        pcm = from_pcm16(samples[u.start : u.start + count * FRAME_SAMPLES])
        latent = codec.model._encode_to_unquantized_latent(torch.from_numpy(pcm)[None, None])
        codes = codec.model.quantizer.encode(latent)
        tokens.append(codes[0, :8].T.numpy().astype(np.uint16))
        latents.append(latent[0].T.numpy().astype(np.float16))
        starts.append(starts[-1] + count)
        if number % 500 == 0:
            print(f"tokens: {number} of {len(utterances)} utterances", flush=True)
    if not tokens:
        raise ValueError(f"none of {len(utterances)} utterances is as long as a frame of 80 ms")
    return TokenSet(np.concatenate(tokens), np.concatenate(latents), np.array(starts))


def save(found: TokenSet, path: Path) -> None:
    """Writes a token set as npz."""
    parts = {"tokens": found.tokens, "latents": found.latents, "starts": found.starts}
    if found.text is not None:
        parts |= {"text": found.text, "text_pieces": found.text_pieces}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **parts)


def load(path: Path) -> TokenSet:
    """Reads what :func:`save` wrote.

    Raises:
        ValueError: the file is not there yet, or is none.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing: run `largesc train tokens` first")
    try:
        with np.load(path) as data:
            text = (data["text"], int(data["text_pieces"])) if "text" in data else ()
            return TokenSet(data["tokens"], data["latents"], data["starts"], *text)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} holds no tokens that can be read ({error}): run `largesc train tokens` again"
        ) from error


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
    parser.add_argument(
        "--text-tokenizer", type=Path, metavar="FILE",
        help="SentencePiece model: text as well, where FILE.words lies beside FILE.wav",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    tokenizer = TextTokenizer(args.text_tokenizer) if args.text_tokenizer else None
    codec = load_codec(args.codec)
    utterances = prepare(args.speech, args.work / "speech")
    train_set, dev_set = split(utterances)
    if args.variants:
        train_set = train_set + split(add_variants(utterances, args.work / "speech"))[0]
    samples = open_samples(args.work / "speech")
    for name, chosen in (("dev", dev_set), ("train", train_set)):
        found = encode_all(codec, samples, chosen)
        if tokenizer is not None:
            folder = args.speech if args.speech.is_dir() else args.speech.parent
            text = text_beside(chosen, folder, tokenizer)
            found = replace(found, text=text, text_pieces=tokenizer.pieces)
        save(found, args.work / f"tokens_{name}.npz")


if __name__ == "__main__":
    main()

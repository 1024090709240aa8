# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a codec over the training speech once and keeps the tokens.

largesc train tokens --speech train.tsv --work DIR --codec FOLDER
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ...codec.load import load_codec
from ..augmentation import add_variants
from ..speech import open_samples, prepare, split
from ..text import TextTokenizer, text_beside
from ..token_sets import encode_all, save


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train tokens`` with ``arguments``; None: those of the process."""
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

# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of the language model a frame of 80 ms on one core: a frame that arrived, and a lost one.

python benchmarks/concealer.py [MODEL ...]

Models on the embedded codec's tokens.
"""

import argparse
import itertools
import time

import numpy as np
import torch
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.codec.codebooks import codebooks_of
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.concealment.dynamic_int8 import quantised
from gnuradio.largesc.concealment.lm_stream import LanguageModelStream
from gnuradio.largesc.concealment.load import load_language_model

FRAMES = 300


def milliseconds(stream: LanguageModelStream, frames: np.ndarray) -> np.ndarray:
    """Processor time of this thread for each of ``frames`` but the first ten, in ms."""
    found = []
    for tokens in frames:
        begin = time.thread_time()
        stream.step(tokens)
        found.append(1e3 * (time.thread_time() - begin))
    return np.array(found[10:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", default=["embedded"], help="model sources")
    args = parser.parse_args()
    torch.set_num_threads(1)
    books = codebooks_of(load_codec().model)
    known = np.random.default_rng(1).integers(0, books.shape[1], (FRAMES, 8)).astype(np.uint16)
    lost = np.full_like(known, ERASED_TOKEN)
    print("model | weights | samples | a frame that arrived, p50 ms | a lost one, p50 / p95 ms")
    for source in args.models:
        for bits, samples in itertools.product((32, 8), (1, 8)):
            model = load_language_model(source).model
            count = sum(p.numel() for p in model.parameters()) / 1e6
            model = quantised(model) if bits == 8 else model
            stream = LanguageModelStream(model, samples=samples, codebooks=books)
            came, gone = milliseconds(stream, known), milliseconds(stream, lost)
            print(
                f"{source}, {bits} bit | {count:.1f} M | {samples} | {np.median(came):.1f} | "
                f"{np.median(gone):.1f} / {np.quantile(gone, 0.95):.1f}"
            )


if __name__ == "__main__":
    main()

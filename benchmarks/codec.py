# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of the codec a frame of 80 ms on one core.

python benchmarks/codec.py SPEECH [--codec SOURCE]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.codec.speech_decoder import SpeechDecoder
from gnuradio.largesc.codec.speech_encoder import SpeechEncoder
from gnuradio.largesc.speech.files import read_audio
from gnuradio.largesc.speech.format import FRAME_SAMPLES


def milliseconds(work, items: list) -> np.ndarray:
    """Processor time of this thread for each item but the first ten, in ms."""
    found = []
    for item in items:
        begin = time.thread_time()
        work(item)
        found.append(1e3 * (time.thread_time() - begin))
    return np.array(found[10:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("--codec", default="embedded", help="model source")
    args = parser.parse_args()
    torch.set_num_threads(1)
    speech = read_audio(args.speech)
    pieces = list(speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES))
    pieces = (pieces * (1 + 500 // len(pieces)))[:500]
    encoder, decoder = SpeechEncoder(load_codec(args.codec)), SpeechDecoder(load_codec(args.codec))
    tokens = [frame.tokens for piece in pieces for frame in encoder.push(piece)]
    encode, decode = milliseconds(encoder.push, pieces), milliseconds(decoder.decode, tokens)
    for name, ms in (("encode", encode), ("decode", decode), ("both", encode + decode)):
        print(f"{name}: p50 {np.median(ms):.1f} ms, p95 {np.quantile(ms, 0.95):.1f} ms a frame")


if __name__ == "__main__":
    main()

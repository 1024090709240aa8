# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores the concealers on the same lost frames, one frame a packet and without copies.

    python -m gnuradio.largesc.evaluation.concealment_table --speech eval.tsv --output table.csv

Loss patterns are drawn once an utterance and are the same for all methods. In the conditions
``first 2`` and ``first 4`` nothing is lost, but only so many tokens of each frame were sent. Token
accuracy is the share of missing tokens that the method gets right.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np

from .._core import ERASED_TOKEN, LossModel
from ..codec.speech_decoder import SpeechDecoder
from ..concealment.concealer import ReceivedFrame, RepeatConcealer, make_concealer
from ..models.loader import load_codec, load_language_model
from ..training.speech import read_audio
from .measures import measure
from .table import markdown, run_jobs, usable, utterances, write_csv

FRAME_SAMPLES = 1920
# Name: tokens received of a frame that is not lost, loss probability, mean burst in packets.
CONDITIONS = {
    "20 % uniform": (8, 0.2, 1.0),
    "40 % uniform": (8, 0.4, 1.0),
    "20 % bursts of 3": (8, 0.2, 3.0),
    "40 % bursts of 3": (8, 0.4, 3.0),
    "first 2": (2, 0.0, 1.0),
    "first 4": (4, 0.0, 1.0),
}


@cache
def decoder_of(source: str) -> SpeechDecoder:
    """One decoder a process."""
    return SpeechDecoder(load_codec(source))


@cache
def stream_of(lm: str, temperature: float, top_k: int) -> object:
    """One language model a process and setting."""
    from ..concealment.lm_stream import LanguageModelStream

    model = load_language_model(lm).model
    return LanguageModelStream(model, temperature, top_k)


def concealer_of(method: str, lm: str) -> RepeatConcealer:
    """``repeat``, ``silence`` or ``lm:temperature:top_k:fill_tokens``."""
    if not method.startswith("lm"):
        return make_concealer(method)
    from ..concealment.concealer import LanguageModelConcealer

    _, temperature, top_k, fill_tokens = method.split(":")
    stream = stream_of(lm, float(temperature), int(top_k))
    stream.reset()
    return LanguageModelConcealer(stream, fill_tokens=int(fill_tokens))


def received(tokens: np.ndarray, condition: str, seed: int) -> np.ndarray:
    """``tokens`` ``[frames, 8]`` with what did not arrive erased."""
    count, loss, burst = CONDITIONS[condition]
    out = tokens.copy()
    out[:, count:] = ERASED_TOKEN
    if loss > 0:
        model = "bernoulli" if burst == 1.0 else "gilbert_elliott"
        lost = LossModel(model, loss, burst, seed=seed).draw(len(tokens))
        out[np.asarray(lost, dtype=bool)] = ERASED_TOKEN
    return out


def score(job: tuple[dict, int, str, str, list[str], list[str], list[str]]) -> list[dict]:
    """All methods and conditions on one utterance."""
    import torch

    row, seed, codec, lm, methods, conditions, names = job
    speech = read_audio(Path(row["file"]))
    decoder = decoder_of(codec)
    delay = decoder.codec.delay_samples
    frames = -(-(len(speech) + delay) // FRAME_SAMPLES)
    padded = np.zeros(frames * FRAME_SAMPLES, dtype=np.float32)
    padded[: len(speech)] = speech
    with torch.inference_mode():
        codes = load_codec(codec).model.encode(torch.from_numpy(padded)[None, None])
    tokens = codes[0].T.numpy().astype(np.uint16)
    found = []
    for condition in conditions:
        arrived = received(tokens, condition, seed)
        missing = arrived == ERASED_TOKEN
        for method in methods:
            concealer = concealer_of(method, lm)
            decoder.reset()
            done = [concealer.step(ReceivedFrame(n, t)) for n, t in enumerate(arrived)]
            out = np.concatenate([decoder.decode(f.tokens, f.gain) for f in done])
            right = np.array([f.tokens for f in done])[missing] == tokens[missing]
            facts = {"condition": condition, "method": method, "utterance": row["path"]}
            facts["accuracy"] = float(right.mean()) if missing.any() else float("nan")
            found.append(facts | measure(names, speech, out[delay : delay + len(speech)]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--speech", type=Path, required=True, help="tsv: path, corpus, speaker")
    parser.add_argument("--codec", default="embedded", help="model source")
    parser.add_argument("--lm", default="embedded", help="model source")
    parser.add_argument("--methods", default="silence,repeat,lm:0.7:50:4")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--per-speaker", type=int, default=2, help="utterances of each speaker")
    parser.add_argument("--measures", default="visqol,plcmos,stoi")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True, help="CSV to write")
    args = parser.parse_args()
    names = usable(args.measures)
    conditions = args.conditions.split(",")
    if unknown := [c for c in conditions if c not in CONDITIONS]:
        raise ValueError(f"condition {unknown[0]!r} is unknown: use {', '.join(CONDITIONS)}")
    jobs = [
        (row, 100 + n, args.codec, args.lm, args.methods.split(","), conditions, names)
        for n, row in enumerate(utterances(args.speech, args.per_speaker))
    ]
    rows = run_jobs(score, jobs, args.processes)
    write_csv(rows, args.output)
    print(markdown(rows, ["condition", "method"], ["accuracy", *names]))


if __name__ == "__main__":
    main()

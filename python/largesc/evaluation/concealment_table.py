# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores the concealers on the same lost frames, one frame a packet and without copies.

    python -m gnuradio.largesc.evaluation.concealment_table --speech eval.tsv --output table.csv

Loss patterns are drawn once an utterance and are the same for all methods. In the conditions
``first 2`` and ``first 4`` nothing is lost, but only so many tokens of each frame were sent. Token
accuracy is the share of missing tokens that the method gets right.
"""

import argparse
from pathlib import Path

import numpy as np

from .._core import ERASED_TOKEN
from ..concealment.concealer import (
    LanguageModelConcealer,
    ReceivedFrame,
    RepeatConcealer,
    make_concealer,
)
from ..training.speech import read_audio
from .measures import measure
from .own_link import decoder_of, draw_losses, encode, stream_of
from .table import markdown, run_jobs, usable, utterances, write_csv

# Name: tokens received of a frame that is not lost, loss probability, mean burst in packets.
CONDITIONS = {
    "20 % uniform": (8, 0.2, 1.0),
    "40 % uniform": (8, 0.4, 1.0),
    "20 % bursts of 3": (8, 0.2, 3.0),
    "40 % bursts of 3": (8, 0.4, 3.0),
    "first 2": (2, 0.0, 1.0),
    "first 4": (4, 0.0, 1.0),
}


def concealer_of(method: str, lm: str, codec: str) -> RepeatConcealer:
    """``repeat``, ``silence`` or ``lm:samples:temperature:top_k:fill:prefix``."""
    if ":" not in method:
        return make_concealer(method)
    samples, temperature, top_k, fill, prefix = method.split(":")[1:]
    stream = stream_of(lm, codec, int(samples), float(temperature), int(top_k))
    stream.reset()
    return LanguageModelConcealer(stream, fill_tokens=int(fill), prefix_tokens=int(prefix))


def received(tokens: np.ndarray, condition: str, seed: int) -> np.ndarray:
    """``tokens`` ``[frames, 8]`` with what did not arrive erased."""
    count, loss, burst = CONDITIONS[condition]
    out = tokens.copy()
    out[:, count:] = ERASED_TOKEN
    out[draw_losses(len(tokens), loss, burst, seed)] = ERASED_TOKEN
    return out


def score(job: tuple[dict, int, str, str, list[str], list[str], list[str]]) -> list[dict]:
    """All methods and conditions on one utterance."""
    row, seed, codec, lm, methods, conditions, names = job
    speech = read_audio(Path(row["file"]))
    decoder = decoder_of(codec)
    delay = decoder.codec.delay_samples
    tokens = np.array([frame.tokens for frame in encode(codec, speech)])
    found = []
    for condition in conditions:
        arrived = received(tokens, condition, seed)
        missing = arrived == ERASED_TOKEN
        for method in methods:
            concealer = concealer_of(method, lm, codec)
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
    parser.add_argument("--methods", default="silence,repeat,lm:1:0.7:50:4:0,lm:8:0.7:50:8:0")
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

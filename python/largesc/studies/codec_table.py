# SPDX-License-Identifier: GPL-3.0-or-later
r"""Scores our codec with 1 to 8 tokens beside other coders, without losses.

    largesc study codec_table --speech eval.tsv --lyra FOLDER --output FOLDER

Speech is a tab-separated table with the columns path, corpus, speaker. Rows of the result are coder
and set of speech; the sets are the corpora of the table, and the English ones together with noise.
Writes ``codec_table.csv`` (one line an utterance), prints the means as Markdown.
"""

import argparse
from pathlib import Path

import numpy as np

from ..channel.loss_timeline import LossChannel
from ..codec.load import load_codec
from ..evaluation.measures import ENGLISH_MEASURES, RECOGNISERS, measure, usable
from ..evaluation.systems.codec2 import Codec2
from ..evaluation.systems.lyra import Lyra
from ..evaluation.systems.own import OwnSystem
from ..evaluation.systems.system import System
from ..evaluation.utterances import utterances
from ..speech.files import read_audio
from ..tables import markdown, means
from .processes import results_of
from .study import add_common, at_least_one, save_rows

NOISE_SNR_DB = 10.0


def with_noise(speech: np.ndarray, seed: int) -> np.ndarray:
    """Noise of the utterance's own long-term spectrum, 10 dB below the speech."""
    rng = np.random.default_rng(seed)
    spectrum = np.abs(np.fft.rfft(speech))
    smooth = np.convolve(spectrum, np.ones(201) / 201, "same")
    phase = np.exp(2j * np.pi * rng.random(len(smooth)))
    noise = np.fft.irfft(smooth * phase, len(speech))
    gain = np.std(speech) / max(np.std(noise), 1e-9) * 10 ** (-NOISE_SNR_DB / 20)
    return np.clip(speech + gain * noise, -1.0, 1.0).astype(np.float32)


def own_coder(codec: str, tokens: int) -> OwnSystem:
    """Our codec with the first ``tokens`` tokens of each frame."""
    name = f"{tokens} token" + ("s" if tokens > 1 else "")
    plain = {"policy": "fixed", "rate_bps": 0.0, "concealer": "silence"}
    return OwnSystem(name, tokens=(tokens, 0), codec=codec, **plain)


def coded(system: System, speech: np.ndarray) -> tuple[np.ndarray, float]:
    """Speech through a system without losses, and the payload in bit/s."""
    packets = system.encode(speech, LossChannel(0.0))
    nothing = np.zeros(len(packets.leave_ms), dtype=bool)
    decoded = system.decode(packets, nothing, len(speech)).speech
    return decoded, packets.payload_bits / packets.leave_ms[-1] * 1000.0


def score(job: tuple[str, dict, int, list, list[str]]) -> list[dict]:
    """All coders on one utterance; English measures are left out where they do not fit."""
    set_name, row, seed, coders, names = job
    speech = read_audio(Path(row["file"]))
    if set_name.endswith("noise"):
        speech = with_noise(speech, seed)
    german = row["corpus"].endswith("-de")
    wanted = [n for n in names if not (german and n in ENGLISH_MEASURES)]
    found = []
    for coder in coders:
        decoded, payload_bps = coded(coder, speech)
        values = measure(wanted, speech, decoded, row.get("text"))
        facts = {"speech": set_name, "coder": coder.name, "payload_bps": round(payload_bps)}
        found.append(facts | {"utterance": row["path"]} | values)
    # The best value of these is not known beforehand.
    if open_ended := [n for n in wanted if n == "plcmos" or n in RECOGNISERS]:
        values = measure(open_ended, speech, speech, row.get("text"))
        facts = {"speech": set_name, "coder": "original", "payload_bps": "–"}
        found.append(facts | {"utterance": row["path"]} | values)
    return found


def codebook_entropy(source: str, rows: list[dict]) -> np.ndarray:
    """Entropy of the tokens of each codebook over all ``rows``, as a share of 11 bit, ``[8]``."""
    import torch

    model = load_codec(source).model
    with torch.inference_mode():
        codes = [
            model.encode(torch.from_numpy(read_audio(Path(row["file"])))[None, None])[0].T
            for row in rows
        ]
    share = []
    for column in torch.cat(codes).T.numpy():
        chance = np.bincount(column) / len(column)
        chance = chance[chance > 0]
        share.append(-(chance * np.log2(chance)).sum() / 11.0)
    return np.array(share)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, seed=0)
    parser.add_argument("--codec", default="embedded", help="model source")
    parser.add_argument("--tokens", default="1,2,3,4,5,6,7,8", help="tokens a frame")
    parser.add_argument("--lyra", type=Path, help="folder of Lyra v2's TFLite models")
    parser.add_argument("--no-codec2", action="store_true")
    parser.add_argument("--noise", action="store_true", help="the English sets again with noise")
    parser.add_argument("--per-speaker", type=int, default=4, help="utterances of each speaker")
    parser.add_argument(
        "--measures", default="visqol,visqol_lattice,plcmos,stoi,words_tiny,words_base,speaker"
    )
    parser.add_argument("--processes", type=at_least_one, default=2)


def study(args: argparse.Namespace) -> None:
    """Scores all coders, writes the table and prints its means."""
    names = usable(args.measures.split(","))
    coders = [own_coder(args.codec, int(k)) for k in args.tokens.split(",")]
    if args.lyra:
        coders += [Lyra(args.lyra, 3200), Lyra(args.lyra, 9200)]
    if not args.no_codec2:
        coders += [Codec2("1200"), Codec2("2400")]
    jobs = []
    for number, row in enumerate(utterances(args.speech, args.per_speaker), args.seed):
        jobs.append((row["corpus"], row, number, coders, names))
        if args.noise and not row["corpus"].endswith("-de"):
            jobs.append(("English with noise", row, number, coders, names))
    rows = [row for found in results_of(score, jobs, args.processes) for row in found]
    save_rows(args, "codec_table", rows)
    print(markdown(means(rows, ["speech", "coder", "payload_bps"], names)))
    shares = codebook_entropy(args.codec, utterances(args.speech, 1000))
    print("codebook entropy, share of 11 bit:", " ".join(f"{share:.3f}" for share in shares))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel codes of the translation link side by side: the same prompts, symbols and noise."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict

from ..channel_codec.load import DENSE_PART, LINEAR
from ..evaluation.cache import Cache, key_of
from ..models.store import read_config
from ..options import TranslationOptions
from ..speech.prompts import Prompt
from ..tables import mean_interval
from .channel_codes import code_sum
from .study import save_rows
from .translation import WHOLE, heard, scores

# Symbols a frame and SNR in dB, by channel. The first ones are the bounds that were set, on fading
# 4 dB higher; then the default number of symbols.
BOUNDS = ((48, 10.0), (96, 5.0), (128, 0.0))
FADING_DB = 4.0
DEFAULT = ((64, 10.0), (64, 5.0), (64, 0.0), (64, -5.0))
MORE = ((128, -5.0), (32, 10.0), (48, 5.0), (48, 0.0))
# The paper's code has been trained for one number of symbols.
DENSE_SYMBOLS = 64


def places() -> Iterator[tuple[int, str, float]]:
    """Symbols a frame, channel and SNR in dB, the important ones first."""
    for symbols, snr_db in DEFAULT:
        yield symbols, "awgn", snr_db
        yield symbols, "rayleigh", snr_db
    for symbols, snr_db in BOUNDS:
        yield symbols, "awgn", snr_db
        yield symbols, "rayleigh", snr_db + FADING_DB
    for symbols, snr_db in MORE:
        yield symbols, "awgn", snr_db
        yield symbols, "rayleigh", snr_db


def codes(args: argparse.Namespace, chosen: list[Prompt], done: Cache) -> list[dict]:
    """A row for each code and place; chrF of each prompt less that of the linear code, paired.

    Raises:
        ModelError: the paper's code is not where ``args`` says.
    """
    from sacrebleu import sentence_chrf

    sources = {"linear": LINEAR}
    if args.code != LINEAR:
        sources["trained"] = args.code
    if args.dense is not None:
        read_config(args.dense, DENSE_PART)
        sources["dense"] = str(args.dense)
    references = [prompt.reference for prompt in chosen]
    empty = {"code": "no channel", "symbols": "", "channel": "none", "snr_db": ""}
    texts = texts_of(args, chosen, done, {"channel": "none"}, LINEAR)
    nothing = {"ahead": "", "low": "", "high": ""}
    rows = [empty | scores(texts, references) | nothing]
    for symbols, channel, snr_db in places():
        setting, base = {"symbols": symbols, "channel": channel, "snr_db": snr_db}, []
        for name, source in sources.items():
            if name == "dense" and symbols != DENSE_SYMBOLS:
                continue
            texts = texts_of(args, chosen, done, setting, source)
            own = [sentence_chrf(t, [r]).score for t, r in zip(texts, references, strict=True)]
            row = {"code": name} | setting | scores(texts, references) | nothing
            if name == "linear":
                base = own
            else:
                apart = mean_interval([a - b for a, b in zip(own, base, strict=True)])
                found = zip(nothing, apart, strict=True)
                row |= {key: round(value, 1) for key, value in found}
            rows.append(row)
            print(", ".join(f"{k} {v}" for k, v in row.items()), flush=True)
            save_rows(args, "codes", rows)
    return rows


def texts_of(
    args: argparse.Namespace, chosen: list[Prompt], done: Cache, setting: dict, source: str
) -> list[str]:
    """English text of each prompt, translated as a whole; each has its own noise."""
    texts = []
    for number, prompt in enumerate(chosen):
        options = TranslationOptions(
            language=prompt.language, seed=args.seed + number, **(WHOLE | setting)
        )
        key = key_of("codes", prompt.name, asdict(options), code_sum(source))
        if key not in done:
            done.add(key, heard(prompt, options, "", source))
        texts.append(done[key])
    return texts

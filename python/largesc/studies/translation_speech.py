# SPDX-License-Identifier: GPL-3.0-or-later
"""What a radio channel leaves of the translation of any speech, without a translation to compare.

The reference is what the model itself makes of the speech without a channel: this tells what the
channel takes, and nothing of how good the model is.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..evaluation.cache import Cache, key_of
from ..features.load import large_model
from ..models.packaged import sha256_of
from ..options import TranslationOptions
from ..speech.files import read_audio, rows_of
from ..speech.format import SAMPLE_RATE_HZ
from ..tasks.translation import Burst, TranslationSender
from .channel_codes import code_sum
from .study import save_rows
from .translation import CHANNELS, PAUSE_S, SNRS_DB, SYMBOLS, WHOLE, received, scores

SHOWN = 3


def bursts_of(path: Path, language: str) -> list[Burst]:
    """Features of a recording as a whole."""
    options = TranslationOptions(language=language, channel="none", **WHOLE)
    sender = TranslationSender(options, large_model(options.model), None)
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    speech = np.concatenate([read_audio(path), pause])
    return [*sender.push(speech), *sender.flush()]


def against_itself(args: argparse.Namespace, done: Cache) -> list[dict]:
    """Returns rows by channel and SNR; texts of the first recordings are printed."""
    folder, held = rows_of(args.speech)
    settings = [{"channel": "none"}]
    settings += [{"channel": c, "snr_db": s} for s in SNRS_DB for c in CHANNELS]
    texts: list[list[str]] = [[] for _ in settings]
    for number, row in enumerate(held):
        path, bursts = folder / row["path"], None
        for setting, found in zip(settings, texts, strict=True):
            options = TranslationOptions(
                language=args.language, seed=args.seed + number, symbols=SYMBOLS[0], **setting
            )
            key = key_of("speech", sha256_of(path), asdict(options), code_sum(args.code))
            if key not in done:
                bursts = bursts or bursts_of(path, args.language)
                done.add(key, received(bursts, options, args.code))
            found.append(done[key])
            if number < SHOWN:
                print(f"{row['path']}, {setting}: {found[-1]}", flush=True)
    rows = []
    for setting, found in zip(settings, texts, strict=True):
        facts = scores(found, texts[0])
        rows.append(
            {"channel": "", "snr_db": ""}
            | setting
            | {"utterances": len(found), "chrf": facts["chrf"], "words": facts["words"]}
        )
    save_rows(args, f"speech_{args.language}", rows)
    return rows

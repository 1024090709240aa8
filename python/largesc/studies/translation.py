# SPDX-License-Identifier: GPL-3.0-or-later
r"""What is left of a translation behind a radio channel, and how far it lags behind the speaker.

    largesc study translation --output docs/results/translation --work WORK

Prompts that no model was fitted to, in French, Spanish, Italian and Russian, by BLEU and chrF
against the English prompts. ``translation.csv``: whole phrases, by channel, SNR and symbols a
frame, beside no channel, and our speech codec and Codec 2 translated at the receiver. With
``--streaming`` instead ``streaming.csv``, by segments and policy. With ``--confidence`` instead
``confidence.csv``: how sure the model is of prompts that the channel code may be fitted to. With
``--long`` instead ``long.csv``: how far the listener is behind in each minute of French that goes
on without a pause, at 10 dB Rayleigh. With ``--radio`` instead ``radio.csv``: the symbols through
the modem, ``radio_noise.csv``: what it takes for bursts in noise, and ``radio_peaks.csv``: how far
the peaks of a burst stand out. With ``--codes`` instead ``codes.csv``: channel codes side by side.
With ``--calls`` instead ``calls.csv``: how many calls a pair of edges carries. With ``--speech``
and ``--language XX`` instead ``speech_XX.csv``: any speech, against what the model makes of it
without a channel. Results are kept in ``cache`` of ``--work``, and a run that was killed goes on.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ..channel.loss_timeline import LossChannel
from ..channel.symbols import SymbolChannel
from ..evaluation.cache import Cache, key_of
from ..evaluation.systems.codec2 import Codec2
from ..evaluation.systems.own import OwnSystem
from ..features.load import large_model
from ..features.text import LAST_BEAM, LEAST_CONFIDENCE
from ..options import TRANSLATION_POLICIES, TranslationOptions
from ..speech.files import resampled
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.prompts import RATE_HZ, Prompt, prompts, speech_of
from ..tables import markdown
from ..tasks.translation import Air, Burst, TranslationReceiver, TranslationSender
from ..tasks.translation_loopback import Lags, TranslationLoopback
from .channel_codes import code_sum, load_code
from .study import add_common, at_least_one, plt, save_figure, save_rows

LANGUAGES = ("fr", "es", "it", "ru")
SNRS_DB = (10.0, 5.0, 0.0, -5.0)
SYMBOLS = (64, 32, 128)
# Other numbers of symbols are run at this SNR alone.
ALL_SYMBOLS_DB = 10.0
CHANNELS = ("awgn", "rayleigh")
CONFIDENCE_SNRS_DB = (19.0, 10.0, 5.0, 0.0, -5.0)
# Phrases as a whole: cut at pauses only.
WHOLE = {"policy": "segment", "segment_s": 10.0}
PAUSE_S = 1.0
# Of a prompt's ends, what is softer than its loudest sample by so much is cut off for ``--long``.
SOFT = 0.02
# Behind another codec, over a channel that loses nothing.
CODECS = {
    "LargeSC, 1500 bit/s": lambda: OwnSystem("ours"),
    "Codec 2 1300": lambda: Codec2("1300"),
}
STREAMING = [
    {"segments": "fixed", "segment_s": 0.75, "policy": "agreement"},
    {"segments": "fixed", "segment_s": 0.75, "policy": "segment"},
    {"segments": "fixed", "segment_s": 10.0, "policy": "segment"},
    {"segments": "prose", "segment_s": 0.75, "policy": "agreement"},
    {"segments": "printed", "segment_s": 0.75, "policy": "agreement"},
    {"segments": "fixed", "segment_s": 1.5, "policy": "agreement"},
]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--prompts", type=at_least_one, default=10, help="a language [%(default)s]")
    parser.add_argument(
        "--code",
        default="embedded",
        help="embedded, linear, or a folder [%(default)s]",
    )
    parser.add_argument(
        "--dense",
        type=Path,
        metavar="FOLDER",
        help="with --codes: the paper's code as well",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--streaming", action="store_true", help="segments and policies instead")
    instead.add_argument("--confidence", action="store_true", help="of the model, instead")
    instead.add_argument("--radio", action="store_true", help="through the modem, instead")
    instead.add_argument("--codes", action="store_true", help="channel codes instead")
    instead.add_argument("--calls", action="store_true", help="that two edges carry, instead")
    instead.add_argument(
        "--long", type=at_least_one, metavar="MINUTES", help="speech without pauses"
    )
    text = "folder or table of speech instead of prompts, against the model's own translation of it"
    instead.add_argument("--speech", type=Path, metavar="SPEECH", help=text)
    parser.add_argument("--language", metavar="XX", help="with --speech: that is spoken")
    parser.add_argument(
        "--policy", choices=TRANSLATION_POLICIES, default=TRANSLATION_POLICIES[0],
        help="with --long [%(default)s]",
    )  # fmt: skip


@cache
def sent(prompt: Prompt, codec: str) -> list[Burst]:
    """Features of a prompt as it comes behind a codec; ``codec`` is empty for none."""
    options = TranslationOptions(language=prompt.language, channel="none", **WHOLE)
    sender = TranslationSender(options, large_model(options.model), None)
    speech = coded(padded(prompt), codec)
    return [*sender.push(speech), *sender.flush()]


def padded(prompt: Prompt) -> np.ndarray:
    """A prompt at 24 kHz with a pause behind it."""
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    return np.concatenate([resampled(speech_of(prompt), RATE_HZ), pause]).astype(np.float32)


def coded(speech: np.ndarray, codec: str) -> np.ndarray:
    """Speech behind a codec and a channel without losses."""
    if not codec:
        return speech
    system = CODECS[codec]()
    packets = system.encode(speech, LossChannel(0.0))
    lost = np.zeros(len(packets.leave_ms), dtype=bool)
    return system.decode(packets, lost, len(speech)).speech


def heard(prompt: Prompt, options: TranslationOptions, codec: str, source: str = "embedded") -> str:
    """Text of a prompt behind the channel of ``options`` and the channel code of ``source``."""
    return received(sent(prompt, codec), options, source)


def received(bursts: list[Burst], options: TranslationOptions, source: str = "embedded") -> str:
    """Text of bursts of features behind the channel of ``options`` and the code of ``source``."""
    code = None
    if options.channel != "none":
        code = load_code(source, options.symbols)
    receiver = TranslationReceiver(options, large_model(options.model), code)
    air, texts = Air(options), []
    for burst in bursts:
        if code is not None:
            symbols, gain = code.encode(burst.symbols)
            burst = Burst(**vars(burst) | {"symbols": symbols, "gain_steps": gain})
        texts += receiver.push(air(burst))
    return "".join(text.committed for text in texts).strip()


def scores(texts: list[str], references: list[str]) -> dict[str, float]:
    """BLEU and chrF of a set, and its words against those of the references."""
    from sacrebleu import corpus_bleu, corpus_chrf

    words = [sum(len(text.split()) for text in of) for of in (texts, references)]
    return {
        "prompts": len(texts),
        "bleu": round(corpus_bleu(texts, [references]).score, 1),
        "chrf": round(corpus_chrf(texts, [references]).score, 1),
        "words": round(words[0] / max(1, words[1]), 2),
    }


def conditions() -> Iterator[tuple[str, dict, str]]:
    """Name, options and codec of each row, the important ones first."""
    yield "no channel", {"channel": "none"}, ""
    for snr_db in SNRS_DB:
        for symbols in SYMBOLS if snr_db == ALL_SYMBOLS_DB else SYMBOLS[:1]:
            for channel in CHANNELS:
                setting = {"channel": channel, "snr_db": snr_db, "symbols": symbols}
                yield "features", setting, ""
        if snr_db == ALL_SYMBOLS_DB:
            for name in CODECS:
                yield name, {"channel": "none"}, name


def chosen_prompts(count: int, fitted: bool = False) -> list[Prompt]:
    """Prompts of one half, evenly over the names of each language."""
    found = []
    for language in LANGUAGES:
        held = prompts(language, fitted)
        places = np.linspace(0, len(held) - 1, min(count, len(held))).astype(int)
        found += [held[place] for place in places]
    return found


def whole(args: argparse.Namespace, chosen: list[Prompt], done: Cache) -> list[dict]:
    """Returns rows for phrases that are translated as a whole."""
    rows = []
    for name, setting, codec in conditions():
        texts = []
        for number, prompt in enumerate(chosen):
            options = TranslationOptions(
                language=prompt.language, seed=args.seed + number, **(WHOLE | setting)
            )
            key = key_of("whole", prompt.name, codec, asdict(options), code_sum(args.code))
            if key not in done:
                done.add(key, heard(prompt, options, codec, args.code))
            texts.append(done[key])
        empty = {"channel": "none", "snr_db": "", "symbols": ""}
        found = scores(texts, [prompt.reference for prompt in chosen])
        rows.append({"system": name} | empty | setting | found)
        print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
        save_rows(args, "translation", rows)
    return rows


def streaming(args: argparse.Namespace, chosen: list[Prompt], done: Cache) -> list[dict]:
    """Rows of segments and policies, at 10 dB, all prompts of a language as one stream."""
    rows = []
    for setting in STREAMING:
        texts, references, facts = [], [], []
        for language in LANGUAGES:
            own = [prompt for prompt in chosen if prompt.language == language]
            options = TranslationOptions(
                language=language, seed=args.seed, channel_code=args.code, **setting
            )
            key = key_of("stream", [p.name for p in own], asdict(options), code_sum(args.code))
            if key not in done:
                link = TranslationLoopback(options)
                text, lags = "", Lags()
                for step in link.run(padded(prompt) for prompt in own):
                    text += step.text.committed
                    lags.add(step)
                share = link.computing_s / link.spoken_s
                done.add(key, {"text": text.strip(), "computing": share} | lags.figures())
            texts.append(done[key]["text"])
            references.append(" ".join(prompt.reference for prompt in own))
            facts.append({k: v for k, v in done[key].items() if k != "text"})
        means = {k: round(float(np.nanmean([f[k] for f in facts])), 2) for k in facts[0]}
        rows.append(setting | scores(texts, references) | {"prompts": len(chosen)} | means)
        print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
        save_rows(args, "streaming", rows)
    return rows


def long_speech(args: argparse.Namespace, done: Cache) -> list[dict]:
    """Returns a row a minute: how far text and voice are behind the ends of windows."""
    options = TranslationOptions(
        language="fr", channel="rayleigh", snr_db=10.0, seed=args.seed, channel_code=args.code,
        policy=args.policy,
    )  # fmt: skip
    key = key_of("long", args.long, asdict(options), code_sum(args.code))
    if key not in done:
        link, windows = TranslationLoopback(options), []
        source_end_s: dict[int, float] = {}
        words: dict[int, int] = {}
        said_s: dict[int, float] = {}
        for step in link.run(without_pauses("fr", args.long)):
            window = step.text.window
            source_end_s[step.burst.window] = step.burst.speech_end / SAMPLE_RATE_HZ
            words[window] = words.get(window, 0) + len(step.text.committed.split())
            if step.phrases:
                said_s[window] = step.phrases[-1][2]
            if step.text.last and window in source_end_s and window in said_s:
                ends_s = source_end_s[window]
                windows.append(
                    (ends_s, step.text_s - ends_s, said_s[window] - ends_s, words[window])
                )
        done.add(key, {"windows": windows, "computing": link.computing_s / link.spoken_s})
    rows = by_minute(done[key]["windows"])
    print(f"computing {done[key]['computing']:.2f} of real time")
    name = "long" if args.policy == TRANSLATION_POLICIES[0] else f"long_{args.policy}"
    save_rows(args, name, rows)
    return rows


def by_minute(windows: list[tuple[float, float, float, int]]) -> list[dict]:
    """Medians of each minute; of a window: its end, the lags of text and voice, and its words."""
    rows = []
    for minute in sorted({int(end_s // 60) for end_s, *_ in windows}):
        own = np.array([w for w in windows if int(w[0] // 60) == minute])
        _, text_s, voice_s, _ = np.median(own, axis=0)
        rows.append(
            {"minute": minute + 1, "windows": len(own), "words": int(own[:, 3].sum())}
            | {"lag_text_s": round(float(text_s), 2), "lag_voice_s": round(float(voice_s), 2)}
        )
    return rows


def without_pauses(language: str, minutes: float) -> Iterator[np.ndarray]:
    """Gives prompts that no model was fitted to, their silent ends cut off, round and round."""
    left, chosen = round(60 * minutes * SAMPLE_RATE_HZ), prompts(language, False)
    while left > 0:
        for prompt in chosen:
            speech = resampled(speech_of(prompt), RATE_HZ)
            loud = np.flatnonzero(np.abs(speech) > SOFT * np.abs(speech).max())
            piece = speech[loud[0] : loud[-1] + 1][:left].astype(np.float32)
            left -= len(piece)
            yield piece
            if left <= 0:
                return


def confidences(args: argparse.Namespace, chosen: list[Prompt], done: Cache) -> list[dict]:
    """Rows of how sure the model is of a text: its mean log probability of a token."""
    rows = []
    for snr_db in (None, *CONFIDENCE_SNRS_DB):
        found = []
        for number, prompt in enumerate(chosen):
            key = key_of(
                "confidence", prompt.name, prompt.language, snr_db, args.seed, code_sum(args.code)
            )
            if key not in done:
                done.add(key, confidences_of(prompt, snr_db, args.seed + number, args.code))
            found += done[key]
        low, quarter, middle = (round(float(x), 2) for x in np.quantile(found, (0, 0.25, 0.5)))
        rows.append(
            {"channel": "none" if snr_db is None else "awgn"}
            | {"snr_db": "" if snr_db is None else snr_db, "windows": len(found)}
            | {"lowest": low, "quarter_below": quarter, "half_below": middle}
            | {"doubtful": round(float(np.mean(np.array(found) < LEAST_CONFIDENCE)), 2)}
        )
        save_rows(args, "confidence", rows)
    return rows


def confidences_of(prompt: Prompt, snr_db: float | None, seed: int, source: str) -> list[float]:
    """Of each window of a prompt, behind AWGN where there is an SNR."""
    model, code, found = large_model("base"), load_code(source, SYMBOLS[0]), []
    channel = None if snr_db is None else SymbolChannel("awgn", snr_db, seed)
    for burst in sent(prompt, ""):
        frames = burst.symbols
        if channel is not None:
            symbols, gain = code.encode(frames)
            y, h = channel(torch.from_numpy(symbols))
            frames = code.decode(y.numpy(), h.numpy(), snr_db, gain)
        heard = np.concatenate([frames, model.silence])
        found.append(model.decode(heard, prompt.language, beam=LAST_BEAM).confidence)
    return found


def draw(rows: list[dict], args: argparse.Namespace) -> None:
    """Draws chrF over the SNR for each channel, and saves the figure."""
    figure, axes = plt.subplots(1, len(CHANNELS), figsize=(10, 4), sharey=True)
    base = {row["system"]: row["chrf"] for row in rows if row["system"] != "features"}
    for axis, channel in zip(axes, CHANNELS, strict=True):
        for symbols in sorted(SYMBOLS):
            own = [r for r in rows if (r["channel"], r["symbols"]) == (channel, symbols)]
            own.sort(key=lambda r: r["snr_db"])
            label = f"{symbols} symbols a frame, {symbols * 50 / 1000:g} kBd"
            axis.plot([r["snr_db"] for r in own], [r["chrf"] for r in own], "o-", label=label)
        for name, value in base.items():
            axis.axhline(value, ls="--", lw=1, color="gray")
            axis.text(max(SNRS_DB), value, name, ha="right", va="bottom", fontsize=7)
        axis.set(title=channel, xlabel="mean SNR of a symbol in dB")
    axes[0].set_ylabel("chrF")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    save_figure(args, "translation", figure)


def study(args: argparse.Namespace) -> None:
    """Runs what is missing, writes CSVs and the picture, prints tables."""
    if args.policy != TRANSLATION_POLICIES[0] and not args.long:
        raise ValueError(f"--policy {args.policy} would do nothing: give --long MINUTES as well")
    if (args.speech is None) != (args.language is None):
        raise ValueError("--speech SPEECH and --language XX belong together: give both")
    done = Cache(args.work / "cache")
    if args.long:
        rows = long_speech(args, done)
    elif args.speech:
        from .translation_speech import against_itself

        rows = against_itself(args, done)
    elif args.calls:
        from .translation_calls import carried

        rows = carried(args, done)
    elif args.radio:
        from .translation_radio import noise_alone, peaks, radio

        rows = radio(args, done)
        noise_alone(args, done)
        peaks(args)
    elif args.codes:
        from .translation_codes import codes

        rows = codes(args, chosen_prompts(args.prompts), done)
    elif args.confidence:
        rows = confidences(args, chosen_prompts(args.prompts, fitted=True), done)
    elif args.streaming:
        rows = streaming(args, chosen_prompts(args.prompts), done)
    else:
        rows = whole(args, chosen_prompts(args.prompts), done)
        draw(rows, args)
    lines = [[str(row.get(name, "")) for name in rows[0]] for row in rows]
    print("\n" + markdown([list(rows[0]), *lines]))

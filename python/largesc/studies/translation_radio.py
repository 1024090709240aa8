# SPDX-License-Identifier: GPL-3.0-or-later
"""Part of the study `translation`: the modem, beside the same fading that the receiver is told.

Both have the same prompts, symbols a frame, SNR of a symbol and fading; the modem has preamble,
header and pilots besides, and has to find bursts, carrier and gain itself.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np

from ..evaluation.cache import Cache, key_of
from ..features.load import large_model
from ..features.whisper import FEATURES_PER_S
from ..options import TranslationOptions
from ..radio.air import Fading
from ..radio.preamble import PREAMBLE_SYMBOLS
from ..radio.pulses import pulse_taps
from ..radio.symbol_burst import (
    HEADER_SYMBOLS,
    SYMBOL_PROFILES,
    burst_symbols,
    layout,
    spread_order,
)
from ..speech.prompts import Prompt
from ..tasks.translation import Burst, TranslationReceiver
from ..tasks.translation_radio import (
    RadioAir,
    RadioReceiver,
    RadioSender,
    limited,
    most_burst,
)
from .channel_codes import code_sum, load_code
from .study import save_rows
from .translation import WHOLE, chosen_prompts, scores, sent

SNRS_DB = (19.0, 10.0, 5.0)
# Channel and greatest Doppler shift.
CHANNELS = (("awgn", 0.0), ("rayleigh", 1.0), ("rayleigh", 5.0))
PROFILE, SYMBOLS = "medium", TranslationOptions.symbols
NOISE_S, PIECE_S, NOISE_SYMBOLS = 600, 10, 16


class ToldAir:
    """y = h x + n by symbols, h of the same fading and at the same times as on the air, and told.

    Args:
        options: as of :class:`RadioAir`.
    """

    def __init__(self, options: TranslationOptions) -> None:
        self._rng = np.random.default_rng(options.seed)
        self._fading, self._options = None, options
        if options.channel == "rayleigh":
            self._fading = Fading(options.doppler_hz, self._rng)
        self._rate = SYMBOL_PROFILES[options.radio].symbol_rate
        self._at_s, self._index = 0.0, 0

    def __call__(self, burst: Burst, from_s: float) -> list[Burst]:
        """What is received of a burst, in as many parts as on the air."""
        self._at_s = max(self._at_s, from_s)
        most = most_burst(self._options.symbols) // burst.symbols.shape[1]
        return [self._part(burst, first, most) for first in range(0, len(burst.symbols), most)]

    def _part(self, burst: Burst, first: int, most: int) -> Burst:
        x = burst.symbols[first : first + most]
        h = self._gain(x.size).reshape(x.shape).astype(np.complex64)
        self._at_s += burst_symbols(x.size) / self._rate
        drawn = self._rng.standard_normal((2, *x.shape)) * np.sqrt(0.5)
        noise = 10.0 ** (-self._options.snr_db / 20.0) * (drawn[0] + 1j * drawn[1])
        self._index += 1
        return replace(
            burst,
            index=self._index - 1,
            last=burst.last and first + most >= len(burst.symbols),
            symbols=(h * x + noise).astype(np.complex64),
            h=h,
        )

    def _gain(self, count: int) -> np.ndarray:
        if self._fading is None:
            return np.ones(count)
        places = PREAMBLE_SYMBOLS + layout(count).data[HEADER_SYMBOLS:]
        h = np.empty(count, dtype=complex)
        h[spread_order(count)] = self._fading.at(self._at_s + places / self._rate)
        return h


def over_radio(prompt: Prompt, options: TranslationOptions, told: bool) -> dict:
    """Text of a prompt, and what the modem counted."""
    code = load_code(options.channel_code, options.symbols)
    receiver = TranslationReceiver(options, large_model(options.model), code)
    air, texts, at_s = ToldAir(options) if told else RadioAir(options), [], 0.0
    for burst in sent(prompt, ""):
        symbols, gain = code.encode(burst.symbols)
        burst, at_s = (
            replace(burst, symbols=symbols, gain_steps=gain),
            at_s + burst.seconds(FEATURES_PER_S),
        )
        received = air(burst, at_s)
        for one in received if told else received[0]:
            texts += receiver.push(one)
    texts += receiver.flush()
    text = "".join(text.committed for text in texts).strip()
    return {"text": text, "figures": {} if told else air.figures()}


def conditions() -> Iterator[dict]:
    """Options of the channel of each pair of rows."""
    for snr_db in SNRS_DB:
        for channel, doppler_hz in CHANNELS:
            yield {"channel": channel, "doppler_hz": doppler_hz, "snr_db": snr_db}


def radio(args: argparse.Namespace, done: Cache) -> list[dict]:
    """Rows of the modem, each behind one where the receiver is told the fading."""
    chosen, rows = chosen_prompts(args.prompts), []
    for setting in conditions():
        for told in (True, False):
            found = []
            for number, prompt in enumerate(chosen):
                options = TranslationOptions(
                    language=prompt.language, seed=args.seed + number, radio=PROFILE,
                    channel_code=args.code,
                    **(WHOLE | setting),
                )  # fmt: skip
                key = key_of("radio", prompt.name, told, asdict(options), code_sum(args.code))
                if key not in done:
                    done.add(key, over_radio(prompt, options, told))
                found.append(done[key])
            rows.append(
                {"receiver": "told" if told else f"modem, {PROFILE}"}
                | setting
                | scores([one["text"] for one in found], [p.reference for p in chosen])
                | _sums([one["figures"] for one in found])
            )
            print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
            save_rows(args, "radio", rows)
    return rows


def _sums(figures: list[dict]) -> dict:
    """Bursts and symbols of all prompts together; empty where there was no modem."""
    names = {"sent": "bursts", "lost": "lost", "payload_symbols": "payload_symbols"}
    if not any(figures):
        return dict.fromkeys([*names.values(), "symbols"], "")
    total = {name: sum(one[name] for one in figures) for name in figures[0]}
    total["lost"] = total["sent"] - total["bursts"]
    return {shown: total[name] for name, shown in names.items()} | {"symbols": total["symbols"]}


def peaks(args: argparse.Namespace) -> list[dict]:
    """One row: the greatest peak of bursts, and what it costs that symbols are limited."""
    code, cut, all_power, samples = load_code(args.code, SYMBOLS), 0.0, 0.0, []
    for prompt in chosen_prompts(args.prompts):
        sender = RadioSender(PROFILE, SYMBOLS)
        for burst in sent(prompt, ""):
            x, gain = code.encode(burst.symbols)
            cut += float(np.sum(np.abs(x - limited(x)) ** 2))
            all_power += float(np.sum(np.abs(x) ** 2))
            samples.append(sender.push(replace(burst, symbols=x, gain_steps=gain)))
    on_air = np.concatenate(samples)
    sps = SYMBOL_PROFILES[PROFILE].samples_per_symbol
    spread = np.zeros(len(on_air) * sps, dtype=complex)
    spread[::sps] = on_air
    # Of a pulse of energy 1 a symbol, and symbols of power 1.
    peak = float(np.abs(np.convolve(spread, pulse_taps(sps))).max())
    error_db = 10.0 * np.log10(cut / all_power)
    rows = [{"symbols": len(on_air), "peak": round(peak, 1), "limited_db": round(error_db, 1)}]
    save_rows(args, "radio_peaks", rows)
    return rows


def noise_alone(args: argparse.Namespace, done: Cache) -> list[dict]:
    """Rows of ten minutes in which nobody sends: preambles and bursts that are found."""
    rows = []
    for name in SYMBOL_PROFILES:
        key = key_of("radio noise", name, NOISE_S, args.seed)
        if key not in done:
            done.add(key, found_in_noise(name, args.seed))
        rows.append({"profile": name, "seconds": NOISE_S} | done[key])
        print(rows[-1], flush=True)
        save_rows(args, "radio_noise", rows)
    return rows


def found_in_noise(name: str, seed: int) -> dict[str, int]:
    """Counters of a receiver that hears nothing else, ``preambles`` and ``bursts``."""
    receiver, rng = RadioReceiver(name, NOISE_SYMBOLS), np.random.default_rng(seed)
    for _ in range(NOISE_S // PIECE_S):
        size = int(PIECE_S * SYMBOL_PROFILES[name].sample_rate)
        noise = rng.standard_normal((2, size))
        receiver.push((noise[0] + 1j * noise[1]).astype(np.complex64))
    return {key: receiver.counters[key] for key in ("preambles", "bursts")}

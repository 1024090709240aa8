# SPDX-License-Identifier: GPL-3.0-or-later
"""How many calls a pair of edges of the translation link carries, computed together or one by one.

Edges run on the clock of the speech, each on a core of its own; computing counts as long as it took
the processor. What waits for an edge is taken as `largesc translate edge` takes it.
"""

import argparse
import time
from collections import deque
from dataclasses import asdict, dataclass

import numpy as np

from ..channel_codec.load import load_channel_code
from ..evaluation.cache import Cache, key_of
from ..features.load import large_model
from ..features.model import MOST_TOGETHER, answered_together
from ..options import TranslationOptions
from ..speech.format import SAMPLE_RATE_HZ
from ..tasks.translation import (
    MOST_AGE_S,
    Air,
    Burst,
    SpeakerDevice,
    SpeakerEdge,
    TranslationReceiver,
)
from .channel_codes import code_sum
from .study import save_rows
from .translation import LANGUAGES, chosen_prompts, padded, scores

CALLS, TOGETHER = (2, 4, 6), (1, MOST_TOGETHER)
SECONDS, STAGGER_S = 45.0, 0.125
# Prompts a language: enough for the longest call of each.
PROMPTS = 40


@dataclass(frozen=True)
class Step:
    """A segment of a call at the speaker's edge.

    Attributes:
        call: its number.
        at_s: when it comes.
        took_s: what encoding it takes.
        bursts: behind the channel.
    """

    call: int
    at_s: float
    took_s: float
    bursts: list[Burst]


def options_of(call: int, seed: int) -> TranslationOptions:
    """Options of a call: its language, and a channel of its own."""
    return TranslationOptions(language=LANGUAGES[call % len(LANGUAGES)], seed=seed + call)


def spoken(call: int, seed: int) -> tuple[list[Step], str]:
    """Steps of a call, and the English of what is said in it."""
    options = options_of(call, seed)
    model, code = large_model(options.model), load_channel_code()
    device, edge = SpeakerDevice(options, model.front), SpeakerEdge(options, model, code)
    air, steps, references, samples = Air(options), [], [], 0
    own = [p for p in chosen_prompts(PROMPTS) if p.language == options.language]
    # No two calls of a language say the same, and none speaks in step with another.
    own, before_s = own[call // len(LANGUAGES) :: 2], STAGGER_S * call
    for prompt in own:
        speech = padded(prompt)
        references.append(prompt.reference)
        samples += len(speech)
        for sound in device.push(speech):
            begin = time.process_time()
            bursts = list(edge.push(sound))
            took_s = time.process_time() - begin
            at_s = before_s + sound.end / SAMPLE_RATE_HZ
            steps.append(Step(call, at_s, took_s, [air(burst) for burst in bursts]))
        if samples > SECONDS * SAMPLE_RATE_HZ:
            break
    return steps, " ".join(references)


def arrivals(steps: list[Step]) -> list[tuple[float, int, Burst]]:
    """When bursts of all calls come to the listener's edge, from calls of a speaker's edge."""
    free_s, found, air_s = 0.0, [], {}
    features_per_s = large_model(TranslationOptions.model).features_per_s
    for step in sorted(steps, key=lambda s: s.at_s):
        free_s = max(free_s, step.at_s) + step.took_s
        for burst in step.bursts:
            sent_s = max(air_s.get(step.call, 0.0), free_s)
            air_s[step.call] = sent_s + burst.seconds(features_per_s)
            found.append((air_s[step.call], step.call, burst))
    return sorted(found, key=lambda one: one[:2])


def heard(coming: list[tuple[float, int, Burst]], calls: int, together: int, seed: int) -> dict:
    """What a listener's edge makes of bursts: its computing, lags in s, text of each call."""
    model, code = large_model(TranslationOptions.model), load_channel_code()
    receivers = [TranslationReceiver(options_of(n, seed), model, code) for n in range(calls)]
    waiting = deque(coming)
    texts, now_s, computing_s, lags, ages = [""] * calls, 0.0, 0.0, [], []
    while waiting:
        now_s = max(now_s, waiting[0][0])
        taken, later = {}, deque()
        while waiting and waiting[0][0] <= now_s and len(taken) < together:
            one = waiting.popleft()
            if one[1] in taken:
                later.append(one)
            else:
                taken[one[1]] = one
        waiting.extendleft(reversed(later))
        ages += [now_s - at_s for at_s, *_ in taken.values()]
        begin = time.process_time()
        askings = [receivers[call].pushing(burst) for _, call, burst in taken.values()]
        found = answered_together(askings, model.decode_all)
        took_s = time.process_time() - begin
        now_s, computing_s = now_s + took_s, computing_s + took_s
        for (at_s, call, _), said in zip(taken.values(), found, strict=True):
            lags.append(now_s - at_s)
            texts[call] += "".join(text.committed for text in said)
    return {"texts": texts, "computing_s": computing_s, "lags": lags, "ages": ages}


def carried(args: argparse.Namespace, done: Cache) -> list[dict]:
    """Returns rows: how busy both edges are, and how long a burst waits for its text."""
    said, rows = [spoken(call, args.seed) for call in range(max(CALLS))], []
    for calls in CALLS:
        steps = [step for own, _ in said[:calls] for step in own]
        ends_s = max(step.at_s for step in steps)
        coming = arrivals(steps)
        for together in TOGETHER:
            options = options_of(0, args.seed)
            code = code_sum(options.channel_code)
            key = key_of("calls", calls, together, asdict(options), code)
            if key not in done:
                done.add(key, heard(coming, calls, together, args.seed))
            found = done[key]
            texts, references = found["texts"], [reference for _, reference in said[:calls]]
            lags, ages = np.array(found["lags"]), np.array(found["ages"])
            rows.append(
                {"calls": calls, "together": together}
                | {"speaker_edge": round(sum(s.took_s for s in steps) / ends_s, 2)}
                | {"listener_edge": round(found["computing_s"] / ends_s, 2)}
                | {"text_s": round(float(np.median(lags)), 2)}
                | {"text_95_s": round(float(np.quantile(lags, 0.95)), 2)}
                | {"too_old": round(float(np.mean(ages > MOST_AGE_S)), 2)}
                | {k: v for k, v in scores(texts, references).items() if k != "prompts"}
            )
            print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
            save_rows(args, "calls", rows)
    return rows

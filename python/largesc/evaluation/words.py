# SPDX-License-Identifier: GPL-3.0-or-later
"""Words as a measure: those that a recogniser has wrong, against the transcript if there is one.

Without a transcript they are counted against what the same recogniser hears in the original. An
utterance of which nothing can be counted says why in the column ``words_note``.
"""

from functools import lru_cache

import numpy as np

from ..tables import number_of, ratio_interval
from .recogniser import JUDGE, SECOND, load, normalised, word_errors

# Measure and its recogniser; that of the last is given by the caller.
RECOGNISERS = {"words_tiny": JUDGE, "words_base": SECOND, "words_given": ""}
# Of an original with so large a share of its transcript wrong, the transcript is of something else.
MOST_WRONG = 0.75
NO_TRANSCRIPT = "the transcript has no words"
NOTHING_HEARD = "no words are heard in the original"
OTHER_WORDS = (
    "three quarters of the transcript are not heard in the original: another language, or other "
    "words"
)


@lru_cache(maxsize=8)
def heard_in(recogniser: str, samples: bytes) -> str:
    """What is heard in 24 kHz float32 samples. The original comes up again with each coder."""
    return load(recogniser).transcript(np.frombuffer(samples, dtype=np.float32))


def count_words(
    name: str, original: np.ndarray, decoded: np.ndarray, text: str | None, given: str = ""
) -> dict[str, float | str]:
    """Columns of the measure ``name``: the share of words that are wrong, and of how many.

    Args:
        name: of :data:`RECOGNISERS`.
        original: float32 at 24 kHz, as ``decoded``.
        decoded: speech to judge.
        text: what is said; None: unknown.
        given: recogniser of ``words_given``.

    Returns:
        ``NAME`` and ``NAME_of``, or ``words_note``: why there is nothing to count.
    """
    recogniser = RECOGNISERS[name] or given
    if text is not None and not normalised(text):
        return {"words_note": NO_TRANSCRIPT}
    before = heard_in(recogniser, original.astype(np.float32).tobytes())
    if text is None and not normalised(before):
        return {"words_note": NOTHING_HEARD}
    if text is not None:
        wrong, words = word_errors(text, before)
        if wrong > MOST_WRONG * words:
            return {"words_note": OTHER_WORDS}
    after = heard_in(recogniser, decoded.astype(np.float32).tobytes())
    wrong, words = word_errors(before if text is None else text, after)
    return {name: wrong / words, f"{name}_of": words}


def lost(
    rows: list[dict], measure: str, original: str, reference: str
) -> dict[tuple, dict[str, tuple[float, float, float]]]:
    """Words wrong and words lost of each system, pooled over the utterances.

    Lost is the share of the words that the original has right and the system has not:
    ``(WER - WER of the original) / (1 - WER of the original)``.

    Args:
        rows: of the CSV of an evaluation.
        measure: of :data:`RECOGNISERS`.
        original: name of the system that leaves speech as it is.
        reference: name of the system that the others are compared with.

    Returns:
        For each (system, channel, loss): ``wrong``, ``lost`` and ``lost_more`` than by the
        reference, each with the bounds of its 95 % interval: bootstrap over utterances, paired.
    """
    errors: dict[tuple, dict[str, list[float]]] = {}
    words: dict[str, float] = {}
    for row in rows:
        rate, of = number_of(row.get(measure)), number_of(row.get(f"{measure}_of"))
        if not np.isnan(rate):
            place = row["system"], row["channel"], row["loss"]
            errors.setdefault(place, {}).setdefault(row["utterance"], []).append(rate * of)
            words[row["utterance"]] = of
    at_origin = next((found for place, found in errors.items() if place[0] == original), {})
    out = {}
    for place, found in errors.items():
        against = errors.get((reference, *place[1:]), {})
        shared = [u for u in found if u in at_origin and u in against]
        if not shared:
            continue
        wrong, known, other = (
            np.array([np.mean(each[u]) for u in shared]) for each in (found, at_origin, against)
        )
        of = np.array([words[u] for u in shared])
        out[place] = {
            "wrong": ratio_interval(wrong, of),
            "lost": ratio_interval(wrong - known, of - known),
            "lost_more": ratio_interval(wrong - other, of - known),
        }
    return out

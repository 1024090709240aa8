# SPDX-License-Identifier: GPL-3.0-or-later
"""Cuts speech into segments while it comes, and leaves silence out.

"Large Model Empowered Streaming Speech Semantic Communications", eq. 8: the next segment's length
d' follows the slope k of this one's amplitude,

    d' = max[m, (1 - p e^k) d]  for k > 0,    min[n, (1 - q ln(k + 1)) d]  otherwise.

That shortens on a rising amplitude, where the paper's words and its Fig. 3 lengthen. ``printed`` is
the formula; ``prose`` is it with both signs turned, d' = min[n, (1 + p e^k) d] and
max[m, (1 + q ln(k + 1)) d]. Both are clipped at both ends here, to m and n, where eq. 8 has one
bound a case: a first length outside of them comes back. The paper leaves open how k is measured.
Here: least squares over the amplitude (RMS of 20 ms), in shares of its mean, over the segment as
0 to 1; k counts within -0.9 to 3, since the logarithm ends at -1.
"""

from dataclasses import dataclass

import numpy as np

from .silence import SilenceGate

RULES = ("fixed", "printed", "prose")
SHORTEST_S, LONGEST_S, P, Q = 0.65, 0.85, 0.05, 0.05
LEAST_SLOPE, MOST_SLOPE = -0.9, 3.0
LEVELS_PER_S, STEPS_PER_S = 50, 20
# Kept of the silence before speech, and waited for until speech is over.
BEFORE_S, PAUSE_S = 0.2, 0.6
MOST_LENGTH_S = 30.0


@dataclass(frozen=True)
class Segment:
    """A piece of speech.

    Attributes:
        samples: float32; none where the stream ends right behind another segment.
        start: number of its first sample in the stream.
        last: a pause follows.
        speech_end: number of the sample behind the last that sounds, to a step of 50 ms; before
            ``start`` in a segment of a pause alone.
    """

    samples: np.ndarray
    start: int
    last: bool
    speech_end: int

    @property
    def end(self) -> int:
        """Number of the sample behind it."""
        return self.start + len(self.samples)


class Segmenter:
    """Cuts a stream of speech into segments.

    Args:
        rate_hz: of the samples.
        length_s: of a segment; the first one's where lengths follow the amplitude.
        rule: ``fixed``, ``printed`` or ``prose``.

    Raises:
        ValueError: a parameter is out of range.

    Attributes:
        silent_samples: that were left out.
    """

    def __init__(self, rate_hz: int, length_s: float = 0.75, rule: str = "fixed") -> None:
        if rule not in RULES:
            raise ValueError(f"rule {rule!r} is unknown: use one of {', '.join(RULES)}")
        if not 1 / STEPS_PER_S <= length_s <= MOST_LENGTH_S:
            raise ValueError(
                f"length_s {length_s:g} is out of range: use {1 / STEPS_PER_S:g} to "
                f"{MOST_LENGTH_S:g} s"
            )
        self.rate_hz, self.rule, self._first_s = rate_hz, rule, length_s
        self._step = rate_hz // STEPS_PER_S
        self.reset()

    def reset(self) -> None:
        """Begins a new stream, with no silence left out so far."""
        self._gate = SilenceGate()
        self._rest = np.zeros(0, dtype=np.float32)
        self._pieces: list[np.ndarray] = []
        self._length_s, self._taken, self._speech_end = self._first_s, 0, 0
        self._talking = False
        self.silent_samples = 0

    def push(self, samples: np.ndarray) -> list[Segment]:
        """Segments that end within these samples behind those of before.

        What is no number counts as 0.
        """
        clean = np.nan_to_num(samples, posinf=0.0, neginf=0.0).astype(np.float32)
        self._rest = np.concatenate([self._rest, clean])
        found = []
        whole = len(self._rest) // self._step * self._step
        for step in self._rest[:whole].reshape(-1, self._step):
            if (segment := self._add(step)) is not None:
                found.append(segment)
        self._rest = self._rest[whole:]
        return found

    def flush(self) -> list[Segment]:
        """The rest, at the end of the stream."""
        rest, self._rest = self._rest, self._rest[:0]
        self._taken += len(rest)
        if not self._talking:
            return []
        self._pieces.append(rest)
        return [self._cut(last=True)]

    def _add(self, step: np.ndarray) -> Segment | None:
        power = float(np.mean(np.square(step, dtype=np.float64)))
        silent = self._gate.silent(10.0 * np.log10(max(power, 1e-12)))
        self._taken += len(step)
        self._pieces.append(step)
        if not silent:
            self._speech_end = self._taken
        if not self._talking:
            self._talking = not silent
            if silent:
                kept = int(BEFORE_S * STEPS_PER_S)
                self.silent_samples += sum(map(len, self._pieces[:-kept]))
                self._pieces = self._pieces[-kept:]
            return None
        if self._taken - self._speech_end >= PAUSE_S * self.rate_hz:
            return self._cut(last=True)
        # In whole steps, at least one.
        steps = max(1, round(self._length_s * STEPS_PER_S))
        return self._cut(last=False) if len(self._pieces) >= steps else None

    def _cut(self, last: bool) -> Segment:
        samples = np.concatenate(self._pieces)
        self._pieces = []
        if last:
            self._talking, self._length_s = False, self._first_s
        elif self.rule != "fixed":
            self._length_s = next_length(self._length_s, self._slope(samples), self.rule)
        return Segment(samples, self._taken - len(samples), last, self._speech_end)

    def _slope(self, samples: np.ndarray) -> float:
        size = self.rate_hz // LEVELS_PER_S
        pieces = samples[: len(samples) // size * size].reshape(-1, size)
        return slope_of(np.sqrt(np.mean(np.square(pieces), axis=1)))


def slope_of(amplitude: np.ndarray) -> float:
    """k of eq. 8, of the amplitude of a segment ``[n]``."""
    mean = float(amplitude.mean()) if len(amplitude) > 1 else 0.0
    if mean <= 0.0:
        return 0.0
    slope = np.polyfit(np.linspace(0.0, 1.0, len(amplitude)), amplitude / mean, 1)[0]
    return float(slope)


def next_length(length_s: float, slope: float, rule: str) -> float:
    """d' of eq. 8 in seconds, as it is printed or as the paper's words have it."""
    slope = min(max(slope, LEAST_SLOPE), MOST_SLOPE)
    sign = 1.0 if rule == "prose" else -1.0
    if slope > 0.0:
        wanted = (1.0 + sign * P * np.exp(slope)) * length_s
    else:
        wanted = (1.0 + sign * Q * np.log(slope + 1.0)) * length_s
    return float(np.clip(wanted, SHORTEST_S, LONGEST_S))

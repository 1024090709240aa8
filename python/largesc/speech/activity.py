# SPDX-License-Identifier: GPL-3.0-or-later
"""Short utterances in a stream: what lies between two pauses, and is no longer than a command."""

from dataclasses import dataclass

import numpy as np

from .format import SAMPLE_RATE_HZ

STEP_SAMPLES = SAMPLE_RATE_HZ // 100
MOST_S = 1.6
MOST_STEPS = round(100 * MOST_S)
# Steps of 10 ms: loud ones that begin an utterance, quiet ones that end it, those kept before it
# and behind it, and loud ones that it has at least. A click is shorter.
ONSET, PAUSE, LEAD, TAIL, LEAST = 3, 30, 12, 12, 9
# Further back than this nothing is kept.
KEPT_STEPS = MOST_STEPS + LEAD + PAUSE
# The floor of the noise: quickly down, slowly up, and never above this.
FLOOR_DOWN, FLOOR_UP_DB, HIGHEST_FLOOR_DBFS = 0.3, 0.03, -25.0
SILENT_DBFS = -60.0
# A stream may begin with speech.
FIRST_FLOOR_DBFS = -35.0


@dataclass(frozen=True)
class Spoken:
    """An utterance.

    Attributes:
        samples: float32 ``[n]`` at 24 kHz, at most 1.6 s.
        start: of its first sample in the stream.
    """

    samples: np.ndarray
    start: int


class ActivityDetector:
    """Cuts utterances of at most 1.6 s out of a stream.

    A step of 10 ms is loud when it lies ``margin_db`` over the floor of the noise, which follows
    the stream. What goes on for longer than 1.6 s without a pause of 0.3 s is no command and left
    out. Memory is bounded.

    Args:
        margin_db: over the floor, 3 to 40.
        pause_steps: of 10 ms, that end an utterance.

    Counters, in :attr:`counters`: ``too_long``, ``too_short`` (clicks), ``broken_samples`` (no
    number; now 0).

    Raises:
        ValueError: ``margin_db`` is out of range.
    """

    def __init__(self, margin_db: float = 10.0, pause_steps: int = PAUSE) -> None:
        if not 3.0 <= margin_db <= 40.0:
            raise ValueError(f"margin_db {margin_db} is out of range: use 3 to 40")
        self.margin_db, self._pause = margin_db, pause_steps
        self.counters = {"too_long": 0, "too_short": 0, "broken_samples": 0}
        self._rest = np.zeros(0, dtype=np.float32)
        self._steps: list[np.ndarray] = []
        self._taken = 0
        self._floor_dbfs: float | None = None
        self._loud_run = self._quiet_run = self._loud = 0
        self._begin: int | None = None

    def push(self, samples: np.ndarray) -> list[Spoken]:
        """Takes samples, float ``[n]``, and gives the utterances that have ended with them."""
        samples = np.asarray(samples, dtype=np.float32)
        broken = ~np.isfinite(samples)
        if broken.any():
            self.counters["broken_samples"] += int(broken.sum())
            samples = np.where(broken, np.float32(0.0), samples)
        self._rest = np.concatenate([self._rest, samples])
        count = len(self._rest) // STEP_SAMPLES
        steps = self._rest[: count * STEP_SAMPLES].reshape(count, STEP_SAMPLES)
        self._rest = self._rest[count * STEP_SAMPLES :].copy()
        # float64: the square of what is far beyond full scale is a number as well.
        power = np.square(steps.astype(np.float64)).mean(axis=1)
        levels = 10.0 * np.log10(np.maximum(power, 1e-12))
        found = [self._step(s, float(level)) for s, level in zip(steps, levels, strict=True)]
        return [spoken for spoken in found if spoken is not None]

    def flush(self) -> list[Spoken]:
        """The utterance that the end of the stream has cut, if there is one."""
        quiet = np.zeros((PAUSE + 1) * STEP_SAMPLES, dtype=np.float32)
        return self.push(quiet)

    def _step(self, step: np.ndarray, level: float) -> Spoken | None:
        self._steps.append(step.copy())
        self._taken += 1
        if len(self._steps) > KEPT_STEPS:
            self._steps.pop(0)
        loud = level > self._threshold(level)
        self._loud_run = self._loud_run + 1 if loud else 0
        self._quiet_run = 0 if loud else self._quiet_run + 1
        if self._begin is None:
            if self._loud_run >= ONSET:
                self._begin = self._taken - ONSET - LEAD
                self._loud = ONSET
            return None
        self._loud += loud
        return self._ended() if self._quiet_run >= self._pause else None

    def _threshold(self, level: float) -> float:
        if self._floor_dbfs is None:
            self._floor_dbfs = min(level, FIRST_FLOOR_DBFS)
        elif level < self._floor_dbfs:
            self._floor_dbfs += FLOOR_DOWN * (level - self._floor_dbfs)
        else:
            self._floor_dbfs = min(self._floor_dbfs + FLOOR_UP_DB, HIGHEST_FLOOR_DBFS)
        return max(self._floor_dbfs + self.margin_db, SILENT_DBFS)

    def _ended(self) -> Spoken | None:
        end = self._taken - self._pause + min(TAIL, self._pause)
        first, self._begin = max(self._begin, 0), None
        if self._loud < LEAST:
            self.counters["too_short"] += 1
            return None
        if end - first > MOST_STEPS + LEAD:
            self.counters["too_long"] += 1
            return None
        end = min(end, first + MOST_STEPS)
        oldest = self._taken - len(self._steps)
        samples = np.concatenate(self._steps[max(first - oldest, 0) : end - oldest])
        return Spoken(samples, max(first, oldest) * STEP_SAMPLES)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What cheap sound cards and wrong cables do to speech, undone before anything measures it.

Speech that needs none of it passes unchanged, sample for sample.
"""

import logging

import numpy as np
from scipy.signal import butter, sosfilt, sosfilt_zi

from .format import SAMPLE_RATE_HZ
from .silence import SilenceGate

# An offset is the mean of so long a time; of 77 recordings of training speech the largest mean is
# 0.0015.
OFFSET_WINDOW_S = 0.5
LEAST_OFFSET = 0.003
# Far below a voice: its phase stays as it is.
HIGH_PASS_HZ = 10.0
FADE_S = 0.02
# Of the loudest frames: those of training speech lie between -30 and -12 dBFS. Below the least
# there is nothing but the noise of a converter.
LEAST_LEVEL_DBFS, QUIET_DBFS, WANTED_DBFS = -75.0, -40.0, -26.0
MOST_GAIN_DB, MOST_CUT_DB = 36.0, 24.0
# What lies beyond is clipped first: no filter may ring with it.
MOST_SAMPLE = 10.0 ** (MOST_CUT_DB / 20.0)
# Loud frames that must have come until the gain rises, and how fast it does, in dB a second.
LEAST_LOUD_S, RISE_DB_S = 1.0, 12.0
LEVEL_FALL_DB_S = 0.5
FULL_SCALE = 0.99
log = logging.getLogger(__name__)


class OffsetRemover:
    """Takes a constant offset out of blocks of samples, once there is one."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._sections = butter(1, HIGH_PASS_HZ, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
        self._state: np.ndarray | None = None
        self._sum, self._count = 0.0, 0

    def push(self, block: np.ndarray) -> np.ndarray:
        """The next samples, without their offset from the moment on that it is sure."""
        if self._state is None:
            self._measure(block)
            return block
        filtered, self._state = sosfilt(self._sections, block, zi=self._state)
        if self._fade < 1.0:
            # From the samples as they are to the filtered ones, so that nothing clicks.
            steps = np.arange(1, len(block) + 1) / (FADE_S * SAMPLE_RATE_HZ)
            share = np.minimum(self._fade + steps, 1.0)
            filtered = share * filtered + (1.0 - share) * block
            self._fade = float(share[-1])
        return filtered.astype(np.float32)

    def _measure(self, block: np.ndarray) -> None:
        self._sum += float(np.sum(np.clip(block, -1.0, 1.0), dtype=np.float64))
        self._count += len(block)
        if self._count < OFFSET_WINDOW_S * SAMPLE_RATE_HZ:
            return
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        if abs(mean) > LEAST_OFFSET:
            self.offset, self._fade = mean, 0.0
            self._state = mean * sosfilt_zi(self._sections)
            log.warning("the input has an offset of %.3f, which is taken out", mean)


class LevelControl:
    """Raises far too quiet speech, slowly, and lowers what is beyond full scale, at once."""

    def __init__(self) -> None:
        self.gain_db = 0.0
        # The gate of the link takes all below -60 dBFS for silence.
        self._gate = SilenceGate(silent_below_dbfs=LEAST_LEVEL_DBFS)
        self._level_dbfs, self._loud_s, self._said = -np.inf, 0.0, set()

    def push(self, block: np.ndarray) -> np.ndarray:
        """The next samples at a level that codec and gate are made for."""
        if not len(block):
            return block
        seconds = len(block) / SAMPLE_RATE_HZ
        before, peak = self.gain_db, float(np.max(np.abs(block)))
        self._follow(block, seconds)
        wanted = self._wanted_db()
        self.gain_db = min(wanted, self.gain_db + RISE_DB_S * seconds)
        if peak > 0.0:
            room_db = 20.0 * np.log10(FULL_SCALE / peak)
            # What is within full scale stays as it is; the most outrageous is clipped.
            least_db = 0.0 if peak <= 1.0 else -MOST_CUT_DB
            self.gain_db = min(self.gain_db, max(room_db, least_db))
        if before == self.gain_db == 0.0:
            return block
        self._tell(peak)
        first = min(before, self.gain_db)
        ramp = np.linspace(first, self.gain_db, len(block), dtype=np.float32)
        return (block * 10.0 ** (ramp / 20.0)).astype(np.float32)

    def _follow(self, block: np.ndarray, seconds: float) -> None:
        level = 10.0 * np.log10(float(np.mean(np.square(block, dtype=np.float64))) + 1e-12)
        if self._gate.silent(level):
            return
        self._loud_s += seconds
        self._level_dbfs = max(level, self._level_dbfs - LEVEL_FALL_DB_S * seconds)

    def _wanted_db(self) -> float:
        known = self._loud_s >= LEAST_LOUD_S
        if not known or not LEAST_LEVEL_DBFS < self._level_dbfs:
            return 0.0
        # Once raised, it stays until the speech would be loud without it.
        quiet = QUIET_DBFS if self.gain_db <= 0.0 else WANTED_DBFS
        if self._level_dbfs >= quiet:
            return 0.0
        return min(WANTED_DBFS - self._level_dbfs, MOST_GAIN_DB)

    def _tell(self, peak: float) -> None:
        kind = "loud" if self.gain_db < 0.0 else "quiet"
        if kind in self._said:
            return
        self._said.add(kind)
        if kind == "loud":
            log.warning("the input goes up to %.1f times full scale, and is lowered", peak)
        else:
            log.warning("the input is quiet (%.0f dBFS), and is raised", self._level_dbfs)


class InputConditioner:
    """Offset and level of frames, or of shorter blocks, but all alike: steps go by blocks."""

    def __init__(self) -> None:
        self._offset, self._level = OffsetRemover(), LevelControl()
        self.counters = {"frames_offset_removed": 0, "frames_raised": 0, "frames_lowered": 0}

    def push(self, block: np.ndarray) -> np.ndarray:
        """The next samples, float32, as many; unchanged where they need nothing."""
        if np.max(np.abs(block), initial=0.0) > MOST_SAMPLE:
            block = np.clip(block, -MOST_SAMPLE, MOST_SAMPLE)
        out = self._level.push(self._offset.push(block))
        self.counters["frames_offset_removed"] += self._offset.offset != 0.0
        self.counters["frames_raised"] += self._level.gain_db > 0.0
        self.counters["frames_lowered"] += self._level.gain_db < 0.0
        return out


class Mixer:
    """Mixes channels to one; of channels in opposite phase, which cancel out, it takes the louder.

    Whether they do is told over about half a second.

    Args:
        rate_hz: of the samples.
        quiet: do not say so, for a stream of which it was said.

    Attributes:
        taken: the only channel that is taken; None: the mean of all.
    """

    MEMORY_S = 0.5

    def __init__(self, rate_hz: float, quiet: bool = False) -> None:
        self._rate_hz = rate_hz
        self._powers: np.ndarray | None = None
        self._mixed_power = 0.0
        self.taken: int | None = None
        self._said = quiet

    def push(self, audio: np.ndarray) -> np.ndarray:
        """``[samples, channels]`` to ``[samples]``; what is no number becomes 0."""
        audio = np.nan_to_num(audio, posinf=0.0, neginf=0.0)
        mean = audio.mean(axis=1)
        if audio.shape[1] == 1 or not len(audio):
            return mean
        before = self.taken
        self._follow(audio, mean)
        now = mean if self.taken is None else audio[:, self.taken]
        if before == self.taken or self._first:
            return now
        was = mean if before is None else audio[:, before]
        share = np.linspace(0.0, 1.0, len(audio), dtype=audio.dtype)
        return share * now + (1.0 - share) * was

    def _follow(self, audio: np.ndarray, mean: np.ndarray) -> None:
        powers = np.mean(np.square(audio, dtype=np.float64), axis=0)
        mixed = float(np.mean(np.square(mean, dtype=np.float64)))
        self._first = self._powers is None
        keep = 0.0 if self._first else np.exp(-len(audio) / (self.MEMORY_S * self._rate_hz))
        self._powers = powers if self._first else keep * self._powers + (1 - keep) * powers
        self._mixed_power = keep * self._mixed_power + (1 - keep) * mixed
        # Channels that have nothing in common leave one part in `channels`.
        usual = float(np.mean(self._powers)) / audio.shape[1]
        if self.taken is None and self._mixed_power < 0.2 * usual:
            self.taken = int(np.argmax(self._powers))
            if not self._said:
                self._said = True
                log.warning(
                    "the channels are in opposite phase and cancel out: number %d alone is taken",
                    self.taken + 1,
                )
        elif self.taken is not None and self._mixed_power > 0.5 * usual:
            self.taken = None

# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge's encoder on a growing window of speech: each feature frame is sent once.

Encoders of large models look both ways, so that frames change while speech goes on. They are sent
half a second late: by then they have heard what follows them.

Steps are frames of the front, 100 a second; the model makes a feature frame of a few of them.
"""

from dataclasses import dataclass

import numpy as np

from .log_mel import FRAMES_PER_S, LEAST, from_bytes
from .model import LargeModel

POLICIES = ("agreement", "segment")
BLOCK_FRAMES = 4
LOOK_AHEAD_STEPS = 48
TAIL = FRAMES_PER_S // 2
# A window ends at a pause; from the first length on at a quiet place, at the second anywhere.
LONG_S, LONGEST_S = 10.0, 15.0
# With a segment of more, the window would be longer than Whisper takes.
MOST_SEGMENT_FRAMES = 1100
# Quiet: so many decades of power below the window's mean, for 0.1 s.
QUIET_DECADES, QUIET_FRAMES = 1.0, 5


@dataclass(frozen=True)
class Features:
    """Features that go out together.

    Attributes:
        frames: float32 ``[4 n, width]``.
        window: number of the window that they are of.
        first: number of the first frame within the window.
        last: the window is over.
        left_s: seconds of speech that came with them and are of the next window.
        whole: the frames are all of the window so far, those that came before among them.
    """

    frames: np.ndarray
    window: int
    first: int
    last: bool
    left_s: float = 0.0
    whole: bool = False


class SemanticEncoder:
    """Features of speech that comes in segments.

    Args:
        model: the large model.
        policy: ``agreement`` keeps the last seconds and encodes them again; ``segment`` encodes
            each segment alone, as in the paper.

    Raises:
        ValueError: the policy is unknown.
    """

    def __init__(self, model: LargeModel, policy: str = "agreement") -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy {policy!r} is unknown: use one of {', '.join(POLICIES)}")
        self._model, self.policy = model, policy
        self.reset()

    def reset(self) -> None:
        """Begins a new stream with window 0."""
        self._heard = np.zeros((0, self._model.bands), dtype=np.float32)
        self._sent, self._window = 0, 0

    def push(self, compressed: np.ndarray, last: bool) -> list[Features]:
        """Features that are new with a segment.

        Args:
            compressed: of :func:`.log_mel.as_bytes`, uint8 ``[n, bands]``.
            last: a pause follows.

        Raises:
            ValueError: the segment is of another shape, or too long.
        """
        if compressed.ndim != 2 or compressed.shape[1] != self._model.bands:
            raise ValueError(
                f"a segment of shape {compressed.shape}: use [n, {self._model.bands}] log-mel "
                "frames, as the model takes them"
            )
        if len(compressed) > MOST_SEGMENT_FRAMES:
            raise ValueError(
                f"a segment of {len(compressed)} frames: use at most {MOST_SEGMENT_FRAMES}, 11 s"
            )
        self._heard = np.concatenate([self._heard, from_bytes(compressed)])
        if not len(self._heard):
            return []
        if last:
            return self._out(len(self._heard), over=True)
        if self.policy == "segment":
            # What is no whole block goes with the next segment, for the reason below.
            block = BLOCK_FRAMES * self._model.stride
            cut = len(self._heard) // block * block
            return self._out(cut, over=True) if cut else []
        if len(self._heard) >= FRAMES_PER_S * LONG_S and (cut := self._quiet_place()):
            return self._out(cut, over=True)
        return self._out(len(self._heard), over=False)

    def _quiet_place(self) -> int:
        """Where in what was not sent yet the window may end, in steps; 0: nowhere.

        A whole number of blocks: filled up blocks would take longer on the air than the speech,
        and where there is no pause nothing would catch up.
        """
        level = self._heard.max(axis=1)
        stride = self._model.stride
        first = self._sent * stride + QUIET_FRAMES
        if first + 2 * QUIET_FRAMES > len(level):
            return 0
        around = np.convolve(level, np.ones(2 * QUIET_FRAMES) / (2 * QUIET_FRAMES), "same")
        place = first + int(around[first : len(level) - QUIET_FRAMES].argmin())
        long = len(level) >= FRAMES_PER_S * LONGEST_S
        if not long and around[place] >= level.mean() - QUIET_DECADES:
            return 0
        block = BLOCK_FRAMES * stride
        return max(round(place / block), self._sent // BLOCK_FRAMES + 1) * block

    def _out(self, end: int, over: bool) -> list[Features]:
        """Encodes up to the step ``end`` and gives out what may go."""
        quiet = np.full((TAIL, self._model.bands), LEAST, dtype=np.float32)
        found = self._model.encode(np.concatenate([self._heard[:end], quiet]))
        heard = -(-end // self._model.stride)
        until = heard if over else heard - LOOK_AHEAD_STEPS // self._model.stride
        count = max(0, until - self._sent)
        # Whole blocks: of the silence behind where the window is over, else what is left waits.
        blocks = -(-count // BLOCK_FRAMES) if over else count // BLOCK_FRAMES
        frames = found[self._sent : self._sent + blocks * BLOCK_FRAMES]
        frames = frames[: len(frames) // BLOCK_FRAMES * BLOCK_FRAMES]
        if not len(frames) and not over:
            return []
        if not len(frames):
            # The receiver has to hear that the window is over.
            frames = found[max(0, len(found) - BLOCK_FRAMES) :]
        left_s = (len(self._heard) - end) / FRAMES_PER_S
        out = Features(frames, self._window, self._sent, over, left_s)
        self._sent += len(frames)
        if over:
            self._heard, self._sent = self._heard[end:], 0
            self._window += 1
        return [out]

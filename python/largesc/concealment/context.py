# SPDX-License-Identifier: GPL-3.0-or-later
"""Conceals with the context model: each frame's latent from all that arrived up to the next one."""

import logging
from collections import deque

import numpy as np
import torch

from .._core import ERASED_TOKEN
from .concealer import (
    ConcealedFrame,
    ReceivedFrame,
    RepeatConcealer,
    completed,
    is_lost,
)
from .context_model import ContextModel
from .interpolation import FrameCompleter

# Frames back that a repair can reach; what is older is forgotten by then.
HISTORY_FRAMES = 16
log = logging.getLogger(__name__)


class ContextStream:
    """Steps a context model frame by frame, and remembers the last ones for repairs.

    Args:
        model: for latents of the codec.
        codebooks: float ``[8, entries, dimension]``, of that codec.

    Raises:
        ValueError: model and codebooks have different dimensions.
    """

    def __init__(self, model: ContextModel, codebooks: np.ndarray) -> None:
        if codebooks.shape[2] != model.config.dimension:
            raise ValueError(
                f"the context model is for latents of {model.config.dimension} numbers, the codec "
                f"has {codebooks.shape[2]}: take both from one model folder, or use 'repeat'"
            )
        self.model, self.codebooks = model.eval(), codebooks
        self.reset()

    def reset(self) -> None:
        """Forgets all frames, to begin a new stream."""
        self._state: torch.Tensor | None = None
        # State before each frame, and its tokens and those of the next.
        self._history: deque = deque(maxlen=HISTORY_FRAMES)

    def step(self, tokens: np.ndarray, following: np.ndarray | None) -> np.ndarray:
        """Latent ``[dimension]`` of the next frame.

        Args:
            tokens: uint16 ``[8]``, 0xFFFF where one is missing.
            following: the same of the frame behind it; None: nothing is there.

        Raises:
            ValueError: the model gave no number.
        """
        self._history.append((self._state, tokens, following))
        latent, self._state = self._run(self._state, tokens, following)
        if not np.all(np.isfinite(latent)):
            raise ValueError("the context model gave a latent that is not finite")
        return latent

    def skip(self, tokens: np.ndarray, following: np.ndarray | None) -> None:
        """Goes on without a frame, for which there is no time; a repair may still take it up."""
        self._history.append((self._state, tokens, following))

    def replace(self, back: int, tokens: np.ndarray) -> None:
        """Corrects the tokens of the frame ``back`` steps ago, and what came after it.

        A frame that is older than :data:`HISTORY_FRAMES`, or has not come yet, is left alone.
        """
        if not 1 <= back <= len(self._history):
            return
        place = len(self._history) - back
        again = [self._history.pop() for _ in range(back)][::-1]
        state, _, following = again[0]
        again[0] = (state, tokens, following)
        if place:
            # The frame before it saw it as the one that follows.
            before, own, _ = self._history.pop()
            again.insert(0, (before, own, tokens))
            state = before
        for _, own, behind in again:
            self._history.append((state, own, behind))
            _, state = self._run(state, own, behind)
        self._state = state

    @torch.inference_mode()
    def _run(
        self, state: torch.Tensor | None, tokens: np.ndarray, following: np.ndarray | None
    ) -> tuple[np.ndarray, torch.Tensor]:
        own, behind = self._known(tokens), self._known(following)
        latent, state = self.model(*own, *behind, state)
        return latent[0, 0].numpy(), state

    def _known(self, tokens: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the tokens before the first missing one add up to, and how many these are."""
        books = self.codebooks
        missing = np.flatnonzero(tokens == ERASED_TOKEN) if tokens is not None else [0]
        count = int(missing[0]) if len(missing) else len(books)
        total = np.zeros(books.shape[2], dtype=np.float32)
        for k in range(count):
            total += books[k, min(int(tokens[k]), books.shape[1] - 1)]
        return torch.from_numpy(total)[None, None], torch.tensor([[count]])


class ContextConcealer(RepeatConcealer):
    """Plays the latent that the context model gives, of every frame.

    The tokens that go with it are those of :class:`RepeatConcealer`, for what cannot decode a
    latent. DTX silence is left to the comfort noise.

    Within a gap, from the second lost frame on and with nothing behind it, the model goes on to
    speak, and a recogniser hears words that were never said: there the linear estimate is played,
    which falls towards the mean.

    Args:
        stream: of the model.
        completer: for frames within a gap; None: the model's as well.
        fade_after_frames: as for :class:`RepeatConcealer`.
    """

    def __init__(
        self,
        stream: ContextStream,
        completer: FrameCompleter | None = None,
        fade_after_frames: int = 3,
    ) -> None:
        super().__init__(fade_after_frames)
        self.stream, self.completer = stream, completer
        self._next_index = 0

    def reset(self) -> None:
        super().reset()
        self._forget()
        self._next_index = 0

    def _forget(self) -> None:
        self.stream.reset()
        if self.completer is not None:
            self.completer.reset()

    def step(self, frame: ReceivedFrame) -> ConcealedFrame:
        self._next_index = frame.index + 1
        latent = None
        try:
            latent = self._latent(frame)
        except Exception:
            # A model that fails must never silence the audio.
            self.counters["failures"] += 1
            if self.counters["failures"] == 1:
                log.exception("the context model failed, the frame is repeated instead")
            self._forget()
        return self._with_latent(frame, latent)

    def _latent(self, frame: ReceivedFrame) -> np.ndarray:
        found = self.stream.step(frame.tokens, frame.following)
        if self.completer is None:
            return found
        # It takes all frames, since each estimate begins with the one before.
        estimate = self.completer.latent(completed(self.completer, frame, None))
        behind = frame.following is not None and frame.following[0] != ERASED_TOKEN
        return estimate if is_lost(frame) and self._lost_run and not behind else found

    def late_step(self, frame: ReceivedFrame) -> ConcealedFrame | None:
        """Completes the frame without the model, which only notes what came."""
        self._next_index = frame.index + 1
        self.stream.skip(frame.tokens, frame.following)
        return super().late_step(frame)

    def repair(self, frame: ReceivedFrame) -> None:
        """Corrects the model's context by tokens that came after their playout."""
        super().repair(frame)
        try:
            self.stream.replace(self._next_index - frame.index, frame.tokens)
        except Exception:
            self.counters["failures"] += 1
            self._forget()

    def _with_latent(self, frame: ReceivedFrame, latent: np.ndarray | None) -> ConcealedFrame:
        silent = frame.silence and is_lost(frame)
        done = self.release(frame, frame.tokens if silent else self._complete(frame))
        # Before the first frame that arrives there is nothing to go by.
        if latent is None or silent or np.all(done.tokens == ERASED_TOKEN):
            return done
        missing = frame.tokens == ERASED_TOKEN
        if not is_lost(frame):
            lost = int(np.count_nonzero(missing[: frame.sent]))
            self.counters["frames_made_up"] += lost > 0
            self.counters["tokens_made_up"] += lost
        made_up = int(np.count_nonzero(missing))
        return ConcealedFrame(done.index, done.tokens, made_up, done.gain, latent)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Received frames in, complete frames out: one class a method."""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from .._core import ERASED_TOKEN
from ..options import METHODS
from .interpolation import FrameCompleter

FADE_STEP = 1.0 / 3.0
# Of a single sample; a mean is played whole. Chosen on development speech.
FILL_TOKENS = 4
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReceivedFrame:
    """What the depacketizer knows of a frame.

    Attributes:
        index: number of the frame.
        tokens: uint16 ``[8]``, 0xFFFF where a token is missing.
        silence: the sender said nothing here (DTX).
        following: as ``tokens``, of the frame behind it as far as it is there; None: nothing is.
        sent: tokens that the sender gave it; None: not known, since its packet is lost. What it
            kept for itself is no loss.
    """

    index: int
    tokens: np.ndarray
    silence: bool = False
    following: np.ndarray | None = None
    sent: int | None = None


@dataclass(frozen=True)
class ConcealedFrame:
    """What the decoder gets: tokens, how many of them were made up, and a fade of 0 to 1.

    A ``latent`` ``[dimension]`` is decoded in place of the tokens.
    """

    index: int
    tokens: np.ndarray
    concealed_tokens: int
    gain: float
    latent: np.ndarray | None = None


class RepeatConcealer:
    """Keeps a received prefix as it is and repeats the last frame for a lost one.

    After ``fade_after_frames`` lost frames in a row the gain falls to 0 within three more: the
    decoder then plays comfort noise.
    """

    def __init__(self, fade_after_frames: int = 3) -> None:
        if fade_after_frames < 0:
            raise ValueError(f"fade_after_frames {fade_after_frames} is negative: use 0 or more")
        self.fade_after_frames = fade_after_frames
        self.counters = {
            "frames": 0,
            "frames_made_up": 0,
            "tokens_made_up": 0,
            "frames_cut": 0,
            "repairs": 0,
            "failures": 0,
            "late": 0,
        }
        RepeatConcealer.reset(self)

    def reset(self) -> None:
        """Forgets all frames, and begins a new stream; the counters go on."""
        self._lost_run = 0
        self._last = np.full(8, ERASED_TOKEN, dtype=np.uint16)

    def step(self, frame: ReceivedFrame) -> ConcealedFrame | None:
        """Takes the next frame in playout order and completes one. Never raises.

        It is the same frame, but for a language model that waits for the next one: then the frame
        before it, and None at first.
        """
        return self.release(frame, self._complete(frame))

    def late_step(self, frame: ReceivedFrame) -> ConcealedFrame | None:
        """As :meth:`step`, for a frame there is no time to compute for; counted."""
        self.counters["late"] += 1
        return self.release(frame, RepeatConcealer._complete(self, frame))

    def finish(self) -> ConcealedFrame | None:
        """The frame that still waits at the end of the stream."""
        return None

    def close(self) -> None:
        """Ends the stream and frees what it holds; here that is nothing."""

    def follow(self, before: "RepeatConcealer") -> None:
        """Goes on where another concealer stood, with its counters and its last frame."""
        self.counters = before.counters
        self._last, self._lost_run = before._last, before._lost_run

    def repair(self, frame: ReceivedFrame) -> None:
        """Takes tokens of a frame that was played before. Never raises."""
        self.counters["repairs"] += 1

    def _complete(self, frame: ReceivedFrame) -> np.ndarray:
        return self._last.copy() if is_lost(frame) else frame.tokens

    def release(self, frame: ReceivedFrame, tokens: np.ndarray) -> ConcealedFrame:
        whole = is_lost(frame)
        self._lost_run = self._lost_run + 1 if whole and not frame.silence else 0
        missing = frame.tokens == ERASED_TOKEN
        filled = missing & (tokens != ERASED_TOKEN)
        lost = int(np.count_nonzero(filled[: frame.sent]))
        if not whole:
            self._last = tokens
        self.counters["frames"] += 1
        self.counters["frames_made_up"] += lost > 0
        self.counters["tokens_made_up"] += lost
        cut = frame.sent is not None and frame.sent < len(tokens) and not frame.silence
        self.counters["frames_cut"] += cut
        faded = max(0, self._lost_run - self.fade_after_frames) * FADE_STEP
        gain = 0.0 if frame.silence and whole else max(0.0, 1.0 - faded)
        return ConcealedFrame(frame.index, tokens, int(np.count_nonzero(filled)), gain)

    def statistics(self) -> dict[str, int]:
        """Counters by name.

        ``frames_made_up`` and ``tokens_made_up`` are of what was lost; ``frames_cut`` those of
        which the sender kept tokens for itself, by its budget.
        """
        return dict(self.counters)


class SilenceConcealer(RepeatConcealer):
    """Keeps a received prefix; a lost frame becomes comfort noise at once."""

    def _complete(self, frame: ReceivedFrame) -> np.ndarray:
        return frame.tokens


class InterpolatingConcealer(RepeatConcealer):
    """Completes frames from those around them, see ``interpolation``.

    Args:
        completer: ``FrameCompleter``.
        fade_after_frames: as for :class:`RepeatConcealer`.
    """

    def __init__(self, completer: FrameCompleter, fade_after_frames: int = 3) -> None:
        super().__init__(fade_after_frames)
        self.completer = completer

    def reset(self) -> None:
        super().reset()
        self.completer.reset()

    def _complete(self, frame: ReceivedFrame) -> np.ndarray:
        try:
            return completed(self.completer, frame, None)
        except Exception:
            # Whatever fails must never silence the audio.
            self.counters["failures"] += 1
            if self.counters["failures"] == 1:
                log.exception("interpolation failed, the frame is repeated instead")
            self.completer.reset()
            return super()._complete(frame)


class LanguageModelConcealer(RepeatConcealer):
    """Generates missing tokens with a language model, and repairs its context.

    The model's context is always complete. With a ``completer`` all of a frame is played, from what
    the model put into a lost one and from the frames around it. Without, what is played is less: a
    received prefix as it is, since what follows it can hardly be guessed, and ``fill_tokens`` of a
    lost frame.

    Args:
        stream: ``LanguageModelStream``.
        fade_after_frames: as for :class:`RepeatConcealer`.
        fill_tokens: tokens that a lost frame gets, 1 to 8; none: 4 of a single sample, 8 of a mean.
        completer: ``FrameCompleter``, or None.

    Raises:
        ValueError: a parameter is out of range.
    """

    def __init__(
        self,
        stream: object,
        fade_after_frames: int = 3,
        fill_tokens: int | None = None,
        completer: FrameCompleter | None = None,
    ) -> None:
        super().__init__(fade_after_frames)
        if fill_tokens is None:
            fill_tokens = FILL_TOKENS if stream.samples == 1 else 8
        if not 1 <= fill_tokens <= 8:
            raise ValueError(f"fill_tokens {fill_tokens} is out of range: use 1 to 8")
        self.stream, self.fill_tokens, self.completer = stream, fill_tokens, completer
        self._begin()

    def _begin(self) -> None:
        self._next_index = 0
        # With a model that waits for the next frame: the one that waits, and whether it came late.
        self._held: tuple[ReceivedFrame | None, bool] = (None, False)

    def reset(self) -> None:
        super().reset()
        self.stream.reset()
        if self.completer is not None:
            self.completer.reset()
        self._begin()

    def step(self, frame: ReceivedFrame) -> ConcealedFrame | None:
        return self._advance(frame, frame.tokens, False)

    def stepping(self, frame: ReceivedFrame) -> Generator:
        """As :meth:`step`, but asks for what the model is to compute: its batch answers."""
        due, late = self._turn(frame, False)
        made, error = None, None
        try:
            made = yield from self.stream.stepping(frame.tokens)
        except Exception as failure:
            error = failure

        def outcome() -> np.ndarray:
            if error is not None:
                raise error
            return made

        done = self._attempt(outcome, due, late)
        return None if due is None else self.release(due, done)

    def close(self) -> None:
        self.stream.close()

    def late_step(self, frame: ReceivedFrame) -> ConcealedFrame | None:
        """Goes without the model, which sees the frame before once more."""
        self.counters["late"] += 1
        repeated = RepeatConcealer._complete(self, frame)
        known = np.where(repeated == ERASED_TOKEN, self._last, repeated)
        return self._advance(frame, np.where(known == ERASED_TOKEN, 0, known), True)

    def finish(self) -> ConcealedFrame | None:
        (frame, late), self._held = self._held, (None, False)
        if frame is None:
            return None
        return self.release(frame, self._attempt(self.stream.flush, frame, late))

    def _advance(
        self, frame: ReceivedFrame, tokens: np.ndarray, late: bool
    ) -> ConcealedFrame | None:
        """Steps the model with ``tokens``, and releases the frame that is due."""
        due, late = self._turn(frame, late)
        done = self._attempt(lambda: self.stream.step(tokens), due, late)
        return None if due is None else self.release(due, done)

    def _turn(self, frame: ReceivedFrame, late: bool) -> tuple[ReceivedFrame | None, bool]:
        """The frame that is due now, and whether it came late."""
        self._next_index = frame.index + 1
        due = frame
        if self.stream.lag_frames:
            (due, late), self._held = self._held, (frame, late)
        return due, late

    def _attempt(self, step: Callable, due: ReceivedFrame | None, late: bool) -> np.ndarray | None:
        """Tokens to play of the frame that is due, from what ``step`` makes of it."""
        try:
            made = step()
            return None if due is None else self._played(due, made, late)
        except Exception:
            # A model that fails must never silence the audio.
            self.counters["failures"] += 1
            if self.counters["failures"] == 1:
                log.exception("the language model failed, the frame is repeated instead")
            self._recover()
            return None if due is None else RepeatConcealer._complete(self, due)

    def _played(self, due: ReceivedFrame, made: np.ndarray, late: bool) -> np.ndarray:
        if self.completer is not None:
            return completed(self.completer, due, None if late else made)
        if late:
            return RepeatConcealer._complete(self, due)
        count = self.fill_tokens if is_lost(due) else known_tokens(due.tokens)
        return np.where(np.arange(len(made)) < count, made, ERASED_TOKEN)

    def repair(self, frame: ReceivedFrame) -> None:
        """Rewinds to the frame, corrects it and replays what came after."""
        super().repair(frame)
        try:
            self.stream.replace(self._next_index - frame.index, frame.tokens)
        except Exception:
            self.counters["failures"] += 1
            self._recover()

    def _recover(self) -> None:
        try:
            self.stream.reset()
        except Exception:
            log.exception("the language model cannot be reset")


def completed(
    completer: FrameCompleter, frame: ReceivedFrame, guess: np.ndarray | None
) -> np.ndarray:
    """All tokens of a frame; one of DTX silence is left to the comfort noise."""
    if frame.silence and is_lost(frame):
        completer.reset()
        return frame.tokens
    return completer.complete(frame.tokens, frame.following, guess if is_lost(frame) else None)


def is_lost(frame: ReceivedFrame) -> bool:
    """Whether not one token of the frame is there."""
    return bool(np.all(frame.tokens == ERASED_TOKEN))


def known_tokens(tokens: np.ndarray) -> int:
    """Tokens up to the last one that is known, 0 to 8."""
    known = np.flatnonzero(tokens != ERASED_TOKEN)
    return int(known[-1]) + 1 if len(known) else 0


def make_concealer(
    method: str,
    model: object | None = None,
    fade_after_frames: int = 3,
    completer: FrameCompleter | None = None,
    **stream_options: object,
) -> RepeatConcealer:
    """Makes a concealer.

    Args:
        method: ``lm``, ``interpolate``, ``repeat`` or ``silence``.
        model: moshi ``LMModel``, for ``lm``.
        fade_after_frames: lost frames in a row before the fade to comfort noise.
        completer: for ``interpolate``, and for ``lm`` where there is one.
        stream_options: for ``lm``, as for ``LanguageModelStream``.

    Raises:
        ValueError: unknown method, no model for ``lm``, or no completer for ``interpolate``.
    """
    if method == "repeat":
        return RepeatConcealer(fade_after_frames)
    if method == "silence":
        return SilenceConcealer(fade_after_frames)
    if method == "interpolate":
        if completer is None:
            raise ValueError(
                "method 'interpolate' needs an estimator: `largesc train interpolation`"
            )
        return InterpolatingConcealer(completer, fade_after_frames)
    if method == "context":
        raise ValueError("method 'context' needs a model: use load_concealer")
    if method != "lm":
        raise ValueError(f"method {method!r} is unknown: use one of {', '.join(METHODS)}")
    if model is None:
        raise ValueError("method 'lm' needs a model: load one with load_language_model")
    from .lm_stream import LanguageModelStream

    stream = LanguageModelStream(model, **stream_options)
    return LanguageModelConcealer(stream, fade_after_frames, completer=completer)

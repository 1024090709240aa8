# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps moshi's ``LMModel`` frame by frame with any subset of the tokens given.

moshi's own ``LMGen`` replaces all tokens of a step or none, so the loop over the depth transformer
is here: received tokens are forced, the others sampled.

A *column* is what the temporal transformer sees of one step. Without an acoustic delay column n is
frame n. With Moshi's delay of one, column n holds the first token of frame n and the others of
frame n - 1, so that frame n is complete only with column n + 1, which also asks for the first
token of the frame after it. ``delay_mode`` says where that comes from.
"""

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from moshi.modules.transformer import StreamingMultiheadAttention, StreamingTransformer

from .._core import ERASED_TOKEN
from ..models.recorded_step import record
from .depth import check_depth_transformer, depth_step, no_past, token_logits
from .interpolation import nearest_tokens

HISTORY_FRAMES = 32
# Repairs come a few frames late; longer replays are rare, and run without a recording.
RECORDED_REPLAY_FRAMES = 4
# A mean is taken over so many missing tokens of a frame; that of later ones is next to nothing.
MEAN_TOKENS = 4
DELAY_MODES = ("speculative", "wait")


@dataclass(frozen=True)
class Column:
    """Asks for what the temporal transformer makes of a column, int64 ``[1, 1 + n_q, 1]``.

    Attributes:
        row: of the stream, where several share a model.
    """

    column: torch.Tensor
    row: int = 0


@dataclass(frozen=True)
class Depth:
    """Asks for :func:`.depth.depth_step`, whose arguments these are."""

    k: int
    previous: torch.Tensor
    hidden: torch.Tensor
    past: torch.Tensor


class LanguageModelStream:
    """One stream of token frames through an ``LMModel`` with an acoustic delay of 0 or 1.

    Args:
        model: moshi ``LMModel`` with ``dep_q`` of 8.
        temperature: of the sampling; 0 takes the most likely token.
        top_k: tokens to choose among.
        other_tokens: tokens that audio streams beyond the eighth carry, ``[n_q - 8]``; none: zero
            tokens, which the model leaves out.
        delay_mode: for a model with acoustic delay. ``speculative``: the first token of the next
            frame is sampled too, and kept in case that frame is lost. ``wait``: a frame comes
            out one frame later, when the next one is known.
        seed: of the sampling.
        samples: frames to draw, whose mean is what is filled in; 1: the only one as it is.
        codebooks: float32 ``[8, tokens, dimension]``, see ``codec.codebooks``; for a mean.
        sample_text: the text stream holds what the model itself says, for one that was adapted
            with text; else padding.

    Raises:
        ValueError: a parameter is out of range, or the model's delays are other than 0 and 1.
    """

    # Several streams of one model have one.
    batch: object | None = None
    row = 0

    def __init__(
        self,
        model: object,
        temperature: float = 0.7,
        top_k: int = 50,
        other_tokens: list[int] | None = None,
        delay_mode: str = "speculative",
        seed: int = 1,
        samples: int = 1,
        codebooks: np.ndarray | None = None,
        sample_text: bool = False,
    ) -> None:
        if temperature < 0.0 or top_k < 1:
            raise ValueError(f"temperature {temperature} below 0 or top_k {top_k} below 1")
        if delay_mode not in DELAY_MODES:
            raise ValueError(f"delay_mode {delay_mode!r} is unknown: use 'speculative' or 'wait'")
        if samples < 1 or (samples > 1 and codebooks is None):
            raise ValueError(f"samples {samples}: use 1, or more along with the codec's codebooks")
        check_depth_transformer(model)
        self.delay = acoustic_delay(model)
        self.lag_frames = 1 if self.delay and delay_mode == "wait" else 0
        self.model, self.temperature, self.top_k = model, temperature, top_k
        self.other_tokens = np.asarray(
            other_tokens or [model.zero_token_id] * (model.n_q - model.dep_q), dtype=np.int64
        )
        if len(self.other_tokens) != model.n_q - model.dep_q:
            raise ValueError(
                f"{len(self.other_tokens)} other_tokens given, the model has "
                f"{model.n_q - model.dep_q} other streams"
            )
        self._device = next(model.parameters()).device
        self._seed, self.samples, self.codebooks = seed, samples, codebooks
        self.sample_text = sample_text
        self._prepare()
        self.reset()

    def _prepare(self) -> None:
        model = self.model
        self._attention = streaming_parts(model.transformer, StreamingMultiheadAttention)
        self._temporal = streaming_parts(model.transformer, StreamingTransformer)
        model.streaming_forever(1)
        self._record()

    def close(self) -> None:
        """Ends the stream; it holds nothing that must be freed."""

    @torch.inference_mode()
    def reset(self) -> None:
        """Forgets everything; the next frame is the first."""
        model = self.model
        self._reset_model()
        self._rng = np.random.default_rng(self._seed)
        # The newest frame is last; what stands before the first one are initial tokens.
        self._frames = [np.full(model.dep_q, model.initial_token_id, dtype=np.int64)]
        # The text token of each frame's column.
        self._texts = [model.text_initial_token_id]
        self._count = 0
        self._guess = ERASED_TOKEN
        start = np.full(1 + model.n_q, model.initial_token_id, dtype=np.int64)
        start[0] = model.text_initial_token_id
        self._take(self._answer(Column(self._tensor(start), self.row)))

    def _reset_model(self) -> None:
        self.model.reset_streaming()

    @torch.inference_mode()
    def step(self, tokens: np.ndarray) -> np.ndarray | None:
        """Takes the next frame and completes one.

        Args:
            tokens: uint16 ``[8]`` with 0xFFFF where a token is missing.

        Returns:
            uint16 ``[8]``, the frame ``lag_frames`` before this one; None when there is none yet.
        """
        return self._alone(self.stepping(tokens))

    def _alone(self, work: Generator) -> object:
        """What a generator returns, whose requests are answered one by one."""
        answer = None
        while True:
            try:
                request = work.send(answer)
            except StopIteration as end:
                return end.value
            answer = self._answer(request)

    def _answer(self, request: Column | Depth) -> tuple[torch.Tensor, ...]:
        if isinstance(request, Column):
            return self._step_temporal(request.column)
        return self._step_depth[request.k](request.previous, request.hidden, request.past)

    def stepping(self, tokens: np.ndarray) -> Generator:
        """As :meth:`step`, but asks for what the model is to compute: its batch answers."""
        tokens = np.asarray(tokens, dtype=np.int64).copy()
        if self.delay == 0:
            tokens = yield from self._generate(tokens)
        elif tokens[0] == ERASED_TOKEN:
            # A guess was played along with the frame before: it stays.
            known = self._guess != ERASED_TOKEN
            tokens[0] = self._guess if known else (yield from self._first())
        self._guess = ERASED_TOKEN
        if self.lag_frames and self._count:
            yield from self._complete_newest(int(tokens[0]))
        self._frames = [*self._frames[-HISTORY_FRAMES:], tokens]
        self._texts = [*self._texts[-HISTORY_FRAMES:], self._text]
        self._count += 1
        self._take((yield Column(self._tensor(self._column(1)), self.row)))
        if self.delay and not self.lag_frames:
            yield from self._complete_newest(ERASED_TOKEN)
        if self._count <= self.lag_frames:
            return None
        return self._frames[-1 - self.lag_frames].astype(np.uint16)

    @torch.inference_mode()
    def flush(self) -> np.ndarray | None:
        """The frame that still waits for the next one, completed without it."""
        if not self.lag_frames or self._count == 0:
            return None
        self._alone(self._complete_newest(ERASED_TOKEN))
        return self._frames[-1].astype(np.uint16)

    @torch.inference_mode()
    def replace(self, frames_ago: int, tokens: np.ndarray) -> bool:
        """Corrects the frame ``frames_ago`` (1: the newest) and replays all after it at once.

        Missing tokens keep what was filled in. Returns False when the frame is too long ago.
        """
        if not 1 <= frames_ago < len(self._frames):
            return False
        tokens = np.asarray(tokens, dtype=np.int64)
        known = tokens != ERASED_TOKEN
        self._frames[-frames_ago] = np.where(known, tokens, self._frames[-frames_ago])
        self._rewind(frames_ago)
        self._replay([self._tensor(self._column(ago)) for ago in range(frames_ago, 0, -1)])
        self._guess = ERASED_TOKEN
        return True

    def _replay(self, columns: list[torch.Tensor]) -> None:
        step = self._replays.get(len(columns), self._forward)
        self._take(step(torch.cat(columns, dim=2)))

    def _column(self, frames_ago: int) -> np.ndarray:
        """Input ``[1 + n_q]`` of the column that the first token of a frame completes."""
        model, others = self.model, self.other_tokens
        frame = self._frames[-frames_ago]
        if self.delay:
            frame = np.concatenate([frame[:1], self._frames[-frames_ago - 1][1:]])
            if frames_ago == self._count:
                delayed = np.array(model.delays[1 + model.dep_q :]) > 0
                others = np.where(delayed, model.initial_token_id, others)
        return np.concatenate([[self._texts[-frames_ago]], frame, others])

    def _complete_newest(self, next_first: int) -> Generator:
        """Delay 1: the depth transformer at the column behind the one just fed."""
        tokens = self._frames[-1]
        if np.any(tokens == ERASED_TOKEN):
            column = yield from self._generate(np.concatenate([[next_first], tokens[1:]]))
            if next_first == ERASED_TOKEN:
                self._guess = int(column[0])
            self._frames[-1] = np.concatenate([tokens[:1], column[1:]])

    def _first_token(self) -> int:
        return self._alone(self._first())

    def _first(self) -> Generator:
        column = np.zeros(self.model.dep_q, dtype=np.int64)
        column[0] = ERASED_TOKEN
        return int((yield from self._generate(column))[0])

    def _generate(self, column: np.ndarray) -> Generator:
        """Fills in what is missing in a column."""
        missing = np.flatnonzero(column == ERASED_TOKEN)
        if len(missing) == 0:
            return column
        if self.samples == 1:
            count = int(missing[-1]) + 1
            drawn = yield from self._drawn(column, count)
            return np.concatenate([drawn[0], column[count:]])
        count = min(int(missing[-1]), int(missing[0]) + MEAN_TOKENS - 1) + 1
        drawn = yield from self._drawn(column, count)
        if not self.delay:
            return mean_tokens(column, drawn, self.codebooks)
        # The first token belongs to another frame than the others.
        parts = (column[:1], drawn[:, :1], 0), (column[1:], drawn[:, 1:], 1)
        return np.concatenate([mean_tokens(c, d, self.codebooks[at:]) for c, d, at in parts])

    def _drawn(self, column: np.ndarray, count: int) -> Generator:
        """Samples of the first ``count`` tokens of a column, ``[samples, count]``."""
        out = np.repeat(column[None, :count], self.samples, axis=0)
        previous, past = np.full(self.samples, self._text), self._no_past
        for k in range(count):
            token = torch.from_numpy(previous)[:, None].to(self._device)
            features, past = yield Depth(k, token, self._hidden, past)
            if column[k] == ERASED_TOKEN:
                logits = token_logits(self.model, k, features)
                out[:, k] = self._choose(logits.float().cpu().numpy())
            previous = out[:, k]
        return out

    def _choose(self, logits: np.ndarray) -> np.ndarray:
        """One token for each row of ``logits``."""
        if not np.all(np.isfinite(logits)):
            raise FloatingPointError("the language model gave logits that are not finite")
        if self.temperature == 0.0:
            return logits.argmax(axis=1)
        count = min(self.top_k, logits.shape[1])
        # In the order of their numbers: that of a partition hangs on the last bit of the logits.
        best = np.sort(np.argpartition(logits, -count, axis=1)[:, -count:], axis=1)
        likely = np.take_along_axis(logits, best, axis=1)
        chance = np.exp((likely - likely.max(axis=1, keepdims=True)) / self.temperature)
        below = np.cumsum(chance, axis=1)
        place = (below < below[:, -1:] * self._rng.random((len(logits), 1))).sum(axis=1)
        return np.take_along_axis(best, place[:, None], axis=1)[:, 0]

    def _take(self, outputs: tuple[torch.Tensor, ...]) -> None:
        """Behind columns: what comes next stands in ``_hidden``, its text token in ``_text``."""
        hidden, *text_logits = outputs
        self._hidden, self._text = hidden[:, -1:], self.model.text_padding_token_id
        if text_logits:
            self._text = int(self._choose(text_logits[0].float().cpu().numpy())[0])

    def _forward(self, columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden, text_logits = self.model.forward_text(columns)
        return (hidden, text_logits[:, 0, -1]) if self.sample_text else (hidden,)

    def _tensor(self, row: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(row).to(self._device)[None, :, None]

    @torch.no_grad()
    def _record(self) -> None:
        model = self.model
        column = torch.zeros(1, 1 + model.n_q, 1, dtype=torch.long, device=self._device)
        self._replays = {
            count: record(model, self._forward, column.expand(-1, -1, count))
            for count in range(1, 1 + RECORDED_REPLAY_FRAMES)
        }
        self._step_temporal = self._replays[1]
        hidden = self._forward(column)[0]
        token = torch.zeros(self.samples, 1, dtype=torch.long, device=self._device)
        self._step_depth, self._no_past = [], no_past(model, self.samples)
        past = self._no_past
        for k in range(model.dep_q):
            step = partial(depth_step, model, k)
            self._step_depth.append(record(model, step, token, hidden, past))
            past = step(token, hidden, past)[1]

    def _rewind(self, columns: int) -> None:
        # By offsets: the caches hold what lies behind them, and it is written over.
        for module in self._attention:
            state = module._streaming_state
            state.offset -= columns
            state.kv_cache.end_offset -= columns
        for module in self._temporal:
            module._streaming_state.offsets -= columns


def mean_tokens(column: np.ndarray, drawn: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """Fills in the tokens whose entries add up to the mean of what was drawn.

    The mean has the least expected error: what the model is not sure of comes out soft, where a
    sample would put in something sharp and wrong.

    Args:
        column: int64 ``[tokens]`` with 0xFFFF where one is missing.
        drawn: samples of the first tokens, int64 ``[samples, any]``.
        codebooks: float ``[tokens, entries, dimension]``, as of these tokens.
    """
    missing = np.flatnonzero(column == ERASED_TOKEN)
    mean = np.zeros(codebooks.shape[2], dtype=np.float32)
    for k in missing[missing < drawn.shape[1]]:
        mean += codebooks[k][drawn[:, k]].mean(axis=0)
    return nearest_tokens(column, mean, codebooks)


def acoustic_delay(model: object) -> int:
    """0 or 1: delay of the second to eighth audio token behind the first, in frames.

    Raises:
        ValueError: the model has 8 tokens a frame with other delays.
    """
    delays = list(model.delays[1 : 1 + model.dep_q])
    if model.dep_q != 8 or delays not in ([0] * 8, [0] + [1] * 7):
        raise ValueError(
            f"delays {delays} of the language model are not supported: use one with 8 tokens a "
            "frame and an acoustic delay of 0 or 1"
        )
    return delays[-1]


def streaming_parts(module: object, kind: type) -> list:
    """Modules of one class below ``module``."""
    return [part for part in module.modules() if isinstance(part, kind)]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Language models of many streams that share weights, and compute together what they can.

What a stream does in a step depends on what it has received: how many tokens are to be sampled, and
whether before or behind the column that it takes in. So each is a generator, which asks for one
computation after the other. Equal ones of all streams are one.
"""

from collections.abc import Generator
from functools import partial

import torch

from ..models.recorded_step import record
from ..models.stream_batch import StreamBatch, batches_up_to
from .depth import depth_step, no_past
from .lm_stream import RECORDED_REPLAY_FRAMES, Column, Depth, LanguageModelStream

# Of the streaming state: how far a stream has come.
PLACES = ("offset", "offsets", "end_offset")


class LanguageModelBatch:
    """One language model for many streams.

    Args:
        model: moshi ``LMModel`` with ``dep_q`` of 8, used by nobody else.
        samples, sample_text: as for :class:`LanguageModelStream`.
        most: streams that are stepped at once at most; more take several steps.

    Raises:
        ValueError: the model's state has no row a stream.
    """

    @torch.inference_mode()
    def __init__(self, model: object, samples: int, sample_text: bool, most: int) -> None:
        self.model, self.samples = model, samples
        self._device = next(model.parameters()).device

        def forward(columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
            hidden, text_logits = model.forward_text(columns)
            return (hidden, text_logits[:, 0, -1]) if sample_text else (hidden,)

        column = torch.zeros(1, 1 + model.n_q, 1, dtype=torch.long, device=self._device)
        replays = [[column.expand(-1, -1, count)] for count in range(1, 1 + RECORDED_REPLAY_FRAMES)]
        self.rows = StreamBatch(model, forward, [column], most, replays)
        row = self.rows.open()
        (hidden, *_) = self.rows.step([row], column)
        self.rows.close(row)
        self._sizes = [1 << n for n in range(batches_up_to(most)[-1].bit_length())]
        self._depth = {size: self._recorded(size, hidden) for size in self._sizes}

    def _recorded(self, size: int, hidden: torch.Tensor) -> list:
        model, count = self.model, size * self.samples
        token = torch.zeros(count, 1, dtype=torch.long, device=self._device)
        hidden, past = hidden.expand(count, -1, -1).contiguous(), no_past(model, count)
        steps = []
        for k in range(model.dep_q):
            step = partial(depth_step, model, k)
            steps.append(record(model, step, token, hidden, past))
            past = step(token, hidden, past)[1]
        return steps

    @torch.inference_mode()
    def run(self, works: dict[int, Generator]) -> dict[int, object]:
        """Runs generators of streams to their ends; returns what each returns.

        A fault of the model is raised in each that waits for it.
        """
        found: dict[int, object] = {}
        waiting: dict[int, Column | Depth] = {}
        for name, work in works.items():
            self._go_on(name, work, None, waiting, found)
        while waiting:
            # Those that sample first: then all columns go together.
            depths = [r.k for r in waiting.values() if isinstance(r, Depth)]
            turn = min(depths) if depths else None
            chosen = {
                name: r
                for name, r in waiting.items()
                if (r.k if isinstance(r, Depth) else None) == turn
            }
            try:
                requests = list(chosen.values())
                answers = self.columns(requests) if turn is None else self.depth(requests)
            except Exception as error:
                answers = [error] * len(chosen)
            for name, answer in zip(chosen, answers, strict=True):
                del waiting[name]
                self._go_on(name, works[name], answer, waiting, found)
        return found

    @staticmethod
    def _go_on(
        name: int, work: Generator, answer: object, waiting: dict, found: dict[int, object]
    ) -> None:
        try:
            failed = isinstance(answer, Exception)
            waiting[name] = work.throw(answer) if failed else work.send(answer)
        except StopIteration as end:
            found[name] = end.value

    def columns(self, requests: list[Column]) -> list[tuple[torch.Tensor, ...]]:
        """What the temporal transformer makes of a column of each stream."""
        outputs = self.rows.step(
            [request.row for request in requests], torch.cat([r.column for r in requests])
        )
        return list(zip(*(output.split(1) for output in outputs), strict=True))

    def depth(self, requests: list[Depth]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """As ``depth_step`` of the same token of each stream."""
        found = []
        for first in range(0, len(requests), self._sizes[-1]):
            found += self._depth_at_once(requests[first : first + self._sizes[-1]])
        return found

    def _depth_at_once(self, requests: list[Depth]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        size = next(size for size in self._sizes if size >= len(requests))
        # What is left of the batch repeats the last one.
        filled = requests + (size - len(requests)) * requests[-1:]
        features, past = self._depth[size][requests[0].k](
            torch.cat([r.previous for r in filled]),
            torch.cat([r.hidden.expand(self.samples, -1, -1) for r in filled]),
            torch.cat([r.past for r in filled], dim=2),
        )
        parts = zip(features.split(self.samples), past.split(self.samples, dim=2), strict=True)
        return [part for part, _ in zip(parts, requests, strict=False)]


class SharedLanguageModelStream(LanguageModelStream):
    """One stream of a :class:`LanguageModelBatch`, a row of its state.

    Args:
        batch: of the model.
        options: as for :class:`LanguageModelStream`, but for what the batch has.

    Raises:
        ValueError: as there.
    """

    def __init__(self, batch: LanguageModelBatch, **options: object) -> None:
        self.batch = batch
        super().__init__(batch.model, samples=batch.samples, **options)

    def close(self) -> None:
        self.batch.rows.close(self.row)

    def _prepare(self) -> None:
        self.row = self.batch.rows.open()
        self._no_past = no_past(self.model, self.samples)

    def _reset_model(self) -> None:
        self.batch.rows.reset(self.row)

    def _answer(self, request: Column | Depth) -> tuple[torch.Tensor, ...]:
        many = self.batch.columns if isinstance(request, Column) else self.batch.depth
        return many([request])[0]

    def _replay(self, columns: list[torch.Tensor]) -> None:
        self._take(self.batch.rows.step_one(self.row, torch.cat(columns, dim=2)))

    def _rewind(self, columns: int) -> None:
        self.batch.rows.shift(self.row, PLACES, -columns)

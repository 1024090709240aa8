# SPDX-License-Identifier: GPL-3.0-or-later
"""One streaming step of a moshi module for many streams at once, each at its own place in time.

moshi's streaming states have a row a stream. The rows of all streams are kept here. Those whose
turn it is are copied into the state of the smallest batch that takes them, the step is run, and
they are copied back. So streams join, pause and leave as they like, and a step costs what those
cost that take part.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from .recorded_step import record, state_slots

BATCHES = (1, 4, 16, 64)
FIRST_ROWS = 8


class StreamBatch:
    """Runs a function of a moshi module for any of its streams.

    Args:
        module: not in streaming mode; it must not be used by anybody else.
        function: of tensors whose first dimension is the stream, to a tensor or a tuple of them;
            as for :func:`.recorded_step.record`.
        inputs: of one stream, ``[1, ...]``: their shapes are fixed.
        most: streams that are stepped at once at most; more take several steps.
        others: further inputs, for :meth:`step_one` to be as fast with those of their shapes.

    Raises:
        ValueError: a state of the module has no dimension that is the stream.
    """

    @torch.inference_mode()
    def __init__(
        self,
        module: nn.Module,
        function: Callable,
        inputs: Sequence[torch.Tensor],
        most: int = BATCHES[-1],
        others: Sequence[Sequence[torch.Tensor]] = (),
    ) -> None:
        self._inputs = tuple(inputs)
        slots = stream_axes(module)
        self._names, self._axes = [name for name, _ in slots], [axis for _, axis in slots]
        self._steps = [
            _Step(module, function, self._inputs, size, self._axes) for size in batches_up_to(most)
        ]
        self._others = {
            shapes(given): _Step(module, function, tuple(given), 1, self._axes) for given in others
        }
        self._any = _Step(module, function, self._inputs, 1, self._axes, recorded=False)
        self._fresh = [row.clone() for row in self._steps[0].rows()]
        self._store = self._fresh_rows(FIRST_ROWS)
        self._free = list(range(FIRST_ROWS))[::-1]
        self._count = FIRST_ROWS

    def _fresh_rows(self, count: int) -> list[torch.Tensor]:
        return [
            row.repeat_interleave(count, dim=axis)
            for row, axis in zip(self._fresh, self._axes, strict=True)
        ]

    @torch.inference_mode()
    def open(self) -> int:
        """Begins a stream; returns its number, which another one may have had before."""
        if not self._free:
            more = self._fresh_rows(self._count)
            self._store = [
                torch.cat([kept, fresh], dim=axis)
                for kept, fresh, axis in zip(self._store, more, self._axes, strict=True)
            ]
            self._free = list(range(self._count, 2 * self._count))[::-1]
            self._count *= 2
        stream = self._free.pop()
        self.reset(stream)
        return stream

    @torch.inference_mode()
    def reset(self, stream: int) -> None:
        """Begins a stream anew under the same number."""
        for kept, row, axis in zip(self._store, self._fresh, self._axes, strict=True):
            kept.select(axis, stream).copy_(row.select(axis, 0))

    @torch.inference_mode()
    def shift(self, stream: int, names: Sequence[str], by: int) -> None:
        """Adds to what has one of these names in a stream's state, as its place in time."""
        for name, kept, axis in zip(self._names, self._store, self._axes, strict=True):
            if name in names:
                kept.select(axis, stream).add_(by)

    def close(self, stream: int) -> None:
        """Ends a stream; another one may then get its number."""
        self._free.append(stream)

    @torch.inference_mode()
    def step(self, streams: Sequence[int], *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Outputs ``[n, ...]`` of n streams, none of them twice, from inputs ``[n, ...]``."""
        sizes, parts, first = [step.size for step in self._steps], [], 0
        for count in portions(len(streams), sizes):
            chosen = slice(first, first + count)
            parts.append(self._filled(streams[chosen], [x[chosen] for x in inputs]))
            first += count
        return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))

    @torch.inference_mode()
    def step_one(self, stream: int, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Outputs ``[1, ...]`` of one stream, from inputs ``[1, ...]`` of any shape."""
        step = self._others.get(shapes(inputs), self._any)
        return self._stepped(step, [stream], list(inputs))

    def _filled(
        self, streams: Sequence[int], inputs: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        count = len(streams)
        step = next(step for step in self._steps if step.size >= count)
        filled = [
            torch.cat([x, example.expand(step.size - count, *example.shape[1:])])
            for x, example in zip(inputs, self._inputs, strict=True)
        ]
        return self._stepped(step, streams, filled)

    def _stepped(
        self, step: "_Step", streams: Sequence[int], inputs: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        count, places = len(streams), torch.tensor(streams)
        kept_rows = list(zip(self._store, self._axes, strict=True))
        step.put([kept.index_select(axis, places) for kept, axis in kept_rows])
        outputs = step.run(inputs)
        for (kept, axis), row in zip(kept_rows, step.rows(), strict=True):
            kept.index_copy_(axis, places, row.narrow(axis, 0, count))
        return tuple(output[:count] for output in outputs)


class _Step:
    """The step of a batch of one size, with a streaming state of its own."""

    def __init__(
        self,
        module: nn.Module,
        function: Callable,
        inputs: tuple[torch.Tensor, ...],
        size: int,
        axes: list[int],
        recorded: bool = True,
    ) -> None:
        self.size, self._axes, self._module = size, axes, module
        module.streaming_forever(size)
        self._slots = list(state_slots(module))
        self._state = module.get_streaming_state()
        examples = [x.expand(size, *x.shape[1:]).contiguous() for x in inputs]
        self._run = record(module, function, *examples) if recorded else function
        module.reset_streaming()
        module._stop_streaming()

    def rows(self) -> list[torch.Tensor]:
        """The state as it is; each row is a stream."""
        return [getattr(owner, name) for owner, name in self._slots]

    def put(self, rows: list[torch.Tensor]) -> None:
        """Sets the first rows of the state."""
        for mine, axis, given in zip(self.rows(), self._axes, rows, strict=True):
            mine.narrow(axis, 0, given.shape[axis]).copy_(given)

    def run(self, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """One step. What is not recorded, as on a GPU, reads the state from the module."""
        self._module.set_streaming_state(self._state)
        try:
            out = self._run(*inputs)
        finally:
            self._module._stop_streaming()
        return out if isinstance(out, tuple) else (out,)


def shapes(inputs: Sequence[torch.Tensor]) -> tuple[torch.Size, ...]:
    """Returns the shape of each input, in their order."""
    return tuple(x.shape for x in inputs)


def batches_up_to(most: int) -> list[int]:
    """Sizes of batches, the last one not below ``most`` where there is such a one."""
    return [size for n, size in enumerate(BATCHES) if n == 0 or BATCHES[n - 1] < most]


def portions(count: int, sizes: Sequence[int]) -> list[int]:
    """How many of ``count`` streams each step takes, with batches of these sizes.

    A batch of 64 takes as long as three of 16, whatever of it is used.
    """
    found = []
    while count:
        size = next((size for size in sizes if size >= count), sizes[-1])
        half_empty = size == BATCHES[-1] and count <= size // 2
        found.append(min(count, BATCHES[-2] if half_empty else size))
        count -= found[-1]
    return found


def stream_axes(module: nn.Module) -> list[tuple[str, int]]:
    """Name of each tensor of the streaming state, and which of its dimensions is the stream."""
    shapes = []
    for size in (2, 3):
        with module.streaming(size):
            found = [(name, getattr(owner, name).shape) for owner, name in state_slots(module)]
        shapes.append(found)
    axes = []
    for (name, two), (_, three) in zip(*shapes, strict=True):
        different = [n for n, (a, b) in enumerate(zip(two, three, strict=True)) if (a, b) == (2, 3)]
        if len(different) != 1:
            raise ValueError(
                f"the streaming state {name!r}, {tuple(two)} for two streams, has no row a stream: "
                "run a process a call with this model"
            )
        axes.append((name, different[0]))
    return axes

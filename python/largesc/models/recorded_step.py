# SPDX-License-Identifier: GPL-3.0-or-later
"""Records one streaming step of a moshi module and runs it again without Python.

At a batch of one and a frame a call, most of the time on a CPU goes into Python and not into
arithmetic. moshi answers this on a GPU with CUDA graphs, which its streaming states are made for:
tensors that stay where they are and are written in place. torch's tracer does the same on a CPU,
and other Python threads run meanwhile.
"""

import dataclasses
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from moshi.modules.streaming import StreamingModule
from moshi.modules.transformer import RingKVCache
from moshi.utils.compile import no_compile
from torch import nn

# Torch has one executor for what is run first, for all threads.
_executor = threading.Lock()


def state_slots(module: nn.Module) -> Iterator[tuple[object, str]]:
    """Owner and attribute of each tensor of the module's streaming state."""

    def visit(owner: object) -> Iterator[tuple[object, str]]:
        for name, value in vars(owner).items():
            if isinstance(value, torch.Tensor):
                yield owner, name
            elif isinstance(value, RingKVCache) or dataclasses.is_dataclass(value):
                yield from visit(value)

    for part in module.modules():
        if isinstance(part, StreamingModule) and part._streaming_state is not None:
            yield from visit(part._streaming_state)


def has_packed_weights(module: nn.Module) -> bool:
    """Whether a part holds 8-bit weights in an object of torch's own, which is no tensor."""
    return any(
        isinstance(value, torch.ScriptObject)
        for part in module.modules()
        for value in vars(part).values()
    )


@contextmanager
def constant_weights(module: nn.Module) -> Iterator[None]:
    """The tracer takes weights for constants only while they are not to be learnt."""
    learnt = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in learnt:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learnt:
            weight.requires_grad_(True)


@contextmanager
def plain_executor() -> Iterator[None]:
    """What runs first in here is run as it is recorded.

    Else torch looks at shapes over some calls and optimises once more. In a graph of constant
    weights that finds nothing, and takes half of the time until a model is ready.
    """
    with _executor:
        before = torch._C._jit_set_profiling_mode(False)
        try:
            yield
        finally:
            torch._C._jit_set_profiling_mode(before)


@torch.no_grad()
def record(module: nn.Module, function: Callable, *inputs: torch.Tensor) -> Callable:
    """Returns ``function``, recorded for inputs of these shapes.

    The state is advanced some steps meanwhile: reset it afterwards. Weights that change later are
    not seen.

    Args:
        module: holds all weights of ``function`` and is in streaming mode.
        function: of tensors, to a tensor or a tuple of them; its control flow must not depend on
            their values. Not on a CPU: ``function`` comes back as it is.
    """
    if next(module.parameters()).device.type != "cpu":
        return function
    # no_compile: where moshi was imported before this package, it would compile what is traced.
    with warnings.catch_warnings(), no_compile(), constant_weights(module):
        # The tracer warns of sizes that become constants, which is what is wanted.
        warnings.simplefilter("ignore")
        if has_packed_weights(module):
            step = torch.jit.trace(_Packed(module, function).eval(), inputs, check_trace=False)
            step = torch.jit.freeze(step)
        else:
            step = _recorded(list(state_slots(module)), function, inputs)
        with plain_executor():
            # The first call is slow.
            step(*inputs)
    return step


class _Packed(nn.Module):
    """A function of a module with 8-bit weights, its streaming state as buffers.

    The tracer knows objects that are no tensors only as parts of a module.
    """

    def __init__(self, module: nn.Module, function: Callable) -> None:
        super().__init__()
        self.module, self.function, self.slots = module, function, list(state_slots(module))
        for number, (owner, name) in enumerate(self.slots):
            self.register_buffer(f"state_{number}", getattr(owner, name), persistent=False)

    def forward(self, *inputs: torch.Tensor) -> object:
        out = self.function(*inputs)
        for number, (owner, name) in enumerate(self.slots):
            kept, now = getattr(self, f"state_{number}"), getattr(owner, name)
            if now is not kept:
                kept.copy_(now)
                setattr(owner, name, kept)
        return out


def _recorded(
    slots: list[tuple[object, str]], function: Callable, inputs: tuple[torch.Tensor, ...]
) -> Callable:
    state = [getattr(owner, name) for owner, name in slots]

    def with_state(*tensors: torch.Tensor) -> object:
        # The tracer sees writes to its inputs only, so the state is handed in.
        for (owner, name), kept in zip(slots, tensors, strict=False):
            setattr(owner, name, kept)
        out = function(*tensors[len(slots) :])
        for (owner, name), kept in zip(slots, tensors, strict=False):
            now = getattr(owner, name)
            if now is not kept:
                # Replaced instead of written to: a recorded step would never see it again.
                kept.copy_(now)
        return out

    try:
        # What torch.jit.trace and freeze consist of. They themselves make a type of every part of
        # the model, which takes seconds, and keep it and the weights as long as the process runs.
        graph, _ = torch._C._create_graph_by_tracing(
            with_state, (*state, *inputs), lambda tensor: "", True, False
        )
    finally:
        for (owner, name), kept in zip(slots, state, strict=True):
            setattr(owner, name, kept)
    torch._C._jit_pass_inline(graph)
    # Computes once what depends on weights only.
    torch._C._jit_pass_constant_propagation(graph)
    torch._C._jit_pass_optimize_frozen_graph(graph, True)
    return partial(torch._C._create_function_from_graph("recorded_step", graph), *state)

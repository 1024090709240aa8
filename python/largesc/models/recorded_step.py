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


def is_packed(part: nn.Module) -> bool:
    """Whether it holds 8-bit weights itself, in an object of torch's own, which is no tensor."""
    return any(isinstance(value, torch.ScriptObject) for value in vars(part).values())


def packed_in_use(
    module: nn.Module, function: Callable, inputs: tuple[torch.Tensor, ...]
) -> list[nn.Module]:
    """Parts with 8-bit weights in the layers that ``function`` calls: it is run once."""
    used: dict[nn.Module, None] = {}

    def note(layer: nn.Module, _: object) -> None:
        used.update(dict.fromkeys(filter(is_packed, layer.children())))

    layers = [part for part in module.modules() if any(map(is_packed, part.children()))]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        if layers:
            function(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return list(used)


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
        if packed := packed_in_use(module, function, inputs):
            whole = _Packed(packed, list(state_slots(module)), function)
            step = torch.jit.trace(whole.eval(), inputs, check_trace=False)
            step = torch.jit.freeze(step)
        else:
            step = _recorded(list(state_slots(module)), function, inputs)
        with plain_executor():
            # The first call is slow.
            step(*inputs)
    return step


class _Packed(nn.Module):
    """A function of layers with 8-bit weights, the streaming state as buffers.

    The tracer knows objects that are no tensors only as parts of a module. No others are given to
    it, since it makes a type of each, which takes long.
    """

    def __init__(
        self, packed: list[nn.Module], slots: list[tuple[object, str]], function: Callable
    ) -> None:
        super().__init__()
        self.packed, self.function, self.slots = nn.ModuleList(packed), function, slots
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

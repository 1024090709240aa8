# SPDX-License-Identifier: GPL-3.0-or-later
"""Records one streaming step of a moshi module and runs it again without Python.

At a batch of one and a frame a call, most of the time on a CPU goes into Python and not into
arithmetic. moshi answers this on a GPU with CUDA graphs, which its streaming states are made for:
tensors that stay where they are and are written in place. ``torch.jit.trace`` does the same on a
CPU, and other Python threads run meanwhile.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator

import torch
from moshi.modules.streaming import StreamingModule
from moshi.modules.transformer import RingKVCache
from moshi.utils.compile import no_compile
from torch import nn

# The first calls of a recorded step are slow: the runtime looks at shapes and optimises.
WARM_UP_CALLS = 3


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


class _Step(nn.Module):
    """A function of ``module`` with the streaming state as buffers, so that a trace can write."""

    def __init__(self, module: nn.Module, function: Callable) -> None:
        super().__init__()
        self.module, self.function = module, function
        self.slots = list(state_slots(module))
        for number, (owner, name) in enumerate(self.slots):
            self.register_buffer(f"state_{number}", getattr(owner, name), persistent=False)

    def forward(self, *inputs: torch.Tensor) -> object:
        out = self.function(*inputs)
        for number, (owner, name) in enumerate(self.slots):
            kept, now = getattr(self, f"state_{number}"), getattr(owner, name)
            if now is not kept:
                # Replaced instead of written to: a recorded step would never see it again.
                kept.copy_(now)
                setattr(owner, name, kept)
        return out


@torch.no_grad()
def record(module: nn.Module, function: Callable, *inputs: torch.Tensor) -> Callable:
    """Returns ``function``, recorded for inputs of these shapes.

    The state is advanced some steps meanwhile: reset it afterwards.

    Args:
        module: holds all weights of ``function`` and is in streaming mode.
        function: of tensors, to a tensor or a tuple of them; its control flow must not depend on
            their values. Not on a CPU: ``function`` comes back as it is.
    """
    if next(module.parameters()).device.type != "cpu":
        return function
    # no_compile: where moshi was imported before this package, it would compile what is traced.
    with warnings.catch_warnings(), no_compile():
        # The tracer warns of sizes that become constants, which is what is wanted.
        warnings.simplefilter("ignore")
        recorded = torch.jit.trace(_Step(module, function).eval(), inputs, check_trace=False)
        # Computes once what depends on weights only; what is written to stays.
        recorded = torch.jit.freeze(recorded)
    for _ in range(WARM_UP_CALLS):
        recorded(*inputs)
    return recorded

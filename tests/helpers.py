# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests need: waiting for a condition, free ports, small models, steps for minutes."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

LARGESC = [sys.executable, "-m", "gnuradio.largesc.cli"]
# A safety net, for a machine that has other things to do: nothing is measured by it.
PATIENCE_S = 300.0

SMALL_CODEC = {
    "kind": "source_filter",
    "delay_samples": 480,
    "encoder": {"dimension": 16, "channels": 16, "n_mels": 20, "blocks": [1, 1], "lags": 16},
    "decoder": {"dimension": 16, "channels": 16, "bands": 20, "blocks": [1, 1, 1]},
    "quantizer": {"dimension": 16, "n_q": 8, "bins": 2048},
}
# Sizes of a language model in place of the recipe's own.
SMALL_LM = {
    "dim": 32,
    "num_heads": 2,
    "num_layers": 2,
    "depformer_dim": 16,
    "depformer_num_heads": 2,
    "depformer_dim_feedforward": 32,
}


def wait_until(
    condition: Callable[[], bool],
    meanwhile: Callable[[], object] = lambda: None,
    every_s: float = 0.02,
) -> None:
    """Waits for ``condition``, with ``meanwhile`` called in each turn.

    Raises:
        AssertionError: it is not so after :data:`PATIENCE_S`.
    """
    end = time.monotonic() + PATIENCE_S
    while not condition():
        said = condition.__doc__ or condition.__qualname__
        assert time.monotonic() < end, f"still not so after {PATIENCE_S:.0f} s: {said}"
        meanwhile()
        time.sleep(every_s)


def free_port(kind: int = socket.SOCK_DGRAM) -> int:
    """A port of this machine that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def small_lm_config(**changes: object) -> dict:
    """The recipe's language model in small, with other values in its config."""
    from gnuradio.largesc.training.config import read_config
    from gnuradio.largesc.training.recipes.lm import CONFIG_KEYS, DEFAULT_CONFIG

    return dict(read_config(DEFAULT_CONFIG, CONFIG_KEYS)["model"]) | SMALL_LM | changes


def small_lm(seed: int = 0, **changes: object) -> object:
    """A model of :func:`small_lm_config` with random weights."""
    import torch
    from gnuradio.largesc.concealment.build_lm import build_language_model

    torch.manual_seed(seed)
    return build_language_model(small_lm_config(**changes))


@contextmanager
def seconds_are_steps() -> Iterator[None]:
    """The clock of a training run goes on by a second a step, so that minutes are steps.

    A line of progress, each 30 s, takes three more.
    """
    from gnuradio.largesc.training import run

    now = [0.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    clock, run.time = run.time, SimpleNamespace(monotonic=tick)
    try:
        yield
    finally:
        run.time = clock

# SPDX-License-Identifier: GPL-3.0-or-later
"""Work of studies in processes of its own."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor


def results_of(score: Callable, jobs: list, processes: int) -> Iterator:
    """What ``score`` returns for each of ``jobs``, in their order and as it comes."""
    # A fork would keep the locks of libraries whose threads it does not have, and wait for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_one_thread) as pool:
        for done, found in enumerate(pool.map(score, jobs), 1):
            yield found
            if done % 10 == 0 or done == len(jobs):
                print(f"{done} of {len(jobs)}", flush=True)


def _one_thread() -> None:
    # The processes share the cores.
    import torch

    torch.set_num_threads(1)


def alone(function: Callable, *arguments: object) -> object:
    """Calls in a process of its own: that alone gives all of a flowgraph's buffers back."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()

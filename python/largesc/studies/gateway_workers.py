# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the calls that a gateway's workers of Ray carry, and what its first process computes.

    largesc study gateway_workers --workers 1,2 --calls 8,16,32 --output FOLDER

Each run is paced as a link is, a tick each 80 ms, with a fifth of the packets lost. Writes
``gateway_workers.csv``, a row a run: what a worker's step takes, ticks at which a worker still
computed, and processor time by call and tick, of the workers and of the process that feeds them.
Sockets are not counted, and there are no outputs.
"""

import argparse
import time

import numpy as np

from ..gateway.cluster import GatewayCluster
from ..gateway.worker import WorkerPlan
from ..options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from ..speech.format import FRAME_S
from .gateway_flood import Caller
from .study import add_common, at_least_one, save_rows

LOST = 0.2
WARM_UP_S = 4.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study."""
    add_common(parser, speech=False)
    parser.add_argument("--workers", type=counts, default=[1, 2], help="as 1,2 [%(default)s]")
    parser.add_argument(
        "--calls", type=counts, default=[8, 16, 32], help="of all workers [%(default)s]"
    )
    parser.add_argument("--seconds", type=at_least_one, default=20, help="a run [%(default)s]")


def counts(text: str) -> list[int]:
    """An option's value that counts something, for each run."""
    return [at_least_one(part) for part in text.split(",")]


class Talk:
    """Calls that go on at a cluster, in real time.

    Args:
        cluster: that takes them.
        calls: how many.
        rng: of tokens and losses.
    """

    def __init__(self, cluster: GatewayCluster, calls: int, rng: np.random.Generator) -> None:
        self._cluster, self._rng = cluster, rng
        self._callers = {("10.0.0.1", 1 + n): Caller(bytes, True, rng) for n in range(calls)}
        self._due = time.monotonic()

    def go_on(self, seconds: float) -> int:
        """Speaks for so long; returns how many ticks that were."""
        ticks = round(seconds / FRAME_S)
        for _ in range(ticks):
            time.sleep(max(0.0, self._due - time.monotonic()))
            self._due = max(self._due + FRAME_S, time.monotonic())
            now_ns = time.monotonic_ns()
            for peer, caller in self._callers.items():
                for packet in caller.packets():
                    if self._rng.random() >= LOST:
                        self._cluster.take(packet, peer, now_ns)
            self._cluster.tick(time.monotonic_ns())
        return ticks


def measured(workers: int, calls: int, args: argparse.Namespace) -> dict:
    """Runs so many calls at so many workers, and returns a row of the table."""
    each = GatewayOptions(calls=-(-calls // workers))
    plan = WorkerPlan(each, LinkOptions(), ReceiverOptions(), ReportOptions())
    cluster = GatewayCluster(plan, workers)
    try:
        talk = Talk(cluster, calls, np.random.default_rng(args.seed))
        talk.go_on(WARM_UP_S)
        skipped, computed = cluster.counters["turns_skipped"], sum(cluster.computed_s())
        cluster.step_ms.clear()
        mine = time.process_time()
        ticks = talk.go_on(args.seconds)
        mine = time.process_time() - mine
        computed = sum(cluster.computed_s()) - computed
        p50, p95 = np.percentile(cluster.step_ms, (50, 95))
        return {
            "workers": workers,
            "calls": len(cluster.peers()),
            "step_ms_p50": round(p50, 1),
            "step_ms_p95": round(p95, 1),
            "ticks": ticks,
            "turns_skipped": cluster.counters["turns_skipped"] - skipped,
            "worker_ms_a_call": round(1e3 * computed / ticks / calls, 3),
            "first_process_ms_a_call": round(1e3 * mine / ticks / calls, 3),
        }
    finally:
        cluster.close()


def study(args: argparse.Namespace) -> None:
    """Measures each number of workers with each number of calls."""
    rows = []
    for workers in args.workers:
        for calls in args.calls:
            if calls < workers:
                continue
            rows.append(measured(workers, calls, args))
            print(", ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    save_rows(args, "gateway_workers", rows)

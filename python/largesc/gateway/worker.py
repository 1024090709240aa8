# SPDX-License-Identifier: GPL-3.0-or-later
"""One process of a gateway that runs in several: some of the calls, and their outputs."""

import logging
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from .call_outputs import CallOutputs
from .gateway import Gateway
from .key_ring import KeyRing

JOIN_S = 1.0
# A datagram, where it came from, and how many nanoseconds ago: processes share no clock.
Aged = tuple[bytes, tuple, int]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerPlan:
    """What a worker is made of.

    Attributes:
        options, link, receiver, reports: as for a gateway, ``options.calls`` those of one worker.
        keys: folder of keys; empty: everybody may call.
        outputs: arguments of :class:`CallOutputs`.
    """

    options: GatewayOptions
    link: LinkOptions
    receiver: ReceiverOptions
    reports: ReportOptions
    keys: str = ""
    outputs: dict = field(default_factory=dict)

    def outputs_of(self, number: int) -> CallOutputs:
        """Opens the outputs of worker ``number``, which has RTP ports of its own."""
        given = dict(self.outputs)
        if given.get("rtp"):
            host, port = given["rtp"]
            given["rtp"] = (host, port + 2 * self.options.calls * number)
            # Descriptions are numbered from 0 in each worker.
            given["sdp"] = given["sdp"] and given["sdp"] / str(number)
        if given.get("sdp"):
            Path(given["sdp"]).mkdir(exist_ok=True)
        return CallOutputs(**given)


@dataclass
class Turn:
    """What a worker gives back at a tick.

    Attributes:
        replies: datagrams to send, and where to.
        callers: address and call number of each of its calls.
        step_ms: what computing took.
        counters, totals: of its gateway, and ``failures`` of datagrams.
        calls: statistics of each call, by name; None: not told at this tick.
        outputs: counters of its outputs.
    """

    replies: list[tuple[bytes, tuple]]
    callers: list[tuple[tuple, int]]
    step_ms: float
    counters: dict[str, int]
    totals: Counter
    calls: dict[str, dict] | None
    outputs: dict[str, int]


class Worker:
    """Some of the calls; Ray makes an actor of it.

    Args:
        plan: what it is made of.
    """

    def __init__(self, plan: WorkerPlan) -> None:
        import torch

        torch.set_num_threads(1)
        logging.basicConfig(level=logging.INFO, format="largesc: %(message)s")
        self._plan = plan
        self._outputs = CallOutputs()
        self._failures = 0
        self._gateway = Gateway(
            plan.options,
            plan.link,
            plan.receiver,
            plan.reports,
            lambda call: self._outputs.of(call),
            KeyRing(Path(plan.keys)) if plan.keys else None,
        )
        self._gateway.warm_up()
        if plan.outputs.get("rtp"):
            # Else the threads of the first call would wait for it.
            import av  # noqa: F401

    def begin(self, number: int) -> None:
        """Takes the place of worker ``number``; before that it waits with its models loaded."""
        self._outputs = self._plan.outputs_of(number)

    def pid(self) -> int:
        """Tells the number of its process; it is known once the models are loaded."""
        return os.getpid()

    def computed_s(self) -> float:
        """Tells the processor time that its process has had, in seconds."""
        return time.process_time()

    def turn(self, datagrams: list[Aged], tell: bool) -> Turn:
        """Takes datagrams and plays a frame of each call.

        Args:
            datagrams: what came since the last turn.
            tell: whether statistics of calls are wanted as well.
        """
        now_ns = time.monotonic_ns()
        for data, peer, age_ns in datagrams:
            try:
                self._gateway.take(data, peer, now_ns - age_ns)
            except Exception:
                self._failures += 1
                if self._failures == 1:
                    log.exception("a fault of a worker, which goes on")
        return self._told(self._gateway.tick(now_ns), tell)

    def _told(self, replies: list[tuple[bytes, tuple]], tell: bool) -> Turn:
        counters = dict(self._gateway.counters)
        counters["failures"] += self._failures
        return Turn(
            replies,
            self._gateway.callers(),
            self._gateway.step_ms[-1] if self._gateway.step_ms else 0.0,
            counters,
            self._gateway.totals,
            self._gateway.statistics_of_calls() if tell else None,
            self._outputs.counters,
        )

    def read_keys_again(self) -> None:
        """Takes new keys; calls of those that are gone end."""
        self._gateway.read_keys_again()

    def close(self) -> Turn:
        """Ends all calls and their files; returns the last turn, which tells their senders."""
        replies = self._gateway.close()
        self._outputs.join(JOIN_S)
        return self._told(replies, True)

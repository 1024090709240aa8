# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway whose calls are computed by several processes of Ray, on one machine or more.

One more worker waits with its models loaded, and takes the place of one that dies.
"""

import logging
import os
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field

from ..ray_cluster import joined_ray
from .gateway import KEPT_STEPS, MOST_STRANGERS, put_last
from .worker import Aged, Turn, Worker, WorkerPlan

# A worker that has not answered for so long is taken for dead.
STUCK_NS = 1_000_000_000
# Datagrams that wait for a worker; the oldest is left out for a new one.
MOST_WAITING = 1024
# Statistics of calls come with each so many turns, about once a second.
TELL_EVERY = 12
CLOSE_S = 3.0
log = logging.getLogger(__name__)


@dataclass
class Place:
    """A worker and what is known of it."""

    actor: object
    told: Turn | None = None
    # Under way, and since when.
    turn: object | None = None
    since_ns: int = 0
    turns: int = 0
    waiting: deque[Aged] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))


class GatewayCluster:
    """All calls, as :class:`Gateway` is: a clock turns it, a socket feeds it.

    A call stays with its worker. What comes from a new address goes to the worker with the fewest.

    Args:
        plan: of each worker.
        workers: that compute; one more waits.

    Raises:
        ValueError: Ray is not installed, its cluster does not let us in, or has too few processors.

    Attributes:
        counters: sums of the workers', and ``workers_replaced``.
        totals: of all calls that have ended; those of a worker that died up to its last turn.
        step_ms: of the last turns.
    """

    def __init__(self, plan: WorkerPlan, workers: int) -> None:
        # Its workers log calls, each of which is worth a line.
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
        self._ray = ray = joined_ray(os.environ.get("RAY_ADDRESS"), log_to_driver=True)
        processors = int(ray.cluster_resources().get("CPU", 1))
        if workers > processors:
            ray.shutdown()
            raise ValueError(f"--ray {workers}: Ray has {processors} processors: use at most these")
        self._plan = plan
        # A worker that dies is not made anew by Ray: that would take as long as loading the models.
        self._kind = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(Worker)
        self._places = [Place(self._kind.remote(plan)) for _ in range(workers)]
        self._spare = self._new_spare()
        self._strangers: dict[tuple, int] = {}
        self._homes: dict[tuple, int] = {}
        self._before = Counter()
        self._outputs_before, self._totals_before = Counter(), Counter()
        self._replaced = 0
        self.step_ms: deque[float] = deque(maxlen=KEPT_STEPS)
        self._calls: list[dict[str, dict]] = [{} for _ in range(workers)]
        try:
            ray.get([place.actor.begin.remote(n) for n, place in enumerate(self._places)])
        except ray.exceptions.RayError as error:
            ray.shutdown()
            raise ValueError(f"a worker cannot begin: {error}") from error

    @property
    def counters(self) -> dict[str, int]:
        """Returns the sums of what all workers have counted."""
        found = self._before.copy()
        for place in self._told():
            found.update(place.told.counters)
        return dict(found) | {"workers_replaced": self._replaced}

    @property
    def totals(self) -> Counter:
        """Returns what all calls that have ended have counted."""
        found = self._totals_before.copy()
        for place in self._told():
            found.update(place.told.totals)
        return found

    def output_counters(self) -> dict[str, int]:
        """Returns the sums of what the outputs of all workers have counted."""
        found = self._outputs_before.copy()
        for place in self._told():
            found.update(place.told.outputs)
        return {name: found[name] for name in ("written", "dropped", "errors")}

    def statistics_of_calls(self) -> dict[str, dict]:
        """Returns counters and measured values of each call by name, at most a second old."""
        return {name: facts for calls in list(self._calls) for name, facts in calls.items()}

    def peers(self) -> list[tuple]:
        """Addresses that calls come from, once for each call."""
        return [peer for place in self._told() for peer in place.told.peers]

    def take(self, data: bytes, peer: tuple, now_ns: int) -> None:
        """Takes a datagram that came from ``peer`` at ``now_ns`` of ``time.monotonic_ns``."""
        home = self._homes.get(peer, self._strangers.get(peer))
        if home is None:
            home = self._emptiest()
            put_last(self._strangers, peer, home, MOST_STRANGERS)
        self._places[home].waiting.append((data, peer, now_ns))

    def _emptiest(self) -> int:
        coming = Counter(self._strangers.values())
        counts = [len(p.told.peers) if p.told else 0 for p in self._places]
        return min(range(len(counts)), key=lambda n: counts[n] + coming[n])

    def tick(self, now_ns: int) -> list[tuple[bytes, tuple]]:
        """Hands each worker what came for it.

        Returns:
            datagrams of turns that are done, and where to.
        """
        replies = []
        for number, place in enumerate(self._places):
            replies += self._collect(number, place, now_ns)
            if place.turn is None:
                aged = [(data, peer, now_ns - at_ns) for data, peer, at_ns in place.waiting]
                place.waiting.clear()
                tell = place.turns % TELL_EVERY == 0
                place.turn, place.since_ns = place.actor.turn.remote(aged, tell), now_ns
                place.turns += 1
        self._homes = {p: n for n, place in enumerate(self._places) for p in peers_of(place)}
        self._strangers = {p: n for p, n in self._strangers.items() if p not in self._homes}
        return replies

    def _collect(self, number: int, place: Place, now_ns: int) -> list[tuple[bytes, tuple]]:
        if place.turn is None:
            return []
        done, _ = self._ray.wait([place.turn], timeout=0)
        if not done:
            if now_ns - place.since_ns > STUCK_NS:
                self._replace(number, "it does not answer")
            return []
        place.turn = None
        try:
            place.told = self._ray.get(done[0])
        except self._ray.exceptions.RayTaskError:
            # A fault of one turn; the next one may be good.
            self._before["failures"] += 1
            return []
        except self._ray.exceptions.RayError as error:
            self._replace(number, type(error).__name__)
            return []
        self.step_ms.append(place.told.step_ms)
        if place.told.calls is not None:
            self._calls[number] = place.told.calls
        return place.told.replies

    def _replace(self, number: int, why: str) -> None:
        """Puts the worker that waits in the place of one that is gone; its calls begin anew."""
        log.warning("worker %d is replaced: %s", number, why)
        place = self._places[number]
        with suppress(Exception):
            self._ray.kill(place.actor)
        if place.told is not None:
            self._before.update(place.told.counters)
            self._totals_before.update(place.told.totals)
            self._outputs_before.update(place.told.outputs)
        self._replaced += 1
        self._calls[number] = {}
        self._places[number] = Place(self._spare)
        self._spare.begin.remote(number)
        self._spare = self._new_spare()

    def _new_spare(self) -> object:
        return self._kind.options(num_cpus=0).remote(self._plan)

    def _told(self) -> list[Place]:
        return [place for place in self._places if place.told is not None]

    def read_keys_again(self) -> None:
        """Tells all workers to take new keys; calls of those that are gone end."""
        for actor in (*(place.actor for place in self._places), self._spare):
            actor.read_keys_again.remote()

    def close(self) -> list[tuple[bytes, tuple]]:
        """Ends all calls; returns datagrams that tell their senders."""
        asked = [place.actor.close.remote() for place in self._places]
        done, _ = self._ray.wait(asked, num_returns=len(asked), timeout=CLOSE_S)
        replies = []
        for answer in done:
            with suppress(self._ray.exceptions.RayError):
                replies += self._ray.get(answer)
        self._ray.shutdown()
        return replies


def peers_of(place: Place) -> list[tuple]:
    """Returns the addresses that a worker's calls come from, as it told last."""
    return place.told.peers if place.told is not None else []

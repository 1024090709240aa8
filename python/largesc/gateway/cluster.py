# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway whose calls are computed by several processes of Ray, on one machine or more.

One more worker waits with its models loaded, and takes the place of one that dies.
"""

import logging
import os
import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field

from .._core import has_right_crc
from ..packets.call_number import unwrapped
from ..ray_cluster import actor_of, ray_of_processes
from .gateway import KEPT_STEPS, MOST_STRANGERS, SECOND_NS, STRANGER_S, counts_of, put_last
from .worker import Aged, Turn, Worker, WorkerPlan

# A worker that has not answered for so many ticks, one second, is taken for dead. Ticks, since a
# machine that was suspended has no worker that is dead.
STUCK_TICKS = 13
# So long may it load its models.
LOAD_S = 120.0
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
    # Its answer that it has begun, which waits for its models; None: it has.
    begun: object | None = None
    since_ns: int = 0
    told: Turn | None = None
    # The last one that had statistics of calls: totals and calls of one moment.
    full: Turn | None = None
    # Under way, and for how many ticks.
    turn: object | None = None
    ticks: int = 0
    turns: int = 0
    waiting: deque[Aged] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))


class GatewayCluster:
    """All calls, as :class:`Gateway` is: a clock turns it, a socket feeds it.

    A call, by address and number, stays with its worker. A new one goes to the worker with the
    fewest.

    Args:
        plan: of each worker.
        workers: that compute; one more waits.

    Raises:
        ValueError: Ray is not installed, its cluster does not let us in, or has too few processors.

    Attributes:
        counters: sums of the workers' and of what is refused here, ``workers_replaced``,
            ``turns_skipped``: ticks at which a worker still computed, and ``overrun``: datagrams
            left out as a worker had too many.
        totals: of all calls that have ended, at most a second old; of a worker that died, those
            of its calls as well.
        step_ms: of the last turns.
    """

    def __init__(self, plan: WorkerPlan, workers: int) -> None:
        # Its workers log calls, each of which is worth a line.
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
        self._ray = ray = ray_of_processes(workers, log_to_driver=True)
        self._plan = plan
        # A worker that dies is not made anew by Ray: that would take as long as loading the models.
        self._kind = actor_of(ray, Worker)
        self._places = [Place(self._kind.remote(plan)) for _ in range(workers)]
        self._spare = self._new_spare()
        # Workers of callers, who are an address and a call number. Those that are no calls yet: and
        # when they were heard.
        self._strangers: dict[tuple[tuple, int], tuple[int, int]] = {}
        # How many of them each worker has, counted anew at each tick: a flood brings many.
        self._coming: Counter[int] = Counter()
        self._homes: dict[tuple[tuple, int], int] = {}
        self._before = Counter()
        self._outputs_before, self._totals_before = Counter(), Counter()
        self._own = dict.fromkeys(("workers_replaced", "turns_skipped", "overrun"), 0)
        # Figures are read by another thread, and those of a place go elsewhere when it is replaced.
        self._lock = threading.Lock()
        self.step_ms: deque[float] = deque(maxlen=KEPT_STEPS)
        begun = [place.actor.begin.remote(n) for n, place in enumerate(self._places)]
        try:
            ray.get(begun, timeout=LOAD_S)
        except ray.exceptions.RayError as error:
            ray.shutdown()
            raise ValueError(f"a worker cannot begin: {error}") from error

    @property
    def counters(self) -> dict[str, int]:
        """Returns the sums of what all workers have counted."""
        with self._lock:
            found = self._before.copy()
            for place in self._told():
                found.update(place.told.counters)
            return dict(found) | self._own

    @property
    def totals(self) -> Counter:
        """Returns what all calls that have ended have counted."""
        with self._lock:
            found = self._totals_before.copy()
            for place in self._places:
                found.update(place.full.totals if place.full else {})
            return found

    def output_counters(self) -> dict[str, int]:
        """Returns the sums of what the outputs of all workers have counted."""
        with self._lock:
            found = self._outputs_before.copy()
            for place in self._told():
                found.update(place.told.outputs)
            return {name: found[name] for name in ("written", "dropped", "errors")}

    def statistics_of_calls(self) -> dict[str, dict]:
        """Returns counters and measured values of each call by name, at most a second old."""
        with self._lock:
            full = [place.full for place in self._places if place.full]
        return {name: facts for turn in full for name, facts in turn.calls.items()}

    def peers(self) -> list[tuple]:
        """Addresses that calls come from, once for each call."""
        return [peer for place in self._told() for peer, _ in place.told.callers]

    def computed_s(self) -> list[float]:
        """Asks each worker for the processor time that it has had, in seconds."""
        return self._ray.get([place.actor.computed_s.remote() for place in self._places])

    def take(self, data: bytes, peer: tuple, now_ns: int) -> None:
        """Takes a datagram that came from ``peer`` at ``now_ns`` of ``time.monotonic_ns``."""
        caller = peer, unwrapped(data, False)[0]
        home = self._homes.get(caller)
        if home is None:
            if not self._plan.keys and self._plan.link.has_crc and not has_right_crc(data):
                # A flood of garbage takes no worker's time.
                with self._lock:
                    self._before.update(packets=1, refused_packets=1)
                return
            home, _ = self._strangers.get(caller) or (None, 0)
            if home is None:
                home = self._emptiest()
                self._coming[home] += 1
            put_last(self._strangers, caller, (home, now_ns), MOST_STRANGERS)
        waiting = self._places[home].waiting
        self._own["overrun"] += len(waiting) == MOST_WAITING
        waiting.append((data, peer, now_ns))

    def _emptiest(self) -> int:
        counts = [len(callers_of(place)) for place in self._places]
        return min(range(len(counts)), key=lambda n: counts[n] + self._coming[n])

    def tick(self, now_ns: int) -> list[tuple[bytes, tuple]]:
        """Hands each worker what came for it.

        Returns:
            datagrams of turns that are done, and where to.
        """
        replies = []
        for number, place in enumerate(self._places):
            replies += self._collect(number, place, now_ns)
        for place in self._places:
            if place.turn is not None:
                self._own["turns_skipped"] += 1
            elif place.begun is None:
                aged = [(data, peer, now_ns - at_ns) for data, peer, at_ns in place.waiting]
                place.waiting.clear()
                tell = place.turns % TELL_EVERY == 0
                place.turn, place.ticks = place.actor.turn.remote(aged, tell), 0
                place.turns += 1
        self._homes = {c: n for n, place in enumerate(self._places) for c in callers_of(place)}
        since_ns = now_ns - int(STRANGER_S * SECOND_NS)
        self._strangers = {
            caller: (home, heard_ns)
            for caller, (home, heard_ns) in self._strangers.items()
            if caller not in self._homes and heard_ns > since_ns
        }
        self._coming = Counter(home for home, _ in self._strangers.values())
        return replies

    def _collect(self, number: int, place: Place, now_ns: int) -> list[tuple[bytes, tuple]]:
        if place.begun is not None:
            self._see_whether_it_has_begun(number, place, now_ns)
            return []
        if place.turn is None:
            return []
        done, _ = self._ray.wait([place.turn], timeout=0)
        if not done:
            place.ticks += 1
            if place.ticks > STUCK_TICKS:
                self._replace(number, "it does not answer", now_ns)
            return []
        place.turn = None
        try:
            told = self._ray.get(done[0])
        except self._ray.exceptions.RayTaskError as error:
            # A fault of one turn; the next one may be good.
            self._before["failures"] += 1
            if self._before["failures"] == 1:
                log.error("a fault of worker %d, which goes on: %s", number, error)
            return []
        except self._ray.exceptions.RayError as error:
            self._replace(number, type(error).__name__, now_ns)
            return []
        self.step_ms.append(told.step_ms)
        self._keep(place, told)
        return told.replies

    def _keep(self, place: Place, told: Turn) -> None:
        with self._lock:
            place.told = told
            if told.calls is not None:
                place.full = told

    def _see_whether_it_has_begun(self, number: int, place: Place, now_ns: int) -> None:
        done, _ = self._ray.wait([place.begun], timeout=0)
        if not done:
            if now_ns - place.since_ns > LOAD_S * SECOND_NS:
                self._replace(number, "its models do not load", now_ns)
            return
        try:
            self._ray.get(done[0])
        except self._ray.exceptions.RayError as error:
            self._replace(number, f"it cannot begin: {error}", now_ns)
            return
        place.begun = None

    def _replace(self, number: int, why: str, now_ns: int) -> None:
        """Puts the worker that waits in the place of one that is gone; its calls begin anew."""
        log.warning("worker %d is replaced: %s", number, why)
        place = self._places[number]
        with suppress(Exception):
            self._ray.kill(place.actor)
        new = Place(self._spare, self._spare.begin.remote(number), now_ns)
        with self._lock:
            if place.told is not None:
                self._before.update(place.told.counters)
                self._before["calls_ended"] += len(place.told.callers)
                self._outputs_before.update(place.told.outputs)
            if place.full is not None:
                self._totals_before.update(place.full.totals)
                for statistics in place.full.calls.values():
                    self._totals_before.update(counts_of(statistics))
            self._own["workers_replaced"] += 1
            self._places[number] = new
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
                told = self._ray.get(answer)
                replies += told.replies
                self._keep(self._places[asked.index(answer)], told)
        self._ray.shutdown()
        return replies


def callers_of(place: Place) -> list[tuple[tuple, int]]:
    """Returns address and number of each call of a worker, as it told last."""
    return place.told.callers if place.told is not None else []

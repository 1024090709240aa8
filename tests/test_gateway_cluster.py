# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway on workers of Ray: calls stay where they are, and go on when a worker is killed."""

import itertools
import os
import signal
import time
from types import SimpleNamespace

import pytest
from gnuradio.largesc._core import append_crc
from gnuradio.largesc.gateway.cluster import GatewayCluster, callers_of
from gnuradio.largesc.gateway.gateway import STRANGER_S
from gnuradio.largesc.gateway.metrics import GatewayMetrics
from gnuradio.largesc.gateway.worker import WorkerPlan
from gnuradio.largesc.models.packaged import absent
from gnuradio.largesc.options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from gnuradio.largesc.packets.call_number import wrapped
from gnuradio.largesc.ray_cluster import joined_ray
from helpers import free_port, wait_until
from test_gateway import sender

PEERS = [("127.0.0.1", 5000 + n) for n in range(4)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if absent(["ray"]):
        pytest.skip("ray is not installed: pip install -r requirements-evaluation.txt")
    folder = tmp_path_factory.mktemp("wav")
    plan = WorkerPlan(
        GatewayOptions(calls=4), LinkOptions(), ReceiverOptions(), ReportOptions(),
        outputs={"wav": folder},
    )  # fmt: skip
    found = GatewayCluster(plan, 2)
    found.folder = folder
    yield found
    found.close()


class Speakers:
    """Four that speak on and on."""

    def __init__(self, cluster: GatewayCluster) -> None:
        self.cluster = cluster
        tokens = [[(7 * n + k) % 2048 for k in range(8)] for n in range(500)]
        self.senders = {peer: sender(tokens, end=False) for peer in PEERS}
        self.replies = []

    def tick(self) -> bool:
        """80 ms of them; whether all are heard."""
        now_ns = time.monotonic_ns()
        for peer, packets in self.senders.items():
            for packet in next(packets):
                self.cluster.take(packet, peer, now_ns)
        self.replies += self.cluster.tick(now_ns)
        time.sleep(0.08)
        return sorted(self.cluster.peers()) == PEERS

    def homes(self) -> list[set[tuple]]:
        return [{peer for peer, _ in callers_of(place)} for place in self.cluster._places]


def test_calls_are_shared_out_and_a_killed_worker_is_replaced(cluster):
    speakers = Speakers(cluster)
    wait_until(speakers.tick)
    before = speakers.homes()
    assert [len(home) for home in before] == [2, 2]
    # Its models are loaded, as those of a gateway that has run for a while.
    pid = cluster._ray.get(cluster._spare.pid.remote())
    assert pid != os.getpid()
    # Calls have as good a right to the processor as any program.
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == niceness
    os.kill(cluster._ray.get(cluster._places[0].actor.pid.remote()), signal.SIGKILL)
    others = []

    def back() -> bool:
        done = speakers.tick()
        others.append(speakers.homes()[1])
        return cluster.counters["workers_replaced"] == 1 and done

    wait_until(back)
    assert cluster._ray.get(cluster._places[0].actor.pid.remote()) == pid
    # Those of the other worker were heard all the while.
    assert all(before[1] <= home for home in others)
    assert cluster.counters["calls_begun"] >= 6 and cluster.counters["failures"] == 0
    wait_until(lambda: speakers.tick() and len(cluster.statistics_of_calls()) == 4)
    assert cluster.output_counters()["errors"] == 0
    assert len(list(cluster.folder.glob("*.wav"))) >= 6
    assert {peer for _, peer in speakers.replies} == set(PEERS)


def totals_of(cluster: GatewayCluster) -> dict[str, int]:
    """All that never falls, as the status page has it."""
    metrics = GatewayMetrics(
        cluster, SimpleNamespace(tick_ms=[], skipped=0, failures=0),
        SimpleNamespace(counters={}), cluster.output_counters,
    )  # fmt: skip
    gauges = ("calls", "memory_mib", "computing_left")
    facts = metrics.facts().items()
    return {name: value for name, value in facts if name not in gauges and "_ms_" not in name}


def test_a_worker_dies_before_the_next_has_loaded_its_models(cluster):
    """That one waits for them, and is not taken for dead; no figure falls meanwhile."""
    speakers, before = Speakers(cluster), cluster.counters["workers_replaced"]
    wait_until(lambda: speakers.tick() and len(cluster.statistics_of_calls()) == 4)
    cluster._ray.get(cluster._spare.pid.remote())
    figures = [totals_of(cluster)]
    for count in (1, 2):
        pid = cluster._ray.get(cluster._places[0].actor.pid.remote())
        os.kill(pid, signal.SIGKILL)

        def replaced(count=count) -> bool:
            speakers.tick()
            figures.append(totals_of(cluster))
            return cluster.counters["workers_replaced"] == before + count

        wait_until(replaced)

    def back() -> bool:
        done = speakers.tick()
        figures.append(totals_of(cluster))
        return done and len(cluster.statistics_of_calls()) == 4

    wait_until(back)
    assert cluster.counters["workers_replaced"] == before + 2
    for one, other in itertools.pairwise(figures):
        fallen = {name for name in one if other[name] < one[name]}
        assert not fallen


def test_a_worker_that_stands_still_is_replaced_and_a_gateway_that_does_is_not(cluster):
    speakers, before = Speakers(cluster), cluster.counters["workers_replaced"]
    wait_until(speakers.tick)
    wait_until(lambda: speakers.tick() and cluster._places[0].turn is not None)
    pid = cluster._ray.get(cluster._places[0].actor.pid.remote())
    # Hours pass between two ticks: the machine was suspended.
    cluster.tick(time.monotonic_ns() + 3600 * 10**9)
    assert cluster.counters["workers_replaced"] == before
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: speakers.tick() and cluster.counters["workers_replaced"] == before + 1)


def test_addresses_that_are_silent_count_for_no_worker(cluster):
    now_ns = time.monotonic_ns()
    for n in range(5):
        cluster.take(append_crc(b"not garbage"), ("127.0.0.1", 7000 + n), now_ns)
    assert len(cluster._strangers) >= 5
    cluster.tick(now_ns + int((STRANGER_S + 1.0) * 1e9))
    assert not {peer for peer, _ in cluster._strangers if peer[1] >= 7000}


def test_garbage_reaches_no_worker(cluster):
    wait_until(lambda: cluster.tick(time.monotonic_ns()) == [] and cluster._told())
    before = cluster.counters
    for n in range(50):
        cluster.take(b"garbage", ("127.0.0.1", 8000 + n), time.monotonic_ns())
    assert cluster.counters["refused_packets"] == before["refused_packets"] + 50
    assert cluster.counters["packets"] == before["packets"] + 50
    assert not any(place.waiting for place in cluster._places)


def test_calls_of_one_address_are_shared_out(cluster):
    tokens = [[(5 * n + k) % 2048 for k in range(8)] for n in range(500)]
    senders, peer = {number: sender(tokens, end=False) for number in range(1, 4)}, ("10.1.1.1", 9)

    def found() -> list[list[int]]:
        places = cluster._places
        return [[n for p, n in callers_of(place) if p == peer] for place in places]

    def heard() -> bool:
        now_ns = time.monotonic_ns()
        for number, packets in senders.items():
            for packet in next(packets):
                cluster.take(wrapped(packet, number, True), peer, now_ns)
        cluster.tick(now_ns)
        time.sleep(0.08)
        return sorted(sum(found(), [])) == [1, 2, 3]

    wait_until(heard)
    assert all(found())


def test_what_a_worker_cannot_use_is_counted(cluster):
    before = cluster.counters["refused_packets"]
    for n in range(20):
        cluster.take(bytes([n]) * n, ("127.0.0.1", 6000 + n), time.monotonic_ns())

    def counted() -> bool:
        cluster.tick(time.monotonic_ns())
        time.sleep(0.05)
        return cluster.counters["refused_packets"] >= before + 20

    wait_until(counted)
    assert cluster.counters["failures"] == 0


def test_more_workers_than_processors_are_refused(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    plan = WorkerPlan(GatewayOptions(), LinkOptions(), ReceiverOptions(), ReportOptions())
    with pytest.raises(ValueError, match="--ray 3: Ray has 2 processors"):
        GatewayCluster(plan, 3)


def test_signals_end_a_program_that_uses_ray_as_before(monkeypatch):
    """Ray takes SIGTERM for itself, and then it ends in an abort."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        own = signal.getsignal(signal.SIGTERM)
        joined_ray(None)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_cluster_that_is_not_there_is_told_at_once(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("it would wait for minutes"))
    at = f"127.0.0.1:{free_port()}"
    with pytest.raises(ValueError, match=f"no Ray cluster answers at {at}: start one"):
        joined_ray(at)

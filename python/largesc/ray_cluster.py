# SPDX-License-Identifier: GPL-3.0-or-later
"""Ray, for what computes in several processes: started here, or a cluster that is joined."""

import os
import signal
import socket
import threading
from types import ModuleType

ANSWER_S = 5.0
INSTALL = "pip install -c requirements.txt -r requirements-evaluation.txt"


def joined_ray(
    address: str | None, processors: int | None = None, log_to_driver: bool = False
) -> ModuleType:
    """Ray, joined to a cluster or started here.

    Args:
        address: of the cluster; None: one of our own.
        processors: of a Ray that is started here; None: those of this machine.
        log_to_driver: whether what workers log comes here.

    Raises:
        ValueError: it is not installed, or the cluster does not let us in.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"ray is not installed: {INSTALL}") from error
    if address:
        check_answers(address)
    given = {"address": address} if address else {"num_cpus": processors}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            include_dashboard=False, logging_level="ERROR", log_to_driver=log_to_driver, **given
        )
    except ConnectionError as error:
        raise ValueError(
            f"no Ray cluster lets us in at {address}: start one with `ray start --head`, and set "
            "RAY_AUTH_MODE here as there"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray takes SIGTERM for a crash, and aborts.
        for number, handler in before.items():
            signal.signal(number, handler)
    return ray


def ray_of_processes(count: int, log_to_driver: bool = False) -> ModuleType:
    """Ray of ``RAY_ADDRESS``, or started here, with room for so many processes of a core each.

    Raises:
        ValueError: as of :func:`joined_ray`, or it has fewer processors.
    """
    # Else anything that runs beside them would take the time of the calls.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray = joined_ray(os.environ.get("RAY_ADDRESS"), log_to_driver=log_to_driver)
    processors = int(ray.cluster_resources().get("CPU", 1))
    if count > processors:
        ray.shutdown()
        raise ValueError(f"--ray {count}: Ray has {processors} processors: use at most these")
    return ray


def actor_of(ray: ModuleType, kind: type) -> object:
    """The class as an actor on one core; Ray does not make one anew that dies, its owner does."""
    return ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(kind)


def check_answers(address: str) -> None:
    """Raises ValueError where nobody is at ``host:port``: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address or not port.isdecimal():
        # Ray knows other forms, as "auto".
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address}: start one with `ray start --head`, or unset "
            "RAY_ADDRESS to compute on this machine alone"
        ) from error

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway does, for Prometheus and for people, over HTTP."""

import html
import socket
import threading
from collections.abc import Callable, Iterator
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np

from ..packets.address import address
from ..speech.format import FRAME_MS
from .clock import GatewayClock
from .cluster import GatewayCluster
from .gateway import Gateway, counts_of
from .inbox import Inbox
from .memory import resident_mib

PERCENTILES = (50, 95)
TOTALS = ("packets_received", "packets_lost", "frames", "frames_made_up")
GAUGES = ("calls", "memory_mib", "computing_left")
LOSSES = ("packets_lost", "frames_made_up", "refused_format", "refused_crc")


class GatewayMetrics:
    """Reads the figures whenever they are asked for.

    Args:
        gateway, clock, inbox: whose.
        output_counters: tells what the outputs of all calls have counted.
    """

    def __init__(
        self,
        gateway: Gateway | GatewayCluster,
        clock: GatewayClock,
        inbox: Inbox,
        output_counters: Callable[[], dict[str, int]],
    ) -> None:
        self._gateway, self._clock, self._inbox = gateway, clock, inbox
        self._output_counters = output_counters

    def facts(self) -> dict[str, float]:
        """Returns counters and measured values of the whole gateway, units in their names."""
        steps = {f"step_ms_p{p}": percentile(self._gateway.step_ms, p) for p in PERCENTILES}
        ticks = {f"tick_ms_p{p}": percentile(self._clock.tick_ms, p) for p in PERCENTILES}
        # With workers a tick only hands on, and the computing is theirs.
        busy_ms = max(ticks["tick_ms_p95"], steps["step_ms_p95"])
        return {
            "calls": len(self.calls()),
            "memory_mib": round(resident_mib(), 1),
            **steps,
            **ticks,
            "computing_left": round(1.0 - busy_ms / FRAME_MS, 3),
            "ticks_skipped": self._clock.skipped,
            "tick_failures": self._clock.failures,
            **self._gateway.counters,
            **{f"datagrams_{n}": v for n, v in self._inbox.counters.items()},
            **{f"output_{n}": v for n, v in self._output_counters().items()},
            **self._totals(),
        }

    def _totals(self) -> dict[str, int]:
        """Of all calls, those that have ended as well."""
        found = self._gateway.totals.copy()
        for statistics in self.calls().values():
            found.update(counts_of(statistics))
        return {f"total_{name}": found[name] for name in TOTALS}

    def calls(self) -> dict[str, dict[str, float]]:
        """Returns counters and measured values of each call, by its name."""
        return self._gateway.statistics_of_calls()

    def collect(self) -> Iterator[object]:
        """As ``prometheus_client`` asks."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, value in self.facts().items():
            gauge = name in GAUGES or "_ms_" in name
            kind = GaugeMetricFamily if gauge else CounterMetricFamily
            yield kind(f"largesc_{name}", name.replace("_", " "), value=value)
        calls = self.calls()
        loss = GaugeMetricFamily("largesc_call_loss", "share of lost packets", labels=["call"])
        delay = GaugeMetricFamily("largesc_call_playout_delay_ms", "wait", labels=["call"])
        lost = CounterMetricFamily("largesc_call", "of a call", labels=["call", "what"])
        for name, counters in calls.items():
            loss.add_metric([name], counters["loss_probability"])
            delay.add_metric([name], counters["playout_delay_ms"])
            for what in LOSSES:
                lost.add_metric([name, what], counters[what])
        yield from (loss, delay, lost)

    def page(self) -> str:
        """Returns a page in HTML that shows all figures and reloads every 2 s."""
        facts = "".join(row(name, f"{value:g}") for name, value in self.facts().items())
        head = row("call", "loss", "playout, ms", "frames", "made up", "refused", tag="th")
        calls = "".join(
            row(
                name,
                f"{c['loss_probability']:.0%}",
                f"{c['playout_delay_ms']:g}",
                c["frames"],
                c["frames_made_up"],
                c["refused_format"] + c["refused_crc"],
            )
            for name, c in self.calls().items()
        )
        return (
            "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2>"
            "<title>largesc gateway</title><style>body{font-family:sans-serif}"
            "td,th{padding:0 1em;text-align:right}td:first-child{text-align:left}</style>"
            f"<h1>largesc gateway</h1><table>{facts}</table><h2>Calls</h2>"
            f"<table>{head}{calls}</table><p><a href=/metrics>/metrics</a>"
        )


def row(*cells: object, tag: str = "td") -> str:
    """One of a table; what it says is escaped."""
    return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"


def percentile(values: object, which: int) -> float:
    """Returns percentile ``which`` (0 to 100) of numbers, 0 where there are none."""
    known = list(values)
    return round(float(np.percentile(known, which)), 2) if known else 0.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    # Whoever connects and says nothing.
    timeout = 10

    def log_message(self, *args: object) -> None:
        """Writes nothing, where the base class logs each request."""


def serve(at: str, metrics: GatewayMetrics) -> WSGIServer:
    """Serves ``/`` and ``/metrics`` at ``host:port`` in a thread; ``shutdown()`` ends it.

    Raises:
        ValueError: the address cannot be listened at.
    """
    from prometheus_client import CollectorRegistry, make_wsgi_app

    registry = CollectorRegistry()
    registry.register(metrics)
    figures = make_wsgi_app(registry)

    def app(environ: dict, start_response: Callable) -> list[bytes]:
        if environ["PATH_INFO"] != "/":
            return figures(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [metrics.page().encode()]

    host, port = address(at)
    kind = _Server6 if ":" in host else _Server
    try:
        server = make_server("" if host == "*" else host, port, app, kind, _Handler)
    except OSError as error:
        raise ValueError(
            f"{at} cannot be listened at: {error.strerror}; use another port for --metrics"
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server

"""What Prometheus reads at `/metrics`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

if TYPE_CHECKING:
    from recsmith.serving.server import Server

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One server's figures, in a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter("recsmith_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.seconds = Histogram("recsmith_request_seconds", "Seconds per request.", ["route"], buckets=_SECONDS, registry=registry)
        self.answers = Counter("recsmith_answers", "Lists served, by where they come from.", ["source"], registry=registry)
        self.batch = Histogram("recsmith_batch_size", "Questions answered in one pass of the model.", buckets=_SIZES, registry=registry)
        self.events = Counter("recsmith_events", "Events that were new.", registry=registry)
        self.rollbacks = Counter("recsmith_rollbacks", "Models taken back because they failed.", registry=registry)
        self.model = Info("recsmith_model", "The model in service.", registry=registry)
        Info("recsmith_process", "Which worker these figures are of.", registry=registry).info({"pid": str(os.getpid())})
        self._gauges = {
            name: Gauge(f"recsmith_{name}", text, registry=registry)
            for name, text in {
                "questions_waiting": "Questions that wait for the model.",
                "writes_waiting": "Writes that wait for the store.",
                "store_available": "1 when the last write was kept.",
                "lists_lost": "Served lists that could not be written down.",
                "histories_cached": "People whose history is in memory.",
                "answers_cached": "Answers in memory.",
                "catalogue_items": "Items of the model in service.",
                "sharing_degraded": "1 while the Redis that workers share is away.",
            }.items()
        }
        self._by_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """One request is done."""
        pair = self._by_route.get((route, status))
        if pair is None:
            pair = self._by_route[route, status] = self.requests.labels(route, status), self.seconds.labels(route)
        pair[0].inc()
        pair[1].observe(seconds)

    def text(self, server: Server) -> bytes:
        """Everything, in Prometheus' text format."""
        values = {
            "questions_waiting": server.batcher.waiting,
            "writes_waiting": server.writer.waiting,
            "store_available": int(server.writer.available),
            "lists_lost": server.writer.lost_lists,
            "histories_cached": len(server.histories),
            "answers_cached": len(server.answers.cache),
            "catalogue_items": server.generation.items,
            "sharing_degraded": int(not server.shares_well),
        }
        for name, value in values.items():
            self._gauges[name].set(value)
        return bytes(generate_latest(self._registry))

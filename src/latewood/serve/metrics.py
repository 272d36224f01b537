"""What Prometheus is told. One registry per service, so that two in one process don't add up."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from latewood.types import StageTiming

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_OVERLAPS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)


class Metrics:
    """The figures of a service; their names begin with latewood."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        register = self.registry
        self.requests = Counter(
            "latewood_requests", "Requests that were answered.", ["route", "method", "status"], registry=register
        )
        self.seconds = Histogram(
            "latewood_request_seconds", "From the first byte in to the last out.", ["route"], buckets=_SECONDS,
            registry=register,
        )  # fmt: skip
        self.stages = Histogram(
            "latewood_stage_seconds", "Stages of pipelines, and encoding.", ["stage"], buckets=_SECONDS,
            registry=register,
        )  # fmt: skip
        self.batches = Histogram(
            "latewood_batch_queries", "Questions that were encoded together.", buckets=_SIZES, registry=register
        )
        self.reranked = Counter("latewood_reranked_documents", "Candidates that were scored.", registry=register)
        self.added = Counter("latewood_added_passages", "Passages that were committed.", registry=register)
        self.refused = Counter("latewood_refused", "Requests beyond a limit, by limit.", ["limit"], registry=register)
        self.live = Histogram(
            "latewood_live_overlap", "Share of the exact answer that an answer had.", ["collection"], buckets=_OVERLAPS,
            registry=register,
        )  # fmt: skip
        self.slow = Counter("latewood_slow", "Requests that took longer than the limit of the log.", registry=register)
        self.running = Gauge("latewood_running", "Requests that work now.", registry=register)
        self.waiting = Gauge("latewood_waiting", "Requests that wait for them.", registry=register)
        self.passages = Gauge("latewood_passages", "Passages of a collection.", ["collection"], registry=register)
        self.generation = Gauge("latewood_generation", "Commits of a collection.", ["collection"], registry=register)

    def timed(self, timings: Sequence[StageTiming]) -> None:
        """Count the stages of a pipeline, by their names alone: options and depths are a caller's choice."""
        for timing in timings:
            name = timing.stage.partition("(")[0].partition(":")[0]
            self.stages.labels(name).observe(timing.ms / 1e3)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

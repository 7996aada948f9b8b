"""Counters of a server, for Prometheus. Label values come from the server's own names, so their number is bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
MAX_RECENT_REQUESTS = 6000  # requests that the page draws: a minute of a hundred a second


@dataclass(frozen=True)
class FinishedRequest:
    """One finished request, for the page: when (monotonic), how long in seconds, its task and status."""

    finished_at: float
    seconds: float
    task: str
    status: int


@dataclass
class Metrics:
    """One registry for each server, so that two in a process do not mix."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    recent: deque[FinishedRequest] = field(default_factory=lambda: deque(maxlen=MAX_RECENT_REQUESTS))

    def __post_init__(self) -> None:
        own = self.registry
        self.requests = Counter("loratory_requests_total", "Finished requests.", ["route", "status"], registry=own)
        self.request_seconds = Histogram(
            "loratory_request_seconds", "From the request's first byte to the answer's last.", ["route"],
            buckets=LATENCY_BUCKETS, registry=own,
        )  # fmt: skip
        self.texts = Counter(
            "loratory_texts_total", "Inputs by task, who answered, and how it ended.",
            ["task", "contender", "status"], registry=own,
        )  # fmt: skip
        self.fallbacks = Counter(
            "loratory_fallbacks_total", "Inputs answered by a later stage, by task and reason.",
            ["task", "reason"], registry=own,
        )  # fmt: skip
        self.open_requests = Gauge("loratory_open_requests", "Requests that are being answered.", registry=own)
        self.queued_tokens = Gauge(
            "loratory_queued_tokens", "Estimated tokens that wait for a backbone.", ["backbone"], registry=own
        )
        self.backbone_batches = Gauge("loratory_backbone_batches", "Passes of a backbone.", ["backbone"], registry=own)
        self.backbone_texts = Gauge(
            "loratory_backbone_texts", "Inputs answered by a backbone's passes.", ["backbone"], registry=own
        )

    def render(self) -> bytes:
        """In Prometheus' own format."""
        return generate_latest(self.registry)

"""The last minute of a server: how much was asked, how fast it was answered, and what waits."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loratory.serving.engine.prometheus_metrics import FinishedRequest
from loratory.serving.http.public_names import public_base_name
from loratory.serving.http.server import Server

WINDOW_SECONDS = 60


@dataclass(frozen=True)
class TaskTraffic:
    """Requests of one task, or of all."""

    task: str
    count: int
    p50: float | None  # milliseconds
    p95: float | None
    p99: float | None
    statuses: Sequence[tuple[int, int]]  # HTTP status, how often


@dataclass(frozen=True)
class SecondBar:
    """A bar of the drawing: how long ago, and how many were answered or refused."""

    x: int
    answered: int
    refused: int


@dataclass(frozen=True)
class BackboneQueue:
    """A backbone's worker."""

    name: str
    queued_tokens: int  # tokens, estimated
    wait_milliseconds: float  # milliseconds until work that came now would begin
    batches: int
    texts: int


@dataclass(frozen=True)
class TrafficSummary:
    """All that is shown."""

    lines: Sequence[TaskTraffic]
    seconds: Sequence[SecondBar]
    covered_seconds: int  # seconds that are known: less than a minute where more was asked than is remembered
    rate: float
    queues: Sequence[BackboneQueue]

    @property
    def requests_per_second(self) -> str:
        """Requests a second, with as many digits as count."""
        return f"{self.rate:.0f}" if self.rate >= 10 else f"{self.rate:.2f}"

    @property
    def max_per_second(self) -> int:
        """Requests of the busiest second."""
        return max((one.answered + one.refused for one in self.seconds), default=0)


def summarize_traffic(server: Server) -> TrafficSummary:
    """As of now."""
    now, kept = time.monotonic(), list(server.metrics.recent)
    full = len(kept) == server.metrics.recent.maxlen
    covered = min(WINDOW_SECONDS, math.ceil(now - kept[0].finished_at)) if full else WINDOW_SECONDS
    recent = [one for one in kept if now - one.finished_at < WINDOW_SECONDS]
    tasks = sorted({one.task for one in recent})
    lines = [summarize_task(task, [one for one in recent if one.task == task]) for task in tasks]
    if len(lines) > 1:
        lines.append(summarize_task("all", recent))
    rate = len(recent) / max(min(covered, now - server.started_at), 1)
    return TrafficSummary(lines, _count_by_second(recent, now), covered, rate, list_queues(server))


def summarize_task(task: str, seen: Sequence[FinishedRequest]) -> TaskTraffic:
    """The figures of some requests."""
    took = sorted(one.seconds * 1000 for one in seen)
    statuses = sorted(Counter(one.status for one in seen).items())
    return TaskTraffic(
        task,
        len(seen),
        compute_percentile(took, 0.5),
        compute_percentile(took, 0.95),
        compute_percentile(took, 0.99),
        statuses,
    )


def compute_percentile(ordered: Sequence[float], share: float) -> float | None:
    """The least value that so many are not above (nearest rank), None of nothing."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def _count_by_second(recent: Sequence[FinishedRequest], now: float) -> list[SecondBar]:
    """By whole seconds of the clock, so that a bar does not change once its second is over."""
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    for one in recent:
        (bad if one.status >= 400 else good)[math.floor(now) - math.floor(one.finished_at)] += 1
    ago = range(WINDOW_SECONDS - 1, -1, -1)
    return [SecondBar(WINDOW_SECONDS - 1 - one, good[one], bad[one]) for one in ago if good[one] or bad[one]]


def list_queues(server: Server) -> list[BackboneQueue]:
    """What waits for each backbone that was asked so far."""
    workers = server.engine.list_workers().values()
    return [
        BackboneQueue(public_base_name(one.name), one.queued_tokens, one.estimate_wait() * 1000, one.batches, one.rows)
        for one in workers
    ]

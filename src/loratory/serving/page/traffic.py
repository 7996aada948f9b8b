"""The last minute of a server: how much was asked, how fast it was answered, and what waits."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loratory.serving.metrics import Seen
from loratory.serving.naming import public
from loratory.serving.server import Server

SECONDS = 60


@dataclass(frozen=True)
class Line:
    """Requests of one task, or of all."""

    task: str
    count: int
    p50: float | None  # milliseconds
    p95: float | None
    p99: float | None
    statuses: Sequence[tuple[int, int]]  # HTTP status, how often


@dataclass(frozen=True)
class Second:
    """A bar of the drawing: how long ago, and how many were answered or refused."""

    x: int
    answered: int
    refused: int


@dataclass(frozen=True)
class Queue:
    """A trunk's lane."""

    name: str
    waiting: int  # tokens, estimated
    wait: float  # milliseconds until work that came now would begin
    batches: int
    texts: int


@dataclass(frozen=True)
class Traffic:
    """All that is shown."""

    lines: Sequence[Line]
    seconds: Sequence[Second]
    covered: int  # seconds that are known: less than a minute where more was asked than is remembered
    rate: float
    queues: Sequence[Queue]

    @property
    def often(self) -> str:
        """Requests a second, with as many digits as count."""
        return f"{self.rate:.0f}" if self.rate >= 10 else f"{self.rate:.2f}"

    @property
    def most(self) -> int:
        """Requests of the busiest second."""
        return max((one.answered + one.refused for one in self.seconds), default=0)


def traffic(server: Server) -> Traffic:
    """As of now."""
    now, kept = time.monotonic(), list(server.metrics.recent)
    full = len(kept) == server.metrics.recent.maxlen
    covered = min(SECONDS, math.ceil(now - kept[0].at)) if full else SECONDS
    recent = [one for one in kept if now - one.at < SECONDS]
    tasks = sorted({one.task for one in recent})
    lines = [line(task, [one for one in recent if one.task == task]) for task in tasks]
    if len(lines) > 1:
        lines.append(line("all", recent))
    rate = len(recent) / max(min(covered, now - server.started), 1)
    return Traffic(lines, _seconds(recent, now), covered, rate, queues(server))


def line(task: str, seen: Sequence[Seen]) -> Line:
    """The figures of some requests."""
    took = sorted(one.seconds * 1000 for one in seen)
    statuses = sorted(Counter(one.status for one in seen).items())
    return Line(task, len(seen), percentile(took, 0.5), percentile(took, 0.95), percentile(took, 0.99), statuses)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The least value that so many are not above (nearest rank), None of nothing."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def _seconds(recent: Sequence[Seen], now: float) -> list[Second]:
    """By whole seconds of the clock, so that a bar does not change once its second is over."""
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    for one in recent:
        (bad if one.status >= 400 else good)[math.floor(now) - math.floor(one.at)] += 1
    ago = range(SECONDS - 1, -1, -1)
    return [Second(SECONDS - 1 - one, good[one], bad[one]) for one in ago if good[one] or bad[one]]


def queues(server: Server) -> list[Queue]:
    """What waits for each trunk that was asked so far."""
    lanes = server.engine.lanes().values()
    return [Queue(public(one.name), one.tokens, one.wait() * 1000, one.batches, one.rows) for one in lanes]

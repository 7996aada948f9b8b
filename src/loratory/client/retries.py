"""Whether and when to ask again: exponential backoff with full jitter, bounded in number and in time.

Full jitter: Brooker 2015, "Exponential Backoff and Jitter".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from loratory.client.responses import Reply


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is. Only what may pass is asked again: 429, 503, and connections lost before an answer."""

    max_retries: int = 4  # times, beside the first
    max_seconds: float = 60.0  # from the first request to the last, waits included
    initial_wait: float = 0.25  # seconds: the first wait is drawn below it, each next one below twice as much
    max_wait: float = 8.0  # seconds
    jitter: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic


DEFAULT_RETRIES = RetryPolicy()


class RetryState:
    """One request's tries."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy, self._count, self._started = policy, 0, policy.clock()

    def next_wait(self, reply: Reply) -> float | None:
        """Seconds until it should be sent again; None where the reply stands."""
        bounds = self._policy
        if not reply.retryable or self._count >= bounds.max_retries:
            return None
        ceiling = min(bounds.max_wait, bounds.initial_wait * 2.0**self._count)
        wait = (reply.retry_after or 0.0) + bounds.jitter() * ceiling
        if bounds.clock() - self._started + wait > bounds.max_seconds:
            return None
        self._count += 1
        return wait

"""Whether and when to ask again: exponential backoff with full jitter, bounded in number and in time.

Full jitter: Brooker 2015, "Exponential Backoff and Jitter".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from loratory.client.replies import Reply


@dataclass(frozen=True)
class Retries:
    """How patient a client is. Only what may pass is asked again: 429, 503, and connections lost before an answer."""

    most: int = 4  # times, beside the first
    seconds: float = 60.0  # from the first request to the last, waits included
    first: float = 0.25  # seconds: the first wait is drawn below it, each next one below twice as much
    longest: float = 8.0  # seconds
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic


USUAL = Retries()


class Tries:
    """One request's tries."""

    def __init__(self, retries: Retries) -> None:
        self._retries, self._count, self._started = retries, 0, retries.clock()

    def wait(self, reply: Reply) -> float | None:
        """Seconds until it should be sent again; None where the reply stands."""
        bounds = self._retries
        if not reply.passing or self._count >= bounds.most:
            return None
        ceiling = min(bounds.longest, bounds.first * 2.0**self._count)
        wait = (reply.after or 0.0) + bounds.chance() * ceiling
        if bounds.clock() - self._started + wait > bounds.seconds:
            return None
        self._count += 1
        return wait

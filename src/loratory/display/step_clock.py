"""How long the steps of a fit still take."""

from __future__ import annotations

import time
from collections import deque
from statistics import median

RECENT_STEPS = 50  # the median of so many steps: one that another process held up does not count


class StepClock:
    """Times the steps of one fit in this process: a fit that is resumed begins somewhere in the middle."""

    def __init__(self) -> None:
        self._step, self._epoch, self._finished_at = -1, 0, 0.0
        self._step_seconds: deque[float] = deque(maxlen=RECENT_STEPS)
        self._pauses: list[float] = []  # seconds from the last step of an epoch to the first of the next: validation
        self._epoch_starts: list[int] = []

    def record_step(self, step: int, epoch: int) -> None:
        """A step has ended now."""
        now = time.monotonic()
        if step == self._step + 1 and self._step >= 0:
            if epoch == self._epoch:
                self._step_seconds.append(now - self._finished_at)
            else:
                self._pauses.append(now - self._finished_at)
                self._epoch_starts.append(step)
        self._step, self._epoch, self._finished_at = step, epoch, now

    def estimate_seconds_left(self, count: int) -> float | None:
        """Seconds until step `count` has ended; None until two steps were seen.

        The median of recent steps for each step, and the median pause for each epoch that begins until then.
        """
        if not self._step_seconds:
            return None
        left = count - self._step
        seconds = median(self._step_seconds) * left
        if len(self._epoch_starts) > 1:
            steps_per_epoch = self._epoch_starts[-1] - self._epoch_starts[-2]
            seconds += median(self._pauses) * (left // steps_per_epoch)
        return seconds

    def format_time_left(self, count: int) -> str:
        """Nothing until two steps were seen: the first one says when the clock began, not how fast it runs."""
        seconds = self.estimate_seconds_left(count)
        return "" if seconds is None else f", about {format_duration(seconds)} left"


def format_duration(seconds: float) -> str:
    """Seconds as people read them: 45 s, 12 min, 3 h 5 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

"""How long the steps of a fit still take."""

from __future__ import annotations

import time


class StepClock:
    """Times the steps of one fit in this process: a fit that is resumed begins somewhere in the middle."""

    def __init__(self) -> None:
        self._first_step, self._started_at = -1, 0.0

    def start_at(self, step: int) -> None:
        """Begin with this step; later calls change nothing."""
        if self._first_step < 0:
            self._first_step, self._started_at = step, time.monotonic()

    def format_time_left(self, step: int, count: int) -> str:
        """Nothing until two steps were seen: the first one says when the clock began, not how fast it runs."""
        if step <= self._first_step:
            return ""
        seconds = (time.monotonic() - self._started_at) / (step - self._first_step) * (count - step)
        return f", about {seconds:.0f} s left"

"""Moving averages: what a server knows of speeds and sizes. The newest value counts most."""

from __future__ import annotations

NEWEST_WEIGHT = 0.2  # of the newest value


def update_moving_average(known: float, newest: float) -> float:
    """The exponentially weighted mean after one more value."""
    return known + NEWEST_WEIGHT * (newest - known)

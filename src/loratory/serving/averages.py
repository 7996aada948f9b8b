"""Moving averages: what a server knows of speeds and sizes. The newest value counts most."""

from __future__ import annotations

WEIGHT = 0.2  # of the newest value


def moving_average(known: float, newest: float) -> float:
    """The exponentially weighted mean after one more value."""
    return known + WEIGHT * (newest - known)

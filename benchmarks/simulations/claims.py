"""A promise, and what simulated worlds showed of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import betaincinv

SIMULATION_CONFIDENCE = 0.95  # confidence of the interval around what was seen: the simulation's own error


@dataclass(frozen=True)
class Claim:
    """One promise of the product. It holds where the interval of what was seen does not lie beyond the promise."""

    name: str
    promised: float
    at_most: bool  # the promise is an upper bound; else a lower bound
    seen: float
    low: float
    high: float
    worlds: int
    unit: str = "share of worlds"

    @property
    def holds(self) -> bool:
        """Whether what was seen keeps the promise, within the simulation's error."""
        return self.low <= self.promised if self.at_most else self.high >= self.promised

    def row(self) -> dict[str, float | int | str | bool]:
        """The claim as it stands in results/evidence.json."""
        return {
            "name": self.name,
            "promised": self.promised,
            "bound": "at most" if self.at_most else "at least",
            "seen": self.seen,
            "low": self.low,
            "high": self.high,
            "worlds": self.worlds,
            "unit": self.unit,
            "holds": self.holds,
        }


def claim_rate(name: str, happened: Sequence[bool], promised: float, *, at_most: bool) -> Claim:
    """How often something happened, with Clopper and Pearson's interval. Raises ValueError without worlds."""
    n, k = len(happened), sum(map(bool, happened))
    if not n:
        raise ValueError(f"{name}: no world was simulated")
    tail = (1 - SIMULATION_CONFIDENCE) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Claim(name, promised, at_most, k / n, low, high, n)


def claim_bias(name: str, errors: Sequence[float], promised: float, unit: str = "points") -> Claim:
    """The size of a mean error that is promised to be at most so large. Raises ValueError below two worlds."""
    if len(errors) < 2:
        raise ValueError(f"{name}: at least two worlds are needed")
    bias, reach = fmean(errors), 1.96 * stdev(errors) / math.sqrt(len(errors))
    low, high = max(abs(bias) - reach, 0.0), abs(bias) + reach
    return Claim(name, promised, True, bias, low, high, len(errors), unit)


def claim_amount(name: str, seen: float, promised: float, unit: str, worlds: int = 1) -> Claim:
    """An amount that is counted, not estimated, and promised to be at most so large."""
    return Claim(name, promised, True, seen, seen, seen, worlds, unit)

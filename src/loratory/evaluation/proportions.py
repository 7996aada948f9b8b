"""Bounds of a proportion over examples that come in groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loratory.evaluation.bootstrap import Floats, Integers, by_group

SCARCE = 10  # with fewer groups on one side, what a bootstrap sees of that side is chance
PRIOR = 2.0  # groups' worth of belief that a group is wholly right or wholly wrong, until the data say otherwise


@dataclass(frozen=True)
class Proportion:
    """A share, and how many independent examples it is worth."""

    value: float
    n: float  # examples
    groups: int  # groups that hold them
    minority: int  # groups with a wrong answer, or with a right one, whichever are fewer
    design_effect: float

    def lower(self, confidence: float) -> float:
        """The one-sided lower bound."""
        return clopper_pearson(self.value, self.effective(confidence), 1 - confidence)[0]

    def upper(self, confidence: float) -> float:
        """The one-sided upper bound."""
        return clopper_pearson(self.value, self.effective(confidence), 1 - confidence)[1]

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided interval."""
        return clopper_pearson(self.value, self.effective((1 + confidence) / 2), (1 - confidence) / 2)

    def effective(self, confidence: float) -> float:
        """Korn and Graubard's (1998) effective sample size, with their correction for few groups."""
        from scipy.special import stdtrit

        if self.groups < 2:
            return float(self.groups)
        few = stdtrit(self.n - 1, confidence) / stdtrit(self.groups - 1, confidence)
        return float(self.n / self.design_effect * few**2)


def proportion(part: Floats, whole: Floats, groups: Integers) -> Proportion:
    """The share part / whole, both float[N] with 0 <= part <= whole; examples with whole 0 do not count."""
    counted = whole > 0
    if not counted.any():
        return Proportion(0.0, 0.0, 0, 0, 1.0)
    _, index = np.unique(groups[counted], return_inverse=True)
    right, size = by_group(part[counted], index), by_group(whole[counted], index)
    n, value = float(size.sum()), float(right.sum() / size.sum())
    minority = int(min(np.count_nonzero(right < size - 1e-12), np.count_nonzero(right > 1e-12)))
    residuals = right - value * size
    effect = shrunk_effect(_variance(residuals, n), value * (1 - value) / max(n - 1, 1), size, minority)
    return Proportion(value, n, len(size), minority, effect)


def _variance(residuals: Floats, n: float) -> float:
    """Of a ratio of sums over groups, by linearisation."""
    count = len(residuals)
    return float(count / max(count - 1, 1) * np.square(residuals).sum() / n**2)


def shrunk_effect(clustered: float, simple: float, size: Floats, minority: int) -> float:
    """The design effect: the variance over groups by the variance if examples were independent.

    It is never below 1. While few groups show the rarer outcome it cannot be known, so it leans towards the largest
    possible, where each group is right or wrong as a whole: a perfect score is then worth its number of groups.
    Where every group is one example it is 1, and the bounds are Clopper and Pearson's.
    """
    largest = float(np.square(size).sum() / size.sum())
    seen = min(max(clustered / simple, 1.0), largest) if simple > 0 else largest
    return float(max((minority * seen + PRIOR * largest) / (minority + PRIOR), 1.0))


def clopper_pearson(value: float, n: float, alpha: float) -> tuple[float, float]:
    """Exact one-sided bounds, each at level alpha, of a proportion over n (perhaps not whole) independent trials."""
    from scipy.special import betaincinv

    if n <= 0:
        return 0.0, 1.0
    right = value * n
    low = float(betaincinv(right, n - right + 1, alpha)) if right > 1e-9 else 0.0
    high = float(betaincinv(right + 1, n - right, 1 - alpha)) if n - right > 1e-9 else 1.0
    return low, high

"""Bounds of a proportion over examples that come in groups, and of a mean of proportions.

Shapes: N examples, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loratory.evaluation.statistics.bootstrap import Floats, Integers, sum_by_group
from loratory.measures.ratios import CountWeights, Ratio
from loratory.protocols import Counts

MIN_DIFFERING_GROUPS = 10  # with fewer groups on one side, what a bootstrap sees of that side is chance
PRIOR_GROUPS = 2.0  # groups' worth of belief that a group is wholly right or wholly wrong, until the data say otherwise


@dataclass(frozen=True)
class Proportion:
    """A share, and how many independent examples it is worth."""

    value: float
    n: float  # examples
    groups: int  # groups that hold them
    minority: int  # groups with a wrong answer, or with a right one, whichever are fewer
    design_effect: float

    def lower_bound(self, confidence: float) -> float:
        """The one-sided lower bound."""
        return compute_clopper_pearson(self.value, self.compute_effective_size(confidence), 1 - confidence)[0]

    def upper_bound(self, confidence: float) -> float:
        """The one-sided upper bound."""
        return compute_clopper_pearson(self.value, self.compute_effective_size(confidence), 1 - confidence)[1]

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided interval."""
        return compute_clopper_pearson(
            self.value, self.compute_effective_size((1 + confidence) / 2), (1 - confidence) / 2
        )

    def compute_effective_size(self, confidence: float) -> float:
        """Korn and Graubard's (1998) effective sample size, with their correction for few groups."""
        from scipy.special import stdtrit

        if self.groups < 2:
            return float(self.groups)
        if self.n <= 1:
            return float(self.n / self.design_effect)
        few = stdtrit(self.n - 1, confidence) / stdtrit(self.groups - 1, confidence)
        return float(self.n / self.design_effect * few**2)


@dataclass(frozen=True)
class LinearisedScore:
    """A mean of ratios as sums over examples, in trials (Taylor linearisation: Woodruff 1971)."""

    part: Floats  # float[N]; its sum by n is the score
    whole: Floats  # float[N]; its sum is n
    residual: Floats  # float[N]; its variance is that of n times the score
    n: float

    @property
    def value(self) -> float:
        """The score."""
        return float(self.part.sum() / self.n) if self.n else 0.0


def linearise_ratios(ratios: Sequence[Ratio], counts: Sequence[Counts], totals: Counts) -> LinearisedScore:
    """The mean of ratios; one whose whole is 0 is left out. `totals` are the sums of these marks.

    A trial of a small whole counts more than one of a large whole; n is what all of them are worth together, after
    Kish: for the mean of L ratios L^2 / sum(1 / whole), and the whole itself for one.
    """
    known = [(one, whole) for one in ratios if (whole := _weigh_counts(totals, one.whole)) > 0]
    if not known:
        return LinearisedScore(*(np.zeros(len(counts)),) * 3, 0.0)
    n = len(known) ** 2 / sum(1 / whole for _, whole in known)
    parts, wholes, residuals = dict[str, float](), dict[str, float](), dict[str, float]()
    for one, whole in known:
        scale, value = n / (len(known) * whole), _weigh_counts(totals, one.part) / whole
        _add_weights(parts, one.part, scale)
        _add_weights(wholes, one.whole, scale)
        _add_weights(residuals, one.part, scale)
        _add_weights(residuals, one.whole, -scale * value)
    part, whole_, residual = (_weigh_examples(side, counts) for side in (parts, wholes, residuals))
    return LinearisedScore(part, whole_, residual, n)


def _add_weights(sums: dict[str, float], side: CountWeights, scale: float) -> None:
    for kind, weight in side.items():
        sums[kind] = sums.get(kind, 0.0) + scale * weight


def _weigh_counts(counts: Mapping[str, float], side: CountWeights) -> float:
    return sum(weight * counts.get(kind, 0.0) for kind, weight in side.items())


def _weigh_examples(side: CountWeights, counts: Sequence[Counts]) -> Floats:
    """float[N]; whichever has fewer kinds, the side or the example, is gone through."""
    few = len(side) < 10
    return np.array(
        [
            sum([weight * one[kind] for kind, weight in side.items() if kind in one])
            if few
            else sum([side[kind] * value for kind, value in one.items() if kind in side])
            for one in counts
        ],
        dtype=np.float64,
    )


def estimate_proportion(part: Floats, whole: Floats, groups: Integers) -> Proportion:
    """The share part / whole, both float[N] with 0 <= part <= whole; examples with whole 0 do not count."""
    n = float(whole.sum())
    value = float(part.sum() / n) if n else 0.0
    return estimate_score_proportion(LinearisedScore(part, whole, part - value * whole, n), groups)


def estimate_score_proportion(score: LinearisedScore, groups: Integers) -> Proportion:
    """The same of a mean of ratios."""
    counted, n, value = score.whole > 0, score.n, score.value
    if not counted.any():
        return Proportion(0.0, 0.0, 0, 0, 1.0)
    _, index = np.unique(groups[counted], return_inverse=True)
    right, size, residual = (sum_by_group(side[counted], index) for side in (score.part, score.whole, score.residual))
    minority = int(min(np.count_nonzero(right < size - 1e-9), np.count_nonzero(right > 1e-9)))
    count = len(size)
    clustered = float(count / max(count - 1, 1) * np.square(residual).sum() / n**2)
    simple, largest = value * (1 - value) / max(n - 1, 1), float(np.square(size).sum() / n)
    return Proportion(value, n, count, minority, shrink_design_effect(clustered, simple, largest, minority))


def shrink_design_effect(clustered: float, simple: float, largest: float, minority: int) -> float:
    """The design effect: the variance over groups by the variance if examples were independent.

    It is never below 1. While few groups show the rarer outcome it cannot be known, so it leans towards the largest
    possible, where each group is right or wrong as a whole: a perfect score is then worth its number of groups.
    Where every group is one example it is 1, and the bounds are Clopper and Pearson's.
    """
    seen = min(max(clustered / simple, 1.0), largest) if simple > 1e-15 else largest
    return float(max((minority * seen + PRIOR_GROUPS * largest) / (minority + PRIOR_GROUPS), 1.0))


def compute_clopper_pearson(value: float, n: float, alpha: float) -> tuple[float, float]:
    """Exact one-sided bounds, each at level alpha, of a proportion over n (perhaps not whole) independent trials."""
    from scipy.special import betaincinv

    if n <= 0:
        return 0.0, 1.0
    right = value * n
    low = float(betaincinv(right, n - right + 1, alpha)) if right > 1e-9 else 0.0
    high = float(betaincinv(right + 1, n - right, 1 - alpha)) if n - right > 1e-9 else 1.0
    return low, high

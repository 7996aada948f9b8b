"""Every interval of the product: of a score, a share, a difference of scores, a mean over folds.

Shapes: N examples, B resamples, F fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from loratory.evaluation.bootstrap import Floats, Resampling, column, percentile, replicate_sum
from loratory.evaluation.proportions import Linearised, Proportion, linearise, proportion, proportion_of
from loratory.measures.ratios import Ratio, share
from loratory.protocols import Counts, Decomposable, Task, total

FEW_CASES = 5  # groups; a label that fewer hold counts as anything from its score up to 1
MEAN_REWARD = share("reward", "n")


class Bounded(Protocol):
    """What has a two-sided interval."""

    def interval(self, confidence: float) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Estimate:
    """A score on a test set, with what is needed for its interval.

    `raised` differs from `samples` where a test set holds too few examples of some labels: there each of them is 1.
    """

    value: float
    samples: Floats  # float[B]
    count: float  # effective groups
    highest: float  # the value, with labels of too few examples at 1
    raised: Floats  # float[B]
    exact: Bounded | None


@dataclass(frozen=True)
class Partial:
    """A mean of ratios of which some are too sparse to be measured: they count as their score below, as 1 above."""

    dense: Proportion
    weight: float  # share of the ratios that are dense
    low: float  # what the sparse ones are worth at least
    high: float

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided interval of the whole."""
        low, high = self.dense.interval(confidence) if self.weight else (0.0, 0.0)
        return self.low + self.weight * low, self.high + self.weight * high


def score_interval(
    task: Task,
    name: str,
    fits: Sequence[Sequence[Counts]],
    samples: Floats,
    resampling: Resampling,
    confidence: float,
) -> dict[str, Any]:
    """{low, high, how} of a score, as the mean over these fits' marks on the same examples.

    samples: float[B], that mean in every resample. The union of the bootstrap's interval, corrected for bias, and of
    Korn and Graubard's where the score is a mean of ratios: resampling cannot see what no example shows (20 of 20
    right), and says too little where one group is much larger than others. how: "bootstrap" or "union".
    """
    return interval(estimate(task, name, fits, samples, resampling), confidence)


def interval(one: Estimate, confidence: float) -> dict[str, Any]:
    """{low, high, how} of an estimate."""
    low, high = percentile(one.samples, confidence, one.count, one.value)
    if one.raised is not one.samples:
        _, high = percentile(one.raised, confidence, one.count, one.highest)
    low, high = min(low, one.value), max(high, one.value)
    if one.exact is None:
        return {"low": low, "high": high, "how": "bootstrap"}
    least, most = one.exact.interval(confidence)
    return {"low": max(min(low, least), 0.0), "high": min(max(high, most), 1.0), "how": "union"}


def estimate(
    task: Task, name: str, fits: Sequence[Sequence[Counts]], samples: Floats, resampling: Resampling
) -> Estimate:
    """What is known of a score; of one that the task cannot take apart only its resamples."""
    totals = [total(marks) for marks in fits]
    value = float(np.mean([task.summarise(one)[name] for one in totals]))
    parts = ratios_of(task, name, fits)
    plain = Estimate(value, samples, resampling.effective, value, samples, None)
    if not parts:
        varies = np.ptp(samples[~np.isnan(samples)]) > 1e-12 or not 0 <= value <= 1 or name in task.lower_is_better
        return plain if varies else replace(plain, exact=_constant(value, resampling))
    dense, sparse = split(parts, fits[0], resampling)
    linear = [linearise(dense, marks, sums) for marks, sums in zip(fits, totals, strict=True)]
    within = proportion_of(_mean(linear), resampling.groups)
    if not sparse:
        return replace(plain, exact=within)
    found = float(np.mean([_sum(sparse, one) for one in totals])) / len(parts)
    each = np.mean([replicate_sum(resampling, marks, sparse) for marks in fits], axis=0) / len(parts)
    most = len(sparse) / len(parts)
    exact = Partial(within, len(dense) / len(parts), found, most)
    return replace(plain, highest=value + most - found, raised=samples + most - each, exact=exact)


def _constant(value: float, resampling: Resampling) -> Proportion:
    """A share that is the same in every resample."""
    whole = np.ones(len(resampling.groups))
    return proportion(value * whole, whole, resampling.groups)


def ratios_of(task: Task, name: str, fits: Sequence[Sequence[Counts]]) -> Sequence[Ratio]:
    """The ratios that a score is the mean of, by the task, or because it is the mean reward in each of these fits."""
    if isinstance(task, Decomposable):
        return task.ratios(name)
    return (MEAN_REWARD,) if all(is_mean_reward(task, name, marks) for marks in fits) else ()


def is_mean_reward(task: Task, name: str, marks: Sequence[Counts]) -> bool:
    """Whether the score is the mean reward of the examples."""
    score = float(task.summarise(total(marks)).get(name, math.nan))
    return abs(score - float(column(marks, "reward").mean())) < 1e-9


def split(
    ratios: Sequence[Ratio], marks: Sequence[Counts], resampling: Resampling, least: int = FEW_CASES
) -> tuple[list[Ratio], list[Ratio]]:
    """Ratios with cases in so many groups at least, and those with fewer; one that is alone is never too sparse."""
    if len(ratios) == 1:
        return list(ratios), []
    holders: dict[str, set[int]] = {kind: set() for one in ratios for kind in one.cases}
    for group, mark in zip(resampling.groups.tolist(), marks, strict=True):
        for kind, value in mark.items():
            if value and kind in holders:
                holders[kind].add(group)
    dense: list[Ratio] = []
    sparse: list[Ratio] = []
    for one in ratios:
        held = set[int]().union(*(holders[kind] for kind in one.cases))
        (sparse if len(held) < least else dense).append(one)
    return dense, sparse


def _mean(each: Sequence[Linearised]) -> Linearised:
    part, whole, residual = (
        np.mean([getattr(one, side) for one in each], axis=0) for side in ("part", "whole", "residual")
    )
    return Linearised(part, whole, residual, float(np.mean([one.n for one in each])))


def _sum(ratios: Sequence[Ratio], totals: Counts) -> float:
    def weigh(side: Any) -> float:
        return float(sum(weight * totals.get(kind, 0.0) for kind, weight in side.items()))

    return sum(weigh(one.part) / whole for one in ratios if (whole := weigh(one.whole)))


def share_interval(found: Proportion, confidence: float) -> tuple[float, float]:
    """Of a share of examples, such as that of answers that change."""
    return found.interval(confidence)


def mean_interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Student's, of the mean of independent values; within 0 and 1 where all of them are."""
    from scipy.special import stdtrit

    found = np.asarray(values, dtype=float)
    half = float(stdtrit(len(found) - 1, (1 + confidence) / 2) * found.std(ddof=1) / math.sqrt(len(found)))
    low, high = float(found.mean()) - half, float(found.mean()) + half
    if found.min() < 0 or found.max() > 1:
        return low, high
    return max(low, 0.0), min(high, 1.0)

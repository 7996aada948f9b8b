"""Every interval of the product: of a score, a share, a difference of scores, a mean over folds.

Shapes: N examples, B resamples, F fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from loratory.evaluation.statistics.bootstrap import (
    Floats,
    Resampling,
    compute_percentile_interval,
    extract_count,
    resample_ratio_sum,
)
from loratory.evaluation.statistics.proportions import (
    LinearisedScore,
    Proportion,
    estimate_proportion,
    estimate_score_proportion,
    linearise_ratios,
)
from loratory.measures.ratios import Ratio, build_ratio
from loratory.protocols import Counts, Decomposable, Task, sum_counts

MIN_CASE_GROUPS = 5  # groups; a label that fewer hold counts as anything from its score up to 1
MEAN_REWARD = build_ratio("reward", "n")


class HasInterval(Protocol):
    """What has a two-sided interval."""

    def interval(self, confidence: float) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Estimate:
    """A score on a test set, with what is needed for its interval.

    `raised` differs from `samples` where a test set holds too few examples of some labels: there each of them is 1.
    """

    value: float
    samples: Floats  # float[B]
    effective_groups: float  # effective groups
    highest: float  # the value, with labels of too few examples at 1
    raised: Floats  # float[B]
    exact: HasInterval | None


@dataclass(frozen=True)
class SparseMean:
    """A mean of ratios of which some are too sparse to be measured: they count as their score below, as 1 above."""

    dense: Proportion
    weight: float  # share of the ratios that are dense
    min_sparse_sum: float  # what the sparse ones are worth at least
    max_sparse_sum: float

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided interval of the whole."""
        low, high = self.dense.interval(confidence) if self.weight else (0.0, 0.0)
        return self.min_sparse_sum + self.weight * low, self.max_sparse_sum + self.weight * high


def compute_score_interval(
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
    return compute_interval(estimate_score(task, name, fits, samples, resampling), confidence)


def compute_interval(one: Estimate, confidence: float) -> dict[str, Any]:
    """{low, high, how} of an estimate."""
    low, high = compute_percentile_interval(one.samples, confidence, one.effective_groups, one.value)
    if one.raised is not one.samples:
        _, high = compute_percentile_interval(one.raised, confidence, one.effective_groups, one.highest)
    low, high = min(low, one.value), max(high, one.value)
    if one.exact is None:
        return {"low": low, "high": high, "how": "bootstrap"}
    least, most = one.exact.interval(confidence)
    return {"low": max(min(low, least), 0.0), "high": min(max(high, most), 1.0), "how": "union"}


def estimate_score(
    task: Task, name: str, fits: Sequence[Sequence[Counts]], samples: Floats, resampling: Resampling
) -> Estimate:
    """What is known of a score; of one that the task cannot take apart only its resamples."""
    totals = [sum_counts(marks) for marks in fits]
    value = float(np.mean([task.summarise(one)[name] for one in totals]))
    parts = find_ratios(task, name, fits)
    plain = Estimate(value, samples, resampling.effective_groups, value, samples, None)
    if not parts:
        varies = np.ptp(samples[~np.isnan(samples)]) > 1e-12 or not 0 <= value <= 1 or name in task.lower_is_better
        return plain if varies else replace(plain, exact=_build_constant_share(value, resampling))
    dense, sparse = split_sparse_ratios(parts, fits[0], resampling)
    linear = [linearise_ratios(dense, marks, sums) for marks, sums in zip(fits, totals, strict=True)]
    within = estimate_score_proportion(_average_linearised_scores(linear), resampling.groups)
    if not sparse:
        return replace(plain, exact=within)
    found = float(np.mean([_sum_ratios(sparse, one) for one in totals])) / len(parts)
    each = np.mean([resample_ratio_sum(resampling, marks, sparse) for marks in fits], axis=0) / len(parts)
    most = len(sparse) / len(parts)
    exact = SparseMean(within, len(dense) / len(parts), found, most)
    return replace(plain, highest=value + most - found, raised=samples + most - each, exact=exact)


def _build_constant_share(value: float, resampling: Resampling) -> Proportion:
    """A share that is the same in every resample."""
    whole = np.ones(len(resampling.groups))
    return estimate_proportion(value * whole, whole, resampling.groups)


def find_ratios(task: Task, name: str, fits: Sequence[Sequence[Counts]]) -> Sequence[Ratio]:
    """The ratios that a score is the mean of, by the task, or because it is the mean reward in each of these fits."""
    if isinstance(task, Decomposable):
        return task.ratios(name)
    return (MEAN_REWARD,) if all(is_mean_reward(task, name, marks) for marks in fits) else ()


def is_mean_reward(task: Task, name: str, counts: Sequence[Counts]) -> bool:
    """Whether the score is the mean reward of the examples."""
    score = float(task.summarise(sum_counts(counts)).get(name, math.nan))
    return abs(score - float(extract_count(counts, "reward").mean())) < 1e-9


def split_sparse_ratios(
    ratios: Sequence[Ratio], counts: Sequence[Counts], resampling: Resampling, min_groups: int = MIN_CASE_GROUPS
) -> tuple[list[Ratio], list[Ratio]]:
    """Ratios with cases in so many groups at least, and those with fewer; one that is alone is never too sparse."""
    if len(ratios) == 1:
        return list(ratios), []
    holders: dict[str, set[int]] = {kind: set() for one in ratios for kind in one.cases}
    for group, mark in zip(resampling.groups.tolist(), counts, strict=True):
        for kind, value in mark.items():
            if value and kind in holders:
                holders[kind].add(group)
    dense: list[Ratio] = []
    sparse: list[Ratio] = []
    for one in ratios:
        held = set[int]().union(*(holders[kind] for kind in one.cases))
        (sparse if len(held) < min_groups else dense).append(one)
    return dense, sparse


def _average_linearised_scores(each: Sequence[LinearisedScore]) -> LinearisedScore:
    part, whole, residual = (
        np.mean([getattr(one, side) for one in each], axis=0) for side in ("part", "whole", "residual")
    )
    return LinearisedScore(part, whole, residual, float(np.mean([one.n for one in each])))


def _sum_ratios(ratios: Sequence[Ratio], totals: Counts) -> float:
    def weigh(side: Counts) -> float:
        return float(sum(weight * totals.get(kind, 0.0) for kind, weight in side.items()))

    return sum(weigh(one.part) / whole for one in ratios if (whole := weigh(one.whole)))


def compute_share_interval(found: Proportion, confidence: float) -> tuple[float, float]:
    """Of a share of examples, such as that of answers that change."""
    return found.interval(confidence)


def compute_mean_interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Student's, of the mean of independent values; within 0 and 1 where all of them are."""
    from scipy.special import stdtrit

    found = np.asarray(values, dtype=float)
    half = float(stdtrit(len(found) - 1, (1 + confidence) / 2) * found.std(ddof=1) / math.sqrt(len(found)))
    low, high = float(found.mean()) - half, float(found.mean()) + half
    if found.min() < 0 or found.max() > 1:
        return low, high
    return max(low, 0.0), min(high, 1.0)

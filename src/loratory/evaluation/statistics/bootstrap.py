"""Resampling over groups of examples, with the same weights for every contender, so that differences are paired.

Shapes: N examples, G groups, K kinds of marks, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loratory.measures.ratios import Ratio
from loratory.protocols import Counts, Example, Task

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_CHUNK_CELLS = 8_000_000  # of the weights are made float64 at a time: 64 MB


@dataclass(frozen=True)
class Resampling:
    """Which groups each resample holds, and how often."""

    groups: Integers  # int[N]: the group of each example
    weights: npt.NDArray[np.uint8]  # uint8[G, B]: how often resample b drew group g

    @property
    def group_count(self) -> int:
        """G, the number of groups."""
        return int(self.weights.shape[0])

    @property
    def effective_groups(self) -> float:
        """Kish's (1965) effective number of groups: groups of one size that would vary as much."""
        sizes = np.bincount(self.groups)
        return float(sizes.sum() ** 2 / np.square(sizes).sum())

    @property
    def resamples(self) -> int:
        """B, the number of resamples."""
        return int(self.weights.shape[1])


def index_groups(examples: Sequence[Example]) -> Integers:
    """int[N]: the group of each example, counted from 0; an example without a group is one of its own."""
    known: dict[tuple[str, int], int] = {}
    return np.array(
        [
            known.setdefault((example.group, -1 if example.group else row), len(known))
            for row, example in enumerate(examples)
        ],
        dtype=np.int64,
    )


def draw_resamples(groups: Integers, resamples: int, seed: int) -> Resampling:
    """G groups drawn with replacement, B times."""
    count = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    weights = np.empty((resamples, count), dtype=np.uint8)  # a count over 255 has a chance below 1e-500
    for row in weights:
        row[:] = np.bincount(generator.integers(0, count, count), minlength=count)
    return Resampling(groups, np.ascontiguousarray(weights.T))


def resample_scores(
    resampling: Resampling, counts: Sequence[Counts], task: Task, score_names: Iterable[str]
) -> dict[str, Floats]:
    """The wanted scores in every resample, float[B] each; NaN where a resample has no such score.

    Marks are summed by group once; the totals of many resamples are then one product of matrices, and the task makes
    scores of them, arrays this time, by the same `summarise` as everywhere else.
    """
    scores = {name: np.full(resampling.resamples, math.nan) for name in score_names}
    for chunk, totals in _iterate_totals(resampling, counts):
        summary = task.summarise(totals)
        for name, samples in scores.items():
            samples[chunk] = summary.get(name, math.nan)
    return scores


def resample_ratio_sum(resampling: Resampling, counts: Sequence[Counts], ratios: Sequence[Ratio]) -> Floats:
    """float[B]: the sum of some ratios in every resample, each 0 where its whole is 0."""
    found = np.zeros(resampling.resamples)
    kinds = {kind for one in ratios for kind in (*one.part, *one.whole)}
    few = [{kind: value for kind, value in mark.items() if kind in kinds} for mark in counts]
    if not any(few):
        return found
    for chunk, totals in _iterate_totals(resampling, few):
        for one in ratios:
            part, whole = (_weigh_totals(totals, side) for side in (one.part, one.whole))
            found[chunk] += np.divide(part, whole, out=np.zeros_like(found[chunk]), where=whole > 0)
    return found


def _weigh_totals(totals: Mapping[str, Any], side: Mapping[str, float]) -> Any:
    return sum((weight * totals[kind] for kind, weight in side.items() if kind in totals), start=np.zeros(1))


def _iterate_totals(resampling: Resampling, counts: Sequence[Counts]) -> Iterator[tuple[slice, dict[str, Any]]]:
    """Some resamples at a time, with the total of every kind of counts in each: float[b]."""
    keys, sums = _sum_counts_by_group(resampling, counts)
    step = max(1, MAX_CHUNK_CELLS // max(resampling.group_count, len(keys)))
    for start in range(0, resampling.resamples, step):
        chunk = slice(start, start + step)
        totals = sums @ resampling.weights[:, chunk].astype(np.float64)  # float[K, b]
        yield chunk, dict(zip(keys, totals, strict=True))


def _sum_counts_by_group(resampling: Resampling, counts: Sequence[Counts]) -> tuple[list[str], Any]:
    """The kinds of marks, and their sums by group as a sparse matrix float[K, G]: an example has few of the kinds."""
    from scipy.sparse import csr_matrix

    known: dict[str, int] = {}
    entries = [
        (known.setdefault(key, len(known)), group, value)
        for group, one in zip(resampling.groups.tolist(), counts, strict=True)
        for key, value in one.items()
    ]
    rows, columns, values = zip(*entries, strict=True)
    return list(known), csr_matrix((values, (rows, columns)), shape=(len(known), resampling.group_count))


def compute_tail_share(confidence: float, effective_groups: float) -> float:
    """The share of resamples to leave out on each side: Hesterberg (2015), the expanded percentile interval.

    The plain percentile interval is too narrow by a factor of sqrt((G-1)/G) and takes normal quantiles for Student's.
    `count` is the effective number of groups.
    """
    from scipy.special import ndtr

    return (
        0.0 if effective_groups < 2 else float(ndtr(compute_student_quantile((1 - confidence) / 2, effective_groups)))
    )


def compute_student_quantile(alpha: float, effective_groups: float) -> float:
    """Student's quantile at `alpha` in standard errors of the bootstrap, which are too small by sqrt((G-1)/G)."""
    from scipy.special import stdtrit

    return float(math.sqrt(effective_groups / (effective_groups - 1)) * stdtrit(effective_groups - 1, alpha))


def compute_percentile_interval(
    samples: Floats, confidence: float, effective_groups: float, value: float | None = None
) -> tuple[float, float]:
    """The expanded percentile interval of a score.

    With its `value` on the test set it is corrected for bias (Efron 1981): where most resamples lie below the value,
    as those of macro-F1 do because rare labels are missing in many, the truth lies above it.
    """
    from scipy.special import ndtr

    known = samples[~np.isnan(samples)]
    if effective_groups < 2:
        low, high = np.quantile(known, [0.0, 1.0])
        return float(low), float(high)
    shift = 0.0 if value is None else 2 * estimate_bias(known, value)
    edge = compute_student_quantile((1 - confidence) / 2, effective_groups)
    low, high = np.quantile(known, [ndtr(shift + edge), ndtr(shift - edge)], method="weibull")
    return float(low), float(high)


def estimate_bias(samples: Floats, value: float) -> float:
    """Efron's z0: the normal quantile of the share of resamples below the value, half of those that equal it."""
    from scipy.special import ndtri

    below, upto = (np.count_nonzero(samples <= value + edge) for edge in (-1e-12, 1e-12))
    share, least = (below + upto) / 2 / len(samples), 1 / (len(samples) + 1)
    return float(ndtri(min(max(share, least), 1 - least)))


def compute_p_at_most(samples: Floats, threshold: float, effective_groups: float) -> float:
    """One-sided p value against "the truth is at most `threshold`".

    The inverse of the expanded percentile interval: it is below alpha exactly where the one-sided bound at 1 - alpha
    lies above the threshold. Where no resample is as low, their number would decide how small p can be, and many
    comparisons could find nothing; there Student's tail on the bootstrap's standard error goes on.
    """
    from scipy.special import ndtri, stdtr

    below = np.count_nonzero(samples <= threshold + 1e-12)
    if effective_groups < 2 or below == len(samples):
        return 1.0
    widened = math.sqrt(effective_groups / (effective_groups - 1))
    p = float(stdtr(effective_groups - 1, ndtri((1 + below) / (len(samples) + 1)) / widened))
    error = widened * float(samples.std())
    if below or error == 0:
        return p
    return min(p, float(stdtr(effective_groups - 1, (threshold - samples.mean()) / error)))


def sum_by_group(values: npt.ArrayLike, groups: Integers) -> Floats:
    """float[G]: sums over the examples of each group."""
    return np.bincount(groups, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)


def extract_count(counts: Sequence[Mapping[str, float]], kind: str) -> Floats:
    """float[N]: one kind of mark, 0 where an example has none."""
    return np.array([one.get(kind, 0.0) for one in counts], dtype=np.float64)

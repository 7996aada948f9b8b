"""Planned comparisons of shipped fits: each contender against the simplest and against the best simpler one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from loratory.evaluation.statistics.bootstrap import (
    Floats,
    Integers,
    Resampling,
    compute_p_at_most,
    compute_percentile_interval,
    extract_count,
    sum_by_group,
)
from loratory.evaluation.statistics.comparison_set import ComparisonSet, Rank, find_best
from loratory.evaluation.statistics.intervals import MEAN_REWARD, find_ratios, is_mean_reward, split_sparse_ratios
from loratory.evaluation.statistics.proportions import (
    MIN_DIFFERING_GROUPS,
    LinearisedScore,
    linearise_ratios,
    shrink_design_effect,
)
from loratory.protocols import Counts, Task, sum_counts
from loratory.specs.evidence import Decision

ComparisonKind = Literal["simplest", "best_simpler"]
PlannedComparison = tuple[Rank, Rank, ComparisonKind]


@dataclass(frozen=True)
class PairedDifference:
    """Two fits on the same examples. Differences are one minus other, in one score; shares are of that score."""

    difference: float
    samples: Floats  # float[B]
    effective_groups: float  # effective groups
    n: float  # examples, by Kish: where some weigh more in the score it is worth fewer
    gain: float  # by examples on which one is better
    loss: float
    design_effect: float
    is_scarce: bool  # too few groups where they differ for a bootstrap to see the variation
    unseen_share: float = 0.0  # of labels that the test set does not hold: of them the difference may be anything
    discordant_counts: tuple[int, int] | None = (
        None  # examples that only one, and only other, has right; None: no such score
    )

    def interval(self, confidence: float) -> tuple[float, float]:
        """Paired bootstrap over groups; where they seldom differ, no narrower than Bonett and Price's."""
        low, high = compute_percentile_interval(self.samples, confidence, self.effective_groups)
        low, high = min(low, self.difference), max(high, self.difference)
        if self.is_scarce:
            centre, error = self._adjust_counts()
            half = _compute_normal_quantile((1 + confidence) / 2) * error
            low, high = min(low, centre - half), max(high, centre + half)
        return max(low - self.unseen_share, -1.0), min(high + self.unseen_share, 1.0)

    def compute_p_at_most(self, threshold: float) -> float:
        """One-sided p value against "the true difference is at most `threshold`"."""
        return self._compute_p_one_sided(threshold + self.unseen_share, 1)

    def compute_p_two_sided(self) -> float:
        """Two-sided p value against "there is no difference"; at most alpha only where the interval leaves 0 out."""
        return min(
            1.0,
            2 * min(self._compute_p_one_sided(self.unseen_share, 1), self._compute_p_one_sided(self.unseen_share, -1)),
        )

    def compute_p(self) -> float:
        """The p value that decides: where the score is a mean of right and wrong the larger one of McNemar's too.

        McNemar's takes examples for independent, which groups are not; the bootstrap is bold where few examples differ.
        """
        return (
            max(self.compute_p_two_sided(), compute_mcnemar_p(*self.discordant_counts))
            if self.discordant_counts
            else self.compute_p_two_sided()
        )

    def compute_standard_error(self) -> float:
        """Of the difference."""
        spread = float(self.samples.std()) * math.sqrt(self.effective_groups / max(self.effective_groups - 1, 1))
        return max(spread, self._adjust_counts()[1]) if self.is_scarce else spread

    def find_detectable_difference(self, alpha: float, power: float) -> float:
        """The smallest difference that a one-sided test at `alpha` finds with that power; 1 where it finds none.

        (t(1 - alpha) + t(power)) standard errors, and what labels that nothing is known of could hide.
        """
        if self.effective_groups < 2:
            return 1.0
        found = (
            _compute_student_quantile(1 - alpha, self.effective_groups)
            + _compute_student_quantile(power, self.effective_groups)
        ) * self.compute_standard_error() + self.unseen_share
        if self.discordant_counts:
            share, n = sum(self.discordant_counts) / self.n, self.n / self.design_effect
            found = max(found, compute_minimum_detectable_effect(n, share, 2 * alpha, power))
        return min(found, 1.0)

    def _compute_p_one_sided(self, threshold: float, sign: int) -> float:
        bootstrap = compute_p_at_most(sign * self.samples, threshold, self.effective_groups)
        if not self.is_scarce:
            return bootstrap
        centre, error = self._adjust_counts()
        return max(bootstrap, 1 - _compute_normal_cdf((sign * centre - threshold) / error))

    def _adjust_counts(self) -> tuple[float, float]:
        """Centre and standard error after Bonett and Price (2012): one win and one loss more, on effective counts."""
        n = self.n / self.design_effect
        gained, lost = ((share * n + 1) / (n + 2) for share in (self.gain, self.loss))
        shift = self.difference - (self.gain - self.loss)
        return gained - lost + shift, math.sqrt(max(gained + lost - (gained - lost) ** 2, 0.0) / (n + 2))


def pair_contenders(comparison_set: ComparisonSet, rank: Rank, other_rank: Rank) -> PairedDifference:
    """Two contenders' shipped fits, paired example by example and resample by resample."""
    name, mine, theirs = comparison_set.task.headline, rank.result.shipped_seed, other_rank.result.shipped_seed
    samples = rank.samples[mine][name] - other_rank.samples[theirs][name]
    return pair_counts(
        comparison_set.task, name, (rank.test.counts, other_rank.test.counts), samples, comparison_set.resampling
    )


def pair_counts(
    task: Task, name: str, counts: tuple[Sequence[Counts], Sequence[Counts]], samples: Floats, resampling: Resampling
) -> PairedDifference:
    """Two fits' marks on the same examples, in one score; samples: float[B], its difference in every resample."""
    groups, ratios = resampling.groups, find_ratios(task, name, counts)
    sums = [sum_counts(each) for each in counts]
    one, other = (float(task.summarise(each)[name]) for each in sums)
    seen, unseen = split_sparse_ratios(ratios, counts[0], resampling, min_groups=1) if ratios else ([MEAN_REWARD], [])
    sides = [linearise_ratios(seen, each, totals) for each, totals in zip(counts, sums, strict=True)]
    size = np.asarray(sum(side.whole / side.n for side in sides if side.n)) / 2 * np.ones(len(groups))
    ours, others = (_compute_correctness(side) for side in sides)
    gain = (ours - others) * size
    differs = int(np.count_nonzero(sum_by_group(np.abs(gain), groups) > 1e-12))
    rewards = [extract_count(each, "reward") for each in counts]
    return PairedDifference(
        difference=one - other,
        samples=samples,
        effective_groups=resampling.effective_groups,
        n=1 / float(np.square(size).sum()) if size.any() else 0.0,
        gain=float(gain[gain > 0].sum()),
        loss=-float(gain[gain < 0].sum()),
        design_effect=_compute_design_effect(gain, size, groups, differs),
        is_scarce=differs < MIN_DIFFERING_GROUPS,
        unseen_share=len(unseen) / max(len(ratios), 1),
        discordant_counts=_count_discordant(*rewards)
        if all(is_mean_reward(task, name, each) for each in counts)
        else None,
    )


def _compute_correctness(side: LinearisedScore) -> Floats:
    """float[N] in [0, 1]: how right an example is; all right where it has nothing that the score counts."""
    return np.divide(side.part, side.whole, out=np.ones(len(side.part)), where=side.whole > 0)


def _count_discordant(ours: Floats, others: Floats) -> tuple[int, int] | None:
    """How many examples only the one, and only the other has right; None where some are half right."""
    if not (np.isin(ours, (0, 1)).all() and np.isin(others, (0, 1)).all()):
        return None
    return int(np.count_nonzero(ours > others)), int(np.count_nonzero(others > ours))


def _compute_design_effect(gains: Floats, size: Floats, groups: Integers, differing: int) -> float:
    """The design effect of a difference; gain and size: float[N], which sum to the difference and to 1."""
    mean, of_group, sums = float(gains.sum()), sum_by_group(size, groups), sum_by_group(gains, groups)
    count, whole = len(of_group), float(np.square(size).sum())
    if not whole:
        return 1.0
    clustered = count / max(count - 1, 1) * float(np.square(sums - mean * of_group).sum())
    return shrink_design_effect(
        clustered, float(np.square(gains - mean * size).sum()), float(np.square(of_group).sum()) / whole, differing
    )


def compute_mcnemar_p(wins: int, losses: int) -> float:
    """The exact two-sided p value of McNemar's test: a sign test on the examples where the two differ."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number: Holm (1979): step down, never decreasing, at most 1."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def compute_minimum_detectable_effect(n: float, discordant_share: float, alpha: float, power: float) -> float:
    """The smallest difference of paired proportions that is found with that power, after Connor (1987).

    With the continuity correction, because the exact test asks for about one discordant pair more. `n` independent
    pairs, of which a share `discordant_share` differs; `alpha` two-sided. 1 where nothing can be found.
    """
    critical, needed = _compute_normal_quantile(1 - alpha / 2), _compute_normal_quantile(power)

    def enough(effect: float) -> bool:
        share = max(discordant_share, effect)  # two contenders cannot differ by more than the share where they differ
        spread = critical * math.sqrt(share) + needed * math.sqrt(max(share - effect**2, 0.0))
        return n * effect - 1 >= math.sqrt(n) * spread

    low, high = 0.0, 1.0
    if not enough(high):
        return 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def plan_comparisons(comparison_set: ComparisonSet) -> list[PlannedComparison]:
    """Who is compared with whom, in ladder order; the best simpler one is chosen on validation, not on test."""
    plans: list[PlannedComparison] = []
    for place, contender in enumerate(comparison_set.ranks[1:], 1):
        simplest, simpler = comparison_set.ranks[0], find_best(comparison_set.ranks[:place])
        plans.append((contender, simplest, "simplest"))
        if simpler is not simplest:
            plans.append((contender, simpler, "best_simpler"))
    return plans


def compare_contenders(comparison_set: ComparisonSet) -> list[dict[str, Any]]:
    """Every planned comparison with its interval, tests, decision and what could have been found at all."""
    plans = plan_comparisons(comparison_set)
    pairs = [pair_contenders(comparison_set, contender, against) for contender, against, _ in plans]
    adjusted = adjust_p_values([one.compute_p() for one in pairs])
    return [
        _build_row(comparison_set, plan, one, p, len(plans))
        for plan, one, p in zip(plans, pairs, adjusted, strict=True)
    ]


def _build_row(
    comparison_set: ComparisonSet, plan: PlannedComparison, one: PairedDifference, p_holm: float, family: int
) -> dict[str, Any]:
    evidence, (contender, against, kind) = comparison_set.evidence, plan
    alpha = 1 - evidence.confidence
    low, high = one.interval(evidence.confidence)
    return {
        "contender": contender.name,
        "against": against.name,
        "kind": kind,
        "difference": one.difference,
        "low": low,
        "high": high,
        "mcnemar": _build_mcnemar_row(*one.discordant_counts) if one.discordant_counts else None,
        "bootstrap_p": one.compute_p_two_sided(),
        "p_holm": p_holm,
        "decision": _decide(one.difference, p_holm, alpha),
        # at the level that Holm asks of the first of the family: what is surely found, whatever the others do
        "minimum_detectable_effect": one.find_detectable_difference(alpha / family / 2, evidence.power),
    }


def _build_mcnemar_row(wins: int, losses: int) -> dict[str, Any]:
    return {"only_contender": wins, "only_other": losses, "p": compute_mcnemar_p(wins, losses)}


def _decide(difference: float, p_holm: float, alpha: float) -> Decision:
    if p_holm > alpha or difference == 0:
        return "undecided"
    return "better" if difference > 0 else "worse"


def _compute_normal_quantile(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


def _compute_student_quantile(share: float, count: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, share))


def _compute_normal_cdf(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(z))

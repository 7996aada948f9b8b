"""The choice, on validation alone: the simplest contender that is within the margin of the best there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loratory.evaluation.statistics.comparison_set import ComparisonSet, Rank, find_best
from loratory.evaluation.statistics.comparisons import adjust_p_values, pair_contenders

ROUNDING_TOLERANCE = 1e-9  # 0.895 - 0.9 is a little less than -0.005


@dataclass(frozen=True)
class Selection:
    """Who is best, who is recommended, and how each contender simpler than the best stands to it on test."""

    comparison_set: ComparisonSet
    best: Rank
    recommended: Rank
    simpler_vs_best: Sequence[dict[str, Any]]

    @property
    def recommended_vs_best(self) -> dict[str, Any] | None:
        """How the recommended contender stands to the best on test; None where it is the best itself."""
        return next((one for one in self.simpler_vs_best if one["contender"] == self.recommended.name), None)

    @property
    def is_supported(self) -> bool:
        """Whether a test bears the recommendation out.

        The best is borne out where everything simpler is shown to be worse by more than the margin; where nothing is
        simpler there is nothing to show, because the burden of proof lies with the costlier contenders.
        """
        if self.recommended_vs_best is None:
            return all(rival["worse"] for rival in self.simpler_vs_best)
        return bool(self.recommended_vs_best["shown"])


def select_contender(comparison_set: ComparisonSet) -> Selection:
    """The recommended contender: the first in the ladder whose validation score is within the margin of the best.

    The test set is not asked. A contender that is picked because of its test figure has, on average, a figure above
    its truth; a contender that is picked on validation has an unbiased one. The test set then says how sure it is.
    """
    top = find_best(comparison_set.ranks)
    least = top.validation - comparison_set.evidence.margin - ROUNDING_TOLERANCE
    recommended = next(standing for standing in comparison_set.ranks if standing.validation >= least)
    return Selection(comparison_set, top, recommended, assess_non_inferiority(comparison_set, top))


def assess_non_inferiority(comparison_set: ComparisonSet, best_rank: Rank) -> list[dict[str, Any]]:
    """Each contender simpler than the best: is it no worse by more than the margin? One-sided, Holm-adjusted."""
    simpler = comparison_set.ranks[: comparison_set.ranks.index(best_rank)]
    evidence = comparison_set.evidence
    pairs = [pair_contenders(comparison_set, standing, best_rank) for standing in simpler]
    adjusted = adjust_p_values([one.compute_p_at_most(-evidence.margin) for one in pairs])
    rows = []
    for standing, one, p in zip(simpler, pairs, adjusted, strict=True):
        low, high = one.interval(2 * evidence.confidence - 1)  # its ends are the one-sided bounds
        within = one.difference >= -evidence.margin - ROUNDING_TOLERANCE
        rows.append(
            {
                "contender": standing.name,
                "difference": one.difference,
                "low": low,
                "high": high,
                "p_holm": p,
                "shown": p <= 1 - evidence.confidence,
                "within": within,
                "worse": not within and high < -evidence.margin,
                # within which this test set would show two equals to be as good, at the spec's power
                "smallest_margin": one.find_detectable_difference(
                    (1 - evidence.confidence) / len(pairs), evidence.power
                ),
            }
        )
    return rows

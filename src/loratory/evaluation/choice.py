"""The choice, on validation alone: the simplest contender that is within the margin of the best there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loratory.evaluation.comparisons import holm, pair
from loratory.evaluation.contest import Contest, Standing, best

ROUNDING = 1e-9  # 0.895 - 0.9 is a little less than -0.005


@dataclass(frozen=True)
class Choice:
    """Who is best, who is recommended, and how each contender simpler than the best stands to it on test."""

    field: Contest
    top: Standing
    recommended: Standing
    rivals: Sequence[dict[str, Any]]

    @property
    def rival(self) -> dict[str, Any] | None:
        """How the recommended contender stands to the best on test; None where it is the best itself."""
        return next((one for one in self.rivals if one["contender"] == self.recommended.name), None)

    @property
    def shown(self) -> bool:
        """Whether a test bears the recommendation out.

        The best is borne out where everything simpler is shown to be worse by more than the margin; where nothing is
        simpler there is nothing to show, because the burden of proof lies with the costlier contenders.
        """
        if self.rival is None:
            return all(rival["worse"] for rival in self.rivals)
        return bool(self.rival["shown"])


def choose(field: Contest) -> Choice:
    """The recommended contender: the first in the ladder whose validation score is within the margin of the best.

    The test set is not asked. A contender that is picked because of its test figure has, on average, a figure above
    its truth; a contender that is picked on validation has an unbiased one. The test set then says how sure it is.
    """
    top = best(field.standings)
    least = top.validation - field.evidence.margin - ROUNDING
    recommended = next(standing for standing in field.standings if standing.validation >= least)
    return Choice(field, top, recommended, non_inferiority(field, top))


def non_inferiority(field: Contest, top: Standing) -> list[dict[str, Any]]:
    """Each contender simpler than the best: is it no worse by more than the margin? One-sided, Holm-adjusted."""
    simpler = field.standings[: field.standings.index(top)]
    evidence = field.evidence
    pairs = [pair(field, standing, top) for standing in simpler]
    adjusted = holm([one.p_at_most(-evidence.margin) for one in pairs])
    rows = []
    for standing, one, p in zip(simpler, pairs, adjusted, strict=True):
        low, high = one.interval(2 * evidence.confidence - 1)  # its ends are the one-sided bounds
        within = one.difference >= -evidence.margin - ROUNDING
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
                "smallest_margin": one.detectable((1 - evidence.confidence) / len(pairs), evidence.power),
            }
        )
    return rows

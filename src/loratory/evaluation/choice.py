"""The choice: the simplest contender that is not worse than the best by more than the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loratory.evaluation.comparisons import holm, pair
from loratory.evaluation.contest import Contest, Standing, best
from loratory.specs.evidence import EvidenceSpec

ROUNDING = 1e-9  # 0.895 - 0.9 is a little less than -0.005


@dataclass(frozen=True)
class Choice:
    """Who is best, who is recommended, and how each contender simpler than the best stands to it."""

    field: Contest
    top: Standing
    recommended: Standing
    rivals: Sequence[dict[str, Any]]

    @property
    def shown(self) -> bool:
        """Whether a test bears the recommendation out, and not the measured figures alone.

        The best is borne out where everything simpler is shown to be worse by more than the margin; where nothing is
        simpler there is nothing to show, because the burden of proof lies with the costlier contenders.
        """
        if self.recommended is self.top:
            return all(rival["worse"] for rival in self.rivals)
        return any(rival["shown"] for rival in self.rivals if rival["contender"] == self.recommended.name)


def choose(field: Contest) -> Choice:
    """The best is chosen on validation; the recommended is the first that is as good, shown or measured, else the best.

    Shown: a one-sided non-inferiority test on the test set, Holm-adjusted over the simpler contenders, so that alpha
    bounds the chance that any of them is wrongly called shown. Measured: within the margin on the test set, which may
    be too small to show it.
    """
    top = best(field.standings)
    rivals = non_inferiority(field, top)
    good = next((place for place, rival in enumerate(rivals) if rival["shown"] or rival["within"]), None)
    return Choice(field, top, top if good is None else field.standings[good], rivals)


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
                "smallest_margin": _smallest_margin(one.standard_error(), len(pairs), evidence),
            }
        )
    return rows


def _smallest_margin(error: float, family: int, evidence: EvidenceSpec) -> float:
    """The least margin within which this test set would show two equals to be as good, at the spec's power."""
    from scipy.special import ndtri

    return float((ndtri(1 - (1 - evidence.confidence) / family) + ndtri(evidence.power)) * error)

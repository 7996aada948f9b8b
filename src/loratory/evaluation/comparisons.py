"""Planned comparisons of shipped fits: each contender against the simplest and against the best simpler one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from loratory.evaluation.bootstrap import Floats, by_group, p_at_most, percentile
from loratory.evaluation.contest import Contest, Standing, best
from loratory.evaluation.proportions import SCARCE, shrunk_effect
from loratory.specs.evidence import Decision

Kind = Literal["simplest", "best_simpler"]
Plan = tuple[Standing, Standing, Kind]


@dataclass(frozen=True)
class Pair:
    """Two shipped fits on the same examples. Differences are contender minus other, in the headline score."""

    difference: float
    samples: Floats  # float[B]
    count: int  # groups
    n: int  # examples
    wins: int  # examples that only the contender has right
    losses: int  # examples that only the other has right
    reward_difference: float
    design_effect: float
    scarce: bool  # too few groups where they differ for a bootstrap to see the variation

    def interval(self, confidence: float) -> tuple[float, float]:
        """Paired bootstrap over groups; where they seldom differ, no narrower than Bonett and Price's."""
        low, high = percentile(self.samples, confidence, self.count)
        if not self.scarce:
            return low, high
        centre, error = self._adjusted()
        reach = _z((1 + confidence) / 2) * error
        return max(min(low, centre - reach), -1.0), min(max(high, centre + reach), 1.0)

    def p_at_most(self, threshold: float) -> float:
        """One-sided p value against "the true difference is at most `threshold`"."""
        bootstrap = p_at_most(self.samples, threshold, self.count)
        if not self.scarce:
            return bootstrap
        centre, error = self._adjusted()
        return max(bootstrap, 1 - _normal((centre - threshold) / error))

    def p_differs(self) -> float:
        """Two-sided p value against "there is no difference", by the bootstrap."""
        above = p_at_most(self.samples, 0.0, self.count)
        below = p_at_most(-self.samples, 0.0, self.count)
        return min(1.0, 2 * min(above, below))

    def standard_error(self) -> float:
        """Of the difference."""
        spread = float(self.samples.std()) * math.sqrt(self.count / max(self.count - 1, 1))
        return max(spread, self._adjusted()[1]) if self.scarce else spread

    def _adjusted(self) -> tuple[float, float]:
        """Centre and standard error after Bonett and Price (2012): one win and one loss more, on effective counts."""
        n = self.n / self.design_effect
        wins, losses = ((count / self.design_effect + 1) / (n + 2) for count in (self.wins, self.losses))
        shift = self.difference - self.reward_difference
        return wins - losses + shift, math.sqrt(max(wins + losses - (wins - losses) ** 2, 0.0) / (n + 2))


def pair(field: Contest, contender: Standing, other: Standing) -> Pair:
    """Two contenders' shipped fits, paired example by example and resample by resample."""
    headline = field.task.headline
    mine, theirs = contender.measured.shipped, other.measured.shipped
    ours, others = contender.rewards, other.rewards
    right, also_right = ours >= 1 - 1e-9, others >= 1 - 1e-9
    gain, groups = ours - others, field.resampling.groups
    differs = by_group(np.abs(gain), groups) > 1e-12
    return Pair(
        difference=contender.scores[mine][headline] - other.scores[theirs][headline],
        samples=contender.samples[mine][headline] - other.samples[theirs][headline],
        count=field.resampling.count,
        n=len(gain),
        wins=int(np.count_nonzero(right & ~also_right)),
        losses=int(np.count_nonzero(also_right & ~right)),
        reward_difference=float(gain.mean()),
        design_effect=_effect(gain, by_group(np.ones(len(gain)), groups), by_group(gain, groups), int(differs.sum())),
        scarce=int(differs.sum()) < SCARCE,
    )


def _effect(gain: Floats, size: Floats, sums: Floats, differing: int) -> float:
    n, count, mean = len(gain), len(size), float(gain.mean())
    clustered = count / max(count - 1, 1) * float(np.square(sums - mean * size).sum()) / n**2
    return shrunk_effect(clustered, float(gain.var()) / max(n - 1, 1), size, differing)


def mcnemar(wins: int, losses: int) -> float:
    """The exact two-sided p value of McNemar's test: a sign test on the examples where the two differ."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number: Holm (1979): step down, never decreasing, at most 1."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def minimum_detectable_effect(n: float, discordant: float, alpha: float, power: float) -> float:
    """The smallest difference of paired proportions that is found with that power, after Connor (1987).

    With the continuity correction, because the exact test asks for about one discordant pair more. `n` independent
    pairs, of which a share `discordant` differs; `alpha` two-sided. 1 where nothing can be found.
    """
    critical, needed = _z(1 - alpha / 2), _z(power)

    def enough(effect: float) -> bool:
        share = max(discordant, effect)  # two contenders cannot differ by more than the share where they differ
        spread = critical * math.sqrt(share) + needed * math.sqrt(max(share - effect**2, 0.0))
        return n * effect - 1 >= math.sqrt(n) * spread

    low, high = 0.0, 1.0
    if not enough(high):
        return 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def planned(field: Contest) -> list[Plan]:
    """Who is compared with whom, in ladder order; the best simpler one is chosen on validation, not on test."""
    plans: list[Plan] = []
    for place, contender in enumerate(field.standings[1:], 1):
        simplest, simpler = field.standings[0], best(field.standings[:place])
        plans.append((contender, simplest, "simplest"))
        if simpler is not simplest:
            plans.append((contender, simpler, "best_simpler"))
    return plans


def compare(field: Contest) -> list[dict[str, Any]]:
    """Every planned comparison with its interval, tests, decision and what could have been found at all.

    Holm adjusts the larger of the two p values: McNemar's takes examples for independent, which groups are not, and
    the bootstrap is bold where few examples differ.
    """
    plans = planned(field)
    pairs = [pair(field, contender, against) for contender, against, _ in plans]
    adjusted = holm([max(mcnemar(one.wins, one.losses), one.p_differs()) for one in pairs])
    return [_row(field, plan, one, p, len(plans)) for plan, one, p in zip(plans, pairs, adjusted, strict=True)]


def _row(field: Contest, plan: Plan, one: Pair, p_holm: float, family: int) -> dict[str, Any]:
    evidence, (contender, against, kind) = field.evidence, plan
    alpha = 1 - evidence.confidence
    low, high = one.interval(evidence.confidence)
    effective, share = one.n / one.design_effect, (one.wins + one.losses) / one.n
    return {
        "contender": contender.name,
        "against": against.name,
        "kind": kind,
        "difference": one.difference,
        "low": low,
        "high": high,
        "mcnemar": {"only_contender": one.wins, "only_other": one.losses, "p": mcnemar(one.wins, one.losses)},
        "bootstrap_p": one.p_differs(),
        "p_holm": p_holm,
        "decision": _decision(one.difference, p_holm, alpha),
        # at the level that Holm asks of the first of the family: what is surely found, whatever the others do
        "minimum_detectable_effect": minimum_detectable_effect(effective, share, alpha / family, evidence.power),
    }


def _decision(difference: float, p_holm: float, alpha: float) -> Decision:
    if p_holm > alpha or difference == 0:
        return "undecided"
    return "better" if difference > 0 else "worse"


def _z(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


def _normal(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(z))

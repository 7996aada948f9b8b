"""Planned comparisons of shipped fits: each contender against the simplest and against the best simpler one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from loratory.evaluation.bootstrap import Floats, Integers, Resampling, by_group, column, p_at_most, percentile
from loratory.evaluation.contest import Contest, Standing, best
from loratory.evaluation.intervals import MEAN_REWARD, is_mean_reward, ratios_of, split
from loratory.evaluation.proportions import SCARCE, Linearised, linearise, shrunk_effect
from loratory.protocols import Counts, Task, total
from loratory.specs.evidence import Decision

Kind = Literal["simplest", "best_simpler"]
Plan = tuple[Standing, Standing, Kind]


@dataclass(frozen=True)
class Pair:
    """Two fits on the same examples. Differences are one minus other, in one score; shares are of that score."""

    difference: float
    samples: Floats  # float[B]
    count: float  # effective groups
    n: float  # examples, by Kish: where some weigh more in the score it is worth fewer
    gained: float  # by examples on which one is better
    lost: float
    design_effect: float
    scarce: bool  # too few groups where they differ for a bootstrap to see the variation
    unseen: float = 0.0  # of labels that the test set does not hold: of them the difference may be anything
    discordant: tuple[int, int] | None = None  # examples that only one, and only other, has right; None: no such score

    def interval(self, confidence: float) -> tuple[float, float]:
        """Paired bootstrap over groups; where they seldom differ, no narrower than Bonett and Price's."""
        low, high = percentile(self.samples, confidence, self.count)
        low, high = min(low, self.difference), max(high, self.difference)
        if self.scarce:
            centre, error = self._adjusted()
            half = _z((1 + confidence) / 2) * error
            low, high = min(low, centre - half), max(high, centre + half)
        return max(low - self.unseen, -1.0), min(high + self.unseen, 1.0)

    def p_at_most(self, threshold: float) -> float:
        """One-sided p value against "the true difference is at most `threshold`"."""
        return self._p(threshold + self.unseen, 1)

    def p_differs(self) -> float:
        """Two-sided p value against "there is no difference"; at most alpha only where the interval leaves 0 out."""
        return min(1.0, 2 * min(self._p(self.unseen, 1), self._p(self.unseen, -1)))

    def p(self) -> float:
        """The p value that decides: where the score is a mean of right and wrong the larger one of McNemar's too.

        McNemar's takes examples for independent, which groups are not; the bootstrap is bold where few examples differ.
        """
        return max(self.p_differs(), mcnemar(*self.discordant)) if self.discordant else self.p_differs()

    def standard_error(self) -> float:
        """Of the difference."""
        spread = float(self.samples.std()) * math.sqrt(self.count / max(self.count - 1, 1))
        return max(spread, self._adjusted()[1]) if self.scarce else spread

    def detectable(self, alpha: float, power: float) -> float:
        """The smallest difference that a one-sided test at `alpha` finds with that power; 1 where it finds none.

        (t(1 - alpha) + t(power)) standard errors, and what labels that nothing is known of could hide.
        """
        if self.count < 2:
            return 1.0
        found = (_student(1 - alpha, self.count) + _student(power, self.count)) * self.standard_error() + self.unseen
        if self.discordant:
            share, n = sum(self.discordant) / self.n, self.n / self.design_effect
            found = max(found, minimum_detectable_effect(n, share, 2 * alpha, power))
        return min(found, 1.0)

    def _p(self, threshold: float, sign: int) -> float:
        bootstrap = p_at_most(sign * self.samples, threshold, self.count)
        if not self.scarce:
            return bootstrap
        centre, error = self._adjusted()
        return max(bootstrap, 1 - _normal((sign * centre - threshold) / error))

    def _adjusted(self) -> tuple[float, float]:
        """Centre and standard error after Bonett and Price (2012): one win and one loss more, on effective counts."""
        n = self.n / self.design_effect
        gained, lost = ((share * n + 1) / (n + 2) for share in (self.gained, self.lost))
        shift = self.difference - (self.gained - self.lost)
        return gained - lost + shift, math.sqrt(max(gained + lost - (gained - lost) ** 2, 0.0) / (n + 2))


def pair(field: Contest, contender: Standing, other: Standing) -> Pair:
    """Two contenders' shipped fits, paired example by example and resample by resample."""
    name, mine, theirs = field.task.headline, contender.measured.shipped, other.measured.shipped
    samples = contender.samples[mine][name] - other.samples[theirs][name]
    return paired(field.task, name, (contender.test.marks, other.test.marks), samples, field.resampling)


def paired(
    task: Task, name: str, marks: tuple[Sequence[Counts], Sequence[Counts]], samples: Floats, resampling: Resampling
) -> Pair:
    """Two fits' marks on the same examples, in one score; samples: float[B], its difference in every resample."""
    groups, ratios = resampling.groups, ratios_of(task, name, marks)
    sums = [total(each) for each in marks]
    one, other = (float(task.summarise(each)[name]) for each in sums)
    seen, unseen = split(ratios, marks[0], resampling, least=1) if ratios else ([MEAN_REWARD], [])
    sides = [linearise(seen, each, totals) for each, totals in zip(marks, sums, strict=True)]
    size = np.asarray(sum(side.whole / side.n for side in sides if side.n)) / 2 * np.ones(len(groups))
    ours, others = (_right(side) for side in sides)
    gain = (ours - others) * size
    differs = int(np.count_nonzero(by_group(np.abs(gain), groups) > 1e-12))
    rewards = [column(each, "reward") for each in marks]
    return Pair(
        difference=one - other,
        samples=samples,
        count=resampling.effective,
        n=1 / float(np.square(size).sum()) if size.any() else 0.0,
        gained=float(gain[gain > 0].sum()),
        lost=-float(gain[gain < 0].sum()),
        design_effect=_effect(gain, size, groups, differs),
        scarce=differs < SCARCE,
        unseen=len(unseen) / max(len(ratios), 1),
        discordant=_discordant(*rewards) if all(is_mean_reward(task, name, each) for each in marks) else None,
    )


def _right(side: Linearised) -> Floats:
    """float[N] in [0, 1]: how right an example is; all right where it has nothing that the score counts."""
    return np.divide(side.part, side.whole, out=np.ones(len(side.part)), where=side.whole > 0)


def _discordant(ours: Floats, others: Floats) -> tuple[int, int] | None:
    """How many examples only the one, and only the other has right; None where some are half right."""
    if not (np.isin(ours, (0, 1)).all() and np.isin(others, (0, 1)).all()):
        return None
    return int(np.count_nonzero(ours > others)), int(np.count_nonzero(others > ours))


def _effect(gain: Floats, size: Floats, groups: Integers, differing: int) -> float:
    """The design effect of a difference; gain and size: float[N], which sum to the difference and to 1."""
    mean, of_group, sums = float(gain.sum()), by_group(size, groups), by_group(gain, groups)
    count, whole = len(of_group), float(np.square(size).sum())
    if not whole:
        return 1.0
    clustered = count / max(count - 1, 1) * float(np.square(sums - mean * of_group).sum())
    return shrunk_effect(
        clustered, float(np.square(gain - mean * size).sum()), float(np.square(of_group).sum()) / whole, differing
    )


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
    """Every planned comparison with its interval, tests, decision and what could have been found at all."""
    plans = planned(field)
    pairs = [pair(field, contender, against) for contender, against, _ in plans]
    adjusted = holm([one.p() for one in pairs])
    return [_row(field, plan, one, p, len(plans)) for plan, one, p in zip(plans, pairs, adjusted, strict=True)]


def _row(field: Contest, plan: Plan, one: Pair, p_holm: float, family: int) -> dict[str, Any]:
    evidence, (contender, against, kind) = field.evidence, plan
    alpha = 1 - evidence.confidence
    low, high = one.interval(evidence.confidence)
    return {
        "contender": contender.name,
        "against": against.name,
        "kind": kind,
        "difference": one.difference,
        "low": low,
        "high": high,
        "mcnemar": _mcnemar_row(*one.discordant) if one.discordant else None,
        "bootstrap_p": one.p_differs(),
        "p_holm": p_holm,
        "decision": _decision(one.difference, p_holm, alpha),
        # at the level that Holm asks of the first of the family: what is surely found, whatever the others do
        "minimum_detectable_effect": one.detectable(alpha / family / 2, evidence.power),
    }


def _mcnemar_row(wins: int, losses: int) -> dict[str, Any]:
    return {"only_contender": wins, "only_other": losses, "p": mcnemar(wins, losses)}


def _decision(difference: float, p_holm: float, alpha: float) -> Decision:
    if p_holm > alpha or difference == 0:
        return "undecided"
    return "better" if difference > 0 else "worse"


def _z(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


def _student(share: float, count: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, share))


def _normal(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(z))

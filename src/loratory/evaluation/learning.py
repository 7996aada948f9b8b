"""Whether anything was learnt, and what fine-tuning is worth: two questions that the verdict answers from test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.choice import Choice
from loratory.evaluation.comparisons import pair
from loratory.evaluation.contest import Contest, Standing, best
from loratory.specs.frame import MAJORITY

Row = Mapping[str, Any]


def find_baseline(field: Contest) -> Standing | None:
    """The contender that always gives the commonest answer of train."""
    return next((standing for standing in field.standings if standing.measured.regime == MAJORITY), None)


def weigh_learning(field: Contest, comparisons: Sequence[Row]) -> dict[str, Any] | None:
    """Who is better than always giving the commonest answer, by the planned comparisons; None where nobody always does.

    {baseline, value, better: names, learnt: whether there is any such name}
    """
    baseline = find_baseline(field)
    if baseline is None or len(field.standings) < 2:
        return None
    better = [
        row["contender"] for row in comparisons if row["against"] == baseline.name and row["decision"] == "better"
    ]
    value = float(baseline.scores[baseline.measured.shipped][field.task.headline])
    return {"baseline": baseline.name, "value": value, "better": better, "learnt": bool(better)}


def weigh_fine_tuning(choice: Choice) -> dict[str, Any] | None:
    """What fine-tuning is worth on test: the recommended contender against the best of the other kind on validation.

    Kinds are contenders that change a base's weights and those that do not; the commonest answer counts as neither.
    None where the ladder holds only one kind. `seconds` is the training time of each.
    """
    field, recommended = choice.field, choice.recommended
    kinds: dict[bool, list[Standing]] = {True: [], False: []}
    for standing in field.standings:
        if standing.measured.regime != MAJORITY:
            kinds[standing.measured.adapts].append(standing)
    if not kinds[True] or not kinds[False]:
        return None
    kinds[recommended.measured.adapts] = [recommended]
    tuned, plain = best(kinds[True]), best(kinds[False])
    one = pair(field, tuned, plain)
    low, high = one.interval(field.evidence.confidence)
    return {
        "contender": tuned.name,
        "against": plain.name,
        "difference": one.difference,
        "low": low,
        "high": high,
        "pays": low > 0,
        "seconds": [tuned.measured.ship.train_seconds, plain.measured.ship.train_seconds],
    }


def advise_fine_tuning(choice: Choice, gain: Row | None, learning: Row | None) -> bool | None:
    """True: fine-tune, the gain is proven. False: do not, no gain beyond the margin is proven. None: neither.

    It is None where the recommended contender is fine-tuned and its gain is not proven, where validation and test
    disagree, and where nothing was learnt or only one kind was tried.
    """
    if gain is None or (learning is not None and not learning["learnt"]):
        return None
    if choice.recommended.measured.adapts:
        return True if gain["pays"] else None
    as_good = choice.rival is not None and choice.rival["shown"]
    return False if as_good or not gain["pays"] else None

"""Whether anything was learnt, and what fine-tuning is worth: two questions that the verdict answers from test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.model_selection import Selection
from loratory.evaluation.statistics.comparison_set import ComparisonSet, Rank, find_best
from loratory.evaluation.statistics.comparisons import pair_contenders
from loratory.specs.spec import MAJORITY

Row = Mapping[str, Any]


def find_baseline(comparison_set: ComparisonSet) -> Rank | None:
    """The contender that always gives the commonest answer of train."""
    return next((standing for standing in comparison_set.ranks if standing.result.regime == MAJORITY), None)


def assess_learning(comparison_set: ComparisonSet, comparisons: Sequence[Row]) -> dict[str, Any] | None:
    """Who is better than always giving the commonest answer, by the planned comparisons; None where nobody always does.

    {baseline, value, better: names, learnt: whether there is any such name}
    """
    baseline = find_baseline(comparison_set)
    if baseline is None or len(comparison_set.ranks) < 2:
        return None
    better = [
        row["contender"] for row in comparisons if row["against"] == baseline.name and row["decision"] == "better"
    ]
    value = float(baseline.scores[baseline.result.shipped_seed][comparison_set.task.headline])
    return {"baseline": baseline.name, "value": value, "better": better, "learnt": bool(better)}


def measure_fine_tuning_gain(selection: Selection) -> dict[str, Any] | None:
    """What fine-tuning is worth on test: the recommended contender against the best of the other kind on validation.

    Kinds are contenders that change a base's weights and those that do not; the commonest answer counts as neither.
    None where the ladder holds only one kind. `seconds` is the training time of each.
    """
    field, recommended = selection.comparison_set, selection.recommended
    kinds: dict[bool, list[Rank]] = {True: [], False: []}
    for standing in field.ranks:
        if standing.result.regime != MAJORITY:
            kinds[standing.result.is_fine_tuned].append(standing)
    if not kinds[True] or not kinds[False]:
        return None
    kinds[recommended.result.is_fine_tuned] = [recommended]
    tuned, plain = find_best(kinds[True]), find_best(kinds[False])
    one = pair_contenders(field, tuned, plain)
    low, high = one.interval(field.evidence.confidence)
    return {
        "contender": tuned.name,
        "against": plain.name,
        "difference": one.difference,
        "low": low,
        "high": high,
        "pays": low > 0,
        "seconds": [tuned.result.shipped_fit.train_seconds, plain.result.shipped_fit.train_seconds],
    }


def advise_fine_tuning(selection: Selection, fine_tuning_gain: Row | None, learning_result: Row | None) -> bool | None:
    """True: fine-tune, the gain is proven. False: do not, no gain beyond the margin is proven. None: neither.

    It is None where the recommended contender is fine-tuned and its gain is not proven, where validation and test
    disagree, and where nothing was learnt or only one kind was tried.
    """
    if fine_tuning_gain is None or (learning_result is not None and not learning_result["learnt"]):
        return None
    if selection.recommended.result.is_fine_tuned:
        return True if fine_tuning_gain["pays"] else None
    as_good = selection.recommended_vs_best is not None and selection.recommended_vs_best["shown"]
    return False if as_good or not fine_tuning_gain["pays"] else None

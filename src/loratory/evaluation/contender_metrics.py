"""A contender's scores over seeds, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loratory.evaluation.statistics.bootstrap import Floats, Integers, extract_count
from loratory.evaluation.statistics.calibration import (
    collect_confidences,
    compute_aurc,
    compute_calibration_error,
    compute_confidence_auroc,
    estimate_chance_error,
)
from loratory.evaluation.statistics.comparison_set import ComparisonSet, Rank, list_overall_scores
from loratory.evaluation.statistics.intervals import compute_score_interval, compute_share_interval
from loratory.evaluation.statistics.proportions import estimate_proportion
from loratory.protocols import Labelled, ScoredPredictions
from loratory.tasks.scorers import COUNT_PREFIX


def compute_metrics(comparison_set: ComparisonSet, rank: Rank) -> dict[str, Any]:
    """Every score of the whole: mean over seeds, its interval, the shipped fit's, each seed's and their deviation.

    The interval is that of the mean over these very seeds, with examples resampled. Calibration error and the like
    are no sums of marks, and resampling biases them; they stand beside their chance level instead of an interval.
    """
    found: dict[str, Any] = {name: _summarise_score(comparison_set, rank, name) for name in _list_shared_scores(rank)}
    found |= _compute_confidence_metrics(rank)
    found |= _compute_scorer_metrics(comparison_set, rank)
    if isinstance(comparison_set.task, Labelled):
        found["per_label"] = compute_label_scores(comparison_set.task, rank.test)
    return found


def compute_label_scores(task: Labelled, outcome: ScoredPredictions) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of every label, of one fit."""
    totals = outcome.sum_counts()
    scores = task.summarise(totals)
    return {
        label: {
            **{name: float(scores.get(f"{name}/{label}", 0.0)) for name in ("precision", "recall", "f1")},
            "support": int(totals.get(f"support/{label}", 0)),
        }
        for label in task.labels or ()
    }


def _list_shared_scores(rank: Rank) -> list[str]:
    """The scores that every seed has."""
    every = [list_overall_scores(scores) for scores in rank.scores.values()]
    return [name for name in every[0] if all(name in names for names in every)]


def _summarise_score(comparison_set: ComparisonSet, rank: Rank, name: str) -> dict[str, Any]:
    ship = rank.result.shipped_seed
    values = [scores[name] for scores in rank.scores.values()]
    return {
        **_average_over_seeds(values),
        **compute_seed_interval(comparison_set, rank, name),
        "shipped": {
            "value": float(rank.scores[ship][name]),
            **compute_seed_interval(comparison_set, rank, name, [ship]),
        },
    }


def compute_seed_interval(
    comparison_set: ComparisonSet, rank: Rank, name: str, seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """{low, high, how} of a contender's mean score over these seeds, or all: see intervals.score_interval."""
    asked = list(rank.samples) if seeds is None else seeds
    samples = np.mean([rank.samples[seed][name] for seed in asked], axis=0)
    fits = [fit.test.counts for fit in rank.result.fits if fit.seed in asked]
    return compute_score_interval(
        comparison_set.task, name, fits, samples, comparison_set.resampling, comparison_set.evidence.confidence
    )


def _average_over_seeds(values: list[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "seeds": [float(value) for value in values],
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


def _compute_scorer_metrics(comparison_set: ComparisonSet, rank: Rank) -> dict[str, Any]:
    """`scorer/NAME` -> the mean reward over seeds, with its interval over groups of examples."""
    groups, confidence = comparison_set.resampling.groups, comparison_set.evidence.confidence
    made: dict[str, Any] = {}
    for kind in (key for key in rank.test.counts[0] if key.startswith(COUNT_PREFIX)):
        each = {fit.seed: extract_count(fit.test.counts, kind) for fit in rank.result.fits}
        shipped = each[rank.result.shipped_seed]
        made[kind] = {
            **_average_over_seeds([float(values.mean()) for values in each.values()]),
            **_build_interval(np.mean(list(each.values()), axis=0), groups, confidence),
            "shipped": {"value": float(shipped.mean()), **_build_interval(shipped, groups, confidence)},
        }
    return made


def _build_interval(values: Floats, groups: Integers, confidence: float) -> dict[str, Any]:
    low, high = compute_share_interval(estimate_proportion(values, np.ones(len(values)), groups), confidence)
    return {"low": low, "high": high}


def _compute_confidence_metrics(rank: Rank) -> dict[str, Any]:
    """ECE with its chance level, area under the risk-coverage curve, AUROC of confidence for being right."""
    known = [collect_confidences(fit.test) for fit in rank.result.fits]
    ship = collect_confidences(rank.test)
    if ship is None or any(one is None for one in known):
        return {}
    chance, highest = estimate_chance_error(ship)
    found: Mapping[str, tuple[list[float | None], float | None]] = {
        "ece": ([compute_calibration_error(one) for one in known if one is not None], compute_calibration_error(ship)),
        "aurc": ([compute_aurc(fit.test) for fit in rank.result.fits], compute_aurc(rank.test)),
        "auroc": (
            [compute_confidence_auroc(fit.test) for fit in rank.result.fits],
            compute_confidence_auroc(rank.test),
        ),
    }
    scored = {
        name: {**_average_over_seeds([value for value in values if value is not None]), "shipped": {"value": shipped}}
        for name, (values, shipped) in found.items()
        if shipped is not None and None not in values
    }
    scored["ece"] |= {"chance": chance, "chance_high": highest}
    return scored

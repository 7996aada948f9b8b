"""A contender's scores over seeds, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loratory.evaluation.calibration import (
    area_under_risk,
    calibration_error,
    chance_level,
    confidences,
    separation,
)
from loratory.evaluation.contest import Contest, Standing, flat
from loratory.evaluation.intervals import score_interval
from loratory.protocols import Labelled, Outcome


def metrics(field: Contest, standing: Standing) -> dict[str, Any]:
    """Every score of the whole: mean over seeds, its interval, the shipped fit's, each seed's and their deviation.

    The interval is that of the mean over these very seeds, with examples resampled. Calibration error and the like
    are no sums of marks, and resampling biases them; they stand beside their chance level instead of an interval.
    """
    found: dict[str, Any] = {name: _scored(field, standing, name) for name in _shared(standing)}
    found |= _from_confidence(standing)
    if isinstance(field.task, Labelled):
        found["per_label"] = per_label(field.task, standing.test)
    return found


def per_label(task: Labelled, outcome: Outcome) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of every label, of one fit."""
    totals = outcome.totals()
    scores = task.summarise(totals)
    return {
        label: {
            **{name: float(scores.get(f"{name}/{label}", 0.0)) for name in ("precision", "recall", "f1")},
            "support": int(totals.get(f"support/{label}", 0)),
        }
        for label in task.labels or ()
    }


def _shared(standing: Standing) -> list[str]:
    """The scores that every seed has."""
    every = [flat(scores) for scores in standing.scores.values()]
    return [name for name in every[0] if all(name in names for names in every)]


def _scored(field: Contest, standing: Standing, name: str) -> dict[str, Any]:
    ship = standing.measured.shipped
    values = [scores[name] for scores in standing.scores.values()]
    return {
        **_over_seeds(values),
        **interval(field, standing, name),
        "shipped": {"value": float(standing.scores[ship][name]), **interval(field, standing, name, [ship])},
    }


def interval(field: Contest, standing: Standing, name: str, seeds: Sequence[int] | None = None) -> dict[str, Any]:
    """{low, high, how} of a contender's mean score over these seeds, or all: see intervals.score_interval."""
    asked = list(standing.samples) if seeds is None else seeds
    samples = np.mean([standing.samples[seed][name] for seed in asked], axis=0)
    fits = [fit.test.marks for fit in standing.measured.fits if fit.seed in asked]
    return score_interval(field.task, name, fits, samples, field.resampling, field.evidence.confidence)


def _over_seeds(values: list[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "seeds": [float(value) for value in values],
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


def _from_confidence(standing: Standing) -> dict[str, Any]:
    """ECE with its chance level, area under the risk-coverage curve, AUROC of confidence for being right."""
    known = [confidences(fit.test) for fit in standing.measured.fits]
    ship = confidences(standing.test)
    if ship is None or any(one is None for one in known):
        return {}
    chance, highest = chance_level(ship)
    found: Mapping[str, tuple[list[float | None], float | None]] = {
        "ece": ([calibration_error(one) for one in known if one is not None], calibration_error(ship)),
        "aurc": ([area_under_risk(fit.test) for fit in standing.measured.fits], area_under_risk(standing.test)),
        "auroc": ([separation(fit.test) for fit in standing.measured.fits], separation(standing.test)),
    }
    scored = {
        name: {**_over_seeds([value for value in values if value is not None]), "shipped": {"value": shipped}}
        for name, (values, shipped) in found.items()
        if shipped is not None and None not in values
    }
    scored["ece"] |= {"chance": chance, "chance_high": highest}
    return scored

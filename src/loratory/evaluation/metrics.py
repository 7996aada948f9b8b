"""A contender's scores over seeds, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loratory.evaluation.bootstrap import Floats, column, percentile
from loratory.evaluation.calibration import (
    area_under_risk,
    calibration_error,
    chance_level,
    confidences,
    separation,
)
from loratory.evaluation.contest import Contest, Standing, flat
from loratory.evaluation.proportions import SCARCE, Proportion, proportion
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
    mean = np.mean([samples[name] for samples in standing.samples.values()], axis=0)
    rewards = np.mean([column(fit.test.marks, "reward") for fit in standing.measured.fits], axis=0)
    own = interval(field, name, float(np.mean(values)), mean, rewards)
    shipped = interval(field, name, standing.scores[ship][name], standing.samples[ship][name], standing.rewards)
    return {**_over_seeds(values), **own, "shipped": {"value": float(standing.scores[ship][name]), **shipped}}


def interval(field: Contest, name: str, value: float, samples: Floats, rewards: Floats) -> dict[str, Any]:
    """{low, high, how}: the bootstrap's, or exact bounds where resampling cannot see the variation.

    Where every resample scores alike (all right, say, or all answered) the bootstrap's has no width; where fewer than
    ten groups are wrong it is too narrow, so the mean reward's reaches at least as far as the exact one.
    """
    count, confidence = field.resampling.count, field.evidence.confidence
    low, high = percentile(samples, confidence, count)
    if name in field.task.lower_is_better or not 0 <= value <= 1:
        return {"low": low, "high": high, "how": "bootstrap"}
    flat_line = high - low < 1e-12
    part = np.full(len(rewards), value) if flat_line else rewards
    share = proportion(part, np.ones(len(part)), field.resampling.groups)
    if not (flat_line or _scarce_mean(share, value)):
        return {"low": low, "high": high, "how": "bootstrap"}
    exact = share.interval(confidence)
    return {"low": min(low, exact[0]), "high": max(high, exact[1]), "how": "exact"}


def _scarce_mean(share: Proportion, value: float) -> bool:
    return share.minority < SCARCE and abs(share.value - value) < 1e-12


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

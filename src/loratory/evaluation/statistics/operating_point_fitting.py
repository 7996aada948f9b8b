"""Operating points from rows: a temperature, thresholds that are proven, a score of scope, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from loratory.evaluation.statistics import thresholds
from loratory.evaluation.statistics.bootstrap import Floats, Integers, index_groups
from loratory.evaluation.statistics.calibration import (
    collect_confidences,
    compute_auroc,
    compute_calibration_error,
    estimate_chance_error,
)
from loratory.evaluation.statistics.proportions import estimate_proportion
from loratory.evaluation.statistics.thresholds import ScoredSample
from loratory.measures.classification_metrics import log_loss
from loratory.predictors.calibrated import (
    MIN_PROBABILITY,
    NO_LABEL,
    PROBABILITY_SCORES,
    OperatingPoint,
    apply_temperature,
    scale_probabilities,
    score_in_scope,
)
from loratory.protocols import JSON, Labelled, Prediction, ScoredPredictions, Scores
from loratory.specs.operating_point import OperatingSpec, ThresholdSpec

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
ScoredTexts = Sequence[tuple[Prediction, Scores]]


@dataclass(frozen=True)
class ScoredPart:
    """A labelled part of the data as a predictor judges it."""

    scored_texts: ScoredTexts
    labels: Sequence[str]  # expected
    groups: Integers  # int[N]

    def to_sample(self, labels: Sequence[str], temperature: float, score: str | None) -> ScoredSample:
        """Arrays of it, a column for each label, at a temperature and with a score of scope."""
        shares = apply_temperature(_build_probabilities(labels, self.scored_texts), temperature)
        known = [
            beside if made.probabilities else dict.fromkeys([score or ""], 0.0) for made, beside in self.scored_texts
        ]
        silent = np.array([made.answer is None for made, _ in self.scored_texts], dtype=np.bool_)
        place = {label: i for i, label in enumerate(labels)}
        expected = np.array([place.get(label, NO_LABEL) for label in self.labels], dtype=np.int64)
        return ScoredSample(tuple(labels), shares, score_in_scope(score, shares, known), expected, silent, self.groups)


@dataclass(frozen=True)
class FittedPoint:
    """A point, and how it came about."""

    point: OperatingPoint
    facts: Mapping[str, JSON] = field(default_factory=dict)


def fit_operating_point(
    spec: OperatingSpec, calibration: ScoredPart, validation: ScoredPart, out_of_scope: ScoredTexts
) -> FittedPoint:
    """The point that a spec asks for.

    Scores of scope, and how thresholds lie to one another, are chosen on validation; all else is of calibration.
    """
    labels = _find_labels(calibration.scored_texts) or tuple(sorted({*calibration.labels, *spec.thresholds}))
    temperature = fit_temperature(calibration) if spec.temperature else 1.0
    point, facts = OperatingPoint(temperature), dict[str, JSON](temperature=temperature)
    if spec.abstain:
        best, aurocs = choose_scope_score(validation, out_of_scope, temperature)
        asked = best if spec.abstain.score == "auto" else spec.abstain.score
        score = asked if asked in list_scope_scores(calibration.scored_texts) else PROBABILITY_SCORES[0]
        own = compute_scope_scores(score, calibration.scored_texts, temperature)
        least = float(np.quantile(own, 1 - spec.abstain.keep)) if len(own) else float("-inf")
        point = replace(point, score=score, least=least)
        facts["abstain"] = {"score": score, "asked": asked, "least": least, "validation_auroc": aurocs}
    sample = calibration.to_sample(labels, temperature, point.score)
    demands = thresholds.build_requirements(spec.thresholds, labels)
    other = validation.to_sample(labels, temperature, point.score) if len(demands) > 1 else sample
    point, facts["thresholds"] = thresholds.prove_thresholds(demands, point, sample, other)
    return FittedPoint(point, facts)


def list_scope_scores(scored_texts: ScoredTexts) -> tuple[str, ...]:
    """The scores of scope that a predictor gives every text: those of its probabilities, and what it knows beside."""
    own = set.intersection(*(set(beside) for _, beside in scored_texts)) if scored_texts else set()
    return (*PROBABILITY_SCORES, *sorted(own))


def fit_temperature(part: ScoredPart) -> float:
    """The temperature with the least log-loss (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    rows = np.flatnonzero([bool(made.probabilities) for made, _ in part.scored_texts])
    if not len(rows):
        return 1.0
    sample = part.to_sample(_find_labels(part.scored_texts), 1.0, None)
    logs, right = np.log(np.maximum(sample.probabilities[rows], MIN_PROBABILITY)), sample.expected[rows]
    logs -= logs.max(axis=1, keepdims=True)

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        own = scaled[np.arange(len(right)), right]
        return float((np.log(np.exp(scaled, out=scaled).sum(axis=1)) - own).mean())

    found = minimize_scalar(loss, bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), method="bounded")
    return float(np.exp(found.x)) if loss(found.x) < loss(0.0) else 1.0


def compute_scope_scores(name: str, scored_texts: ScoredTexts, temperature: float) -> Floats:
    """How much each text that has probabilities looks in scope, float[N]."""
    said = [(made, beside) for made, beside in scored_texts if made.probabilities]
    if not said:
        return np.zeros(0)
    return score_in_scope(
        name,
        apply_temperature(_build_probabilities(_find_labels(said), said), temperature),
        [beside for _, beside in said],
    )


def choose_scope_score(
    in_scope: ScoredPart, out_of_scope: ScoredTexts, temperature: float
) -> tuple[str, dict[str, float]]:
    """The score that best tells the validation part from texts out of scope, and the AUROC of each.

    Without such texts it is the confidence.
    """
    if not out_of_scope:
        return PROBABILITY_SCORES[0], {}
    each = {
        name: compute_auroc(
            compute_scope_scores(name, in_scope.scored_texts, temperature),
            compute_scope_scores(name, out_of_scope, temperature),
        )
        for name in list_scope_scores([*in_scope.scored_texts, *out_of_scope])
    }
    return max(each, key=lambda name: each[name]), each


def compute_fpr_at_tpr(in_scope: Floats, out_of_scope: Floats, tpr: float = 0.95) -> float:
    """Share of the texts out of scope that pass where this share of those in scope does (FPR@95TPR)."""
    return float((out_of_scope >= np.quantile(in_scope, 1 - tpr)).mean())


def measure_operating_point(
    task: Labelled,
    point: OperatingPoint,
    test: ScoredPredictions,
    in_scope: ScoredTexts,
    out_of_scope: Mapping[str, ScoredTexts],
    requirements: Mapping[str, ThresholdSpec],
) -> dict[str, JSON]:
    """What a point changes on the test part: log-loss and calibration error before and after, and scope by file.

    test: as it is served. inside, outside: the test part and files of texts out of scope, as the predictor without the
    point judges them. asked: label -> what its threshold has to hold; "served" has what that comes to on the test part.
    """
    before, after = (_measure_calibration(task, test, temperature) for temperature in (1 / point.temperature, 1.0))
    found: dict[str, Any] = {"before": before, "after": after, "out_of_scope": {}}
    if requirements:
        found["served"] = {
            label: _measure_served_label(task, test, label, spec) for label, spec in requirements.items()
        }
    unanswered = float(np.mean([made.answer is None for made in test.predictions]))
    if point.score is None:
        return {**found, **({"abstained": unanswered} if unanswered else {})}
    own = compute_scope_scores(point.score, in_scope, point.temperature)
    for name, judged in out_of_scope.items():
        theirs = compute_scope_scores(point.score, judged, point.temperature)
        about = {
            "n": len(theirs),
            "auroc": compute_auroc(own, theirs),
            "fpr_at_95_tpr": compute_fpr_at_tpr(own, theirs),
        }
        found["out_of_scope"][name] = {**about, "recall": float((theirs < point.least).mean())}
    return {**found, "abstained": unanswered}


def _measure_served_label(task: Labelled, test: ScoredPredictions, label: str, spec: ThresholdSpec) -> dict[str, JSON]:
    """Recall or false positives of the answers to the test part, with an interval at the confidence asked."""
    expected = np.array([task.label_of(example.answer) == label for example in test.examples])
    given = np.array([made.answer is not None and task.label_of(made.answer) == label for made in test.predictions])
    counted = expected if spec.recall is not None else ~expected
    part = estimate_proportion((given & counted).astype(float), counted.astype(float), index_groups(test.examples))
    low, high = part.interval(spec.confidence)
    return {"value": part.value, "low": low, "high": high, "n": int(part.n)}


def _measure_calibration(task: Labelled, test: ScoredPredictions, temperature: float) -> dict[str, float]:
    """Log-loss, and calibration error of the likeliest label with its chance level, of texts with probabilities."""
    known = [(e, made) for e, made in zip(test.examples, test.predictions, strict=True) if made.probabilities]
    if not known:
        return {}
    examples, rows = (
        [e for e, _ in known],
        [scale_probabilities(made.probabilities["/label"], temperature) for _, made in known],
    )
    expected = [task.label_of(example.answer) for example in examples]
    loss = np.mean([log_loss(row[label]) for row, label in zip(rows, expected, strict=True)])
    answers = [task.from_probabilities(e.input, row) for e, row in zip(examples, rows, strict=True)]
    marks = [task.score_example(e, answer) for e, answer in zip(examples, answers, strict=True)]
    found = collect_confidences(ScoredPredictions(examples, answers, marks))
    if found is None:
        return {"log_loss": float(loss)}
    chance, _ = estimate_chance_error(found)
    return {"log_loss": float(loss), "ece": compute_calibration_error(found), "ece_by_chance": chance}


def _find_labels(scored_texts: ScoredTexts) -> tuple[str, ...]:
    """The labels in the order of the first text that has probabilities."""
    return next((tuple(made.probabilities["/label"]) for made, _ in scored_texts if made.probabilities), ())


def _build_probabilities(labels: Sequence[str], scored_texts: ScoredTexts) -> Floats:
    """Probabilities float[N, L]; alike for all labels where a text has none."""
    nothing = np.full(len(labels), 1 / max(len(labels), 1))
    made = np.empty((len(scored_texts), len(labels)))
    for i, (prediction, _) in enumerate(scored_texts):
        row = prediction.probabilities.get("/label")
        if row is None:
            made[i] = nothing
        elif tuple(row) == tuple(labels):
            made[i] = list(row.values())
        else:
            made[i] = [row[label] for label in labels]
    return made

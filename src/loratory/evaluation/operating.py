"""Operating points from rows: a temperature, thresholds that are proven, a score of scope, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from loratory.evaluation import thresholds
from loratory.evaluation.bootstrap import Floats, Integers, group_index
from loratory.evaluation.calibration import auroc, calibration_error, chance_level, confidences
from loratory.evaluation.proportions import proportion
from loratory.evaluation.thresholds import Sample
from loratory.measures.labels import log_loss
from loratory.predictors.operated import LEAST, NONE, PLAIN, Point, scope, temper, tempered
from loratory.protocols import JSON, Labelled, Outcome, Prediction, Scores
from loratory.specs.operating import OperatingSpec, ThresholdSpec

COLDEST, HOTTEST = 0.05, 20.0
Judged = Sequence[tuple[Prediction, Scores]]


@dataclass(frozen=True)
class Known:
    """A labelled part of the data as a predictor judges it."""

    judged: Judged
    labels: Sequence[str]  # expected
    groups: Integers  # int[N]

    def sample(self, labels: Sequence[str], temperature: float, score: str | None) -> Sample:
        """Arrays of it, a column for each label, at a temperature and with a score of scope."""
        shares = temper(_shares(labels, self.judged), temperature)
        known = [beside if made.probabilities else dict.fromkeys([score or ""], 0.0) for made, beside in self.judged]
        silent = np.array([made.answer is None for made, _ in self.judged], dtype=np.bool_)
        place = {label: i for i, label in enumerate(labels)}
        expected = np.array([place.get(label, NONE) for label in self.labels], dtype=np.int64)
        return Sample(tuple(labels), shares, scope(score, shares, known), expected, silent, self.groups)


@dataclass(frozen=True)
class Fitted:
    """A point, and how it came about."""

    point: Point
    facts: Mapping[str, JSON] = field(default_factory=dict)


def fit(spec: OperatingSpec, calibration: Known, validation: Known, outside: Judged) -> Fitted:
    """The point that a spec asks for.

    Scores of scope, and how thresholds lie to one another, are chosen on validation; all else is of calibration.
    """
    labels = _labels(calibration.judged) or tuple(sorted({*calibration.labels, *spec.thresholds}))
    temperature = best_temperature(calibration) if spec.temperature else 1.0
    point, facts = Point(temperature), dict[str, JSON](temperature=temperature)
    if spec.abstain:
        best, aurocs = best_score(validation, outside, temperature)
        asked = best if spec.abstain.score == "auto" else spec.abstain.score
        score = asked if asked in known_scores(calibration.judged) else PLAIN[0]
        own = scores(score, calibration.judged, temperature)
        least = float(np.quantile(own, 1 - spec.abstain.keep)) if len(own) else float("-inf")
        point = replace(point, score=score, least=least)
        facts["abstain"] = {"score": score, "asked": asked, "least": least, "validation_auroc": aurocs}
    sample = calibration.sample(labels, temperature, point.score)
    demands = thresholds.demand(spec.thresholds, labels)
    other = validation.sample(labels, temperature, point.score) if len(demands) > 1 else sample
    point, facts["thresholds"] = thresholds.prove(demands, point, sample, other)
    return Fitted(point, facts)


def known_scores(judged: Judged) -> tuple[str, ...]:
    """The scores of scope that a predictor gives every text: those of its probabilities, and what it knows beside."""
    own = set.intersection(*(set(beside) for _, beside in judged)) if judged else set()
    return (*PLAIN, *sorted(own))


def best_temperature(known: Known) -> float:
    """The temperature with the least log-loss (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    rows = np.flatnonzero([bool(made.probabilities) for made, _ in known.judged])
    if not len(rows):
        return 1.0
    sample = known.sample(_labels(known.judged), 1.0, None)
    logs, right = np.log(np.maximum(sample.shares[rows], LEAST)), sample.expected[rows]

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        return float((np.logaddexp.reduce(scaled, 1) - scaled[np.arange(len(right)), right]).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x)) if loss(found.x) < loss(0.0) else 1.0


def scores(name: str, judged: Judged, temperature: float) -> Floats:
    """How much each text that has probabilities looks in scope, float[N]."""
    said = [(made, beside) for made, beside in judged if made.probabilities]
    if not said:
        return np.zeros(0)
    return scope(name, temper(_shares(_labels(said), said), temperature), [beside for _, beside in said])


def best_score(inside: Known, outside: Judged, temperature: float) -> tuple[str, dict[str, float]]:
    """The score that best tells the validation part from texts out of scope, and the AUROC of each.

    Without such texts it is the confidence.
    """
    if not outside:
        return PLAIN[0], {}
    each = {
        name: auroc(scores(name, inside.judged, temperature), scores(name, outside, temperature))
        for name in known_scores([*inside.judged, *outside])
    }
    return max(each, key=lambda name: each[name]), each


def false_at(inside: Floats, outside: Floats, kept: float = 0.95) -> float:
    """Share of the texts out of scope that pass where this share of those in scope does (FPR@95TPR)."""
    return float((outside >= np.quantile(inside, 1 - kept)).mean())


def worth(
    task: Labelled,
    point: Point,
    test: Outcome,
    inside: Judged,
    outside: Mapping[str, Judged],
    asked: Mapping[str, ThresholdSpec],
) -> dict[str, JSON]:
    """What a point changes on the test part: log-loss and calibration error before and after, and scope by file.

    test: as it is served. inside, outside: the test part and files of texts out of scope, as the predictor without the
    point judges them. asked: label -> what its threshold has to hold; "served" has what that comes to on the test part.
    """
    before, after = (_calibrated(task, test, temperature) for temperature in (1 / point.temperature, 1.0))
    found: dict[str, Any] = {"before": before, "after": after, "out_of_scope": {}}
    if asked:
        found["served"] = {label: _served(task, test, label, spec) for label, spec in asked.items()}
    unanswered = float(np.mean([made.answer is None for made in test.predictions]))
    if point.score is None:
        return {**found, **({"abstained": unanswered} if unanswered else {})}
    own = scores(point.score, inside, point.temperature)
    for name, judged in outside.items():
        theirs = scores(point.score, judged, point.temperature)
        about = {"n": len(theirs), "auroc": auroc(own, theirs), "fpr_at_95_tpr": false_at(own, theirs)}
        found["out_of_scope"][name] = {**about, "recall": float((theirs < point.least).mean())}
    return {**found, "abstained": unanswered}


def _served(task: Labelled, test: Outcome, label: str, spec: ThresholdSpec) -> dict[str, JSON]:
    """Recall or false positives of the answers to the test part, with an interval at the confidence asked."""
    expected = np.array([task.label_of(example.answer) == label for example in test.examples])
    given = np.array([made.answer is not None and task.label_of(made.answer) == label for made in test.predictions])
    counted = expected if spec.recall is not None else ~expected
    part = proportion((given & counted).astype(float), counted.astype(float), group_index(test.examples))
    low, high = part.interval(spec.confidence)
    return {"value": part.value, "low": low, "high": high, "n": int(part.n)}


def _calibrated(task: Labelled, test: Outcome, temperature: float) -> dict[str, float]:
    """Log-loss, and calibration error of the likeliest label with its chance level, of texts with probabilities."""
    known = [(e, made) for e, made in zip(test.examples, test.predictions, strict=True) if made.probabilities]
    if not known:
        return {}
    examples, rows = [e for e, _ in known], [tempered(made.probabilities["/label"], temperature) for _, made in known]
    expected = [task.label_of(example.answer) for example in examples]
    loss = np.mean([log_loss(row[label]) for row, label in zip(rows, expected, strict=True)])
    answers = [task.from_odds(e.input, row) for e, row in zip(examples, rows, strict=True)]
    marks = [task.mark(e, answer) for e, answer in zip(examples, answers, strict=True)]
    found = confidences(Outcome(examples, answers, marks))
    if found is None:
        return {"log_loss": float(loss)}
    chance, _ = chance_level(found)
    return {"log_loss": float(loss), "ece": calibration_error(found), "ece_by_chance": chance}


def _labels(judged: Judged) -> tuple[str, ...]:
    """The labels in the order of the first text that has probabilities."""
    return next((tuple(made.probabilities["/label"]) for made, _ in judged if made.probabilities), ())


def _shares(labels: Sequence[str], judged: Judged) -> Floats:
    """Probabilities float[N, L]; alike for all labels where a text has none."""
    nothing = dict.fromkeys(labels, 1 / max(len(labels), 1))
    rows = [made.probabilities.get("/label", nothing) for made, _ in judged]
    return np.array([[row[label] for label in labels] for row in rows], dtype=np.float64).reshape(
        len(rows), len(labels)
    )

"""Operating points from rows: a temperature, thresholds that are proven, a score of scope, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loratory.evaluation.bootstrap import Floats, Integers
from loratory.evaluation.calibration import auroc, calibration_error, chance_level, confidences
from loratory.evaluation.proportions import proportion
from loratory.measures.labels import log_loss
from loratory.predictors.operated import LEAST, PLAIN, Point, score_of, tempered
from loratory.protocols import JSON, Labelled, Outcome, Prediction
from loratory.specs.operating import OperatingSpec, ThresholdSpec

COLDEST, HOTTEST = 0.05, 20.0
Judged = Sequence[tuple[Prediction, Mapping[str, float]]]


@dataclass(frozen=True)
class Known:
    """A labelled part of the data as a predictor judges it."""

    judged: Judged
    labels: Sequence[str]  # expected
    groups: Integers  # int[N]

    def odds(self, temperature: float) -> list[dict[str, float]]:
        """Probabilities of every label, scaled."""
        return [tempered(made.probabilities["/label"], temperature) for made, _ in self.judged]


@dataclass(frozen=True)
class Fitted:
    """A point, and how it came about."""

    point: Point
    facts: Mapping[str, JSON] = field(default_factory=dict)


def fit(spec: OperatingSpec, calibration: Known, validation: Known, outside: Judged) -> Fitted:
    """The point that a spec asks for. Scores of scope are chosen on validation; all else is of calibration."""
    temperature = best_temperature(calibration) if spec.temperature else 1.0
    odds = calibration.odds(temperature)
    proven = {label: threshold(one, label, odds, calibration) for label, one in spec.thresholds.items()}
    facts: dict[str, JSON] = {"temperature": temperature, "thresholds": proven}
    score: str | None = None
    least = float("-inf")
    if spec.abstain:
        best, aurocs = best_score(validation, outside, temperature)
        asked = best if spec.abstain.score == "auto" else spec.abstain.score
        score = asked if asked in known_scores(calibration.judged) else PLAIN[0]
        least = float(np.quantile(scores(score, calibration.judged, temperature), 1 - spec.abstain.keep))
        facts["abstain"] = {"score": score, "asked": asked, "least": least, "validation_auroc": aurocs}
    return Fitted(Point(temperature, {label: one["at"] for label, one in proven.items()}, score, least), facts)


def known_scores(judged: Judged) -> tuple[str, ...]:
    """The scores of scope that a predictor gives every text: those of its probabilities, and what it knows beside."""
    own = set.intersection(*(set(beside) for _, beside in judged)) if judged else set()
    return (*PLAIN, *sorted(own))


def best_temperature(known: Known) -> float:
    """The temperature with the least log-loss (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    rows = [made.probabilities["/label"] for made, _ in known.judged]
    logs = np.log(np.maximum(np.array([list(row.values()) for row in rows]), LEAST))
    right = np.array([list(row).index(label) for row, label in zip(rows, known.labels, strict=True)])

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        return float((np.logaddexp.reduce(scaled, 1) - scaled[np.arange(len(right)), right]).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x)) if loss(found.x) < loss(0.0) else 1.0


def threshold(spec: ThresholdSpec, label: str, odds: Sequence[Mapping[str, float]], known: Known) -> dict[str, Any]:
    """{at, proven, bound, n}: the threshold that gives the least away and still holds, with confidence.

    Thresholds are tried in order from the safest on, and the last that holds before the first that does not is taken:
    a fixed sequence, so that trying many costs no confidence (Angelopoulos et al. 2021, "Learn then test", sec. 2).
    """
    share = np.array([row[label] for row in odds])
    mine = np.array([expected == label for expected in known.labels])
    if spec.recall is not None:
        floor, counted = spec.recall, mine
        tried = np.unique(share[mine])  # from the lowest on
    else:
        floor, counted = 1 - (spec.false_positives or 0.0), ~mine
        tried = np.unique(np.append(np.nextafter(share[~mine], 2.0), 0.0))[::-1]  # from the highest on
    found: dict[str, Any] = {"at": float(tried[0]) if len(tried) else 1.0, "proven": False, "bound": 0.0}
    for at in tried.tolist():
        held = counted & ((share >= at) == mine)  # of the label's texts what reaches it, of the others what does not
        part = proportion(held.astype(float), counted.astype(float), known.groups)
        bound = part.lower(spec.confidence)
        if bound < floor:
            break
        found = {"at": at, "proven": True, "bound": bound, "value": part.value}
    return {**found, **spec.model_dump(exclude_none=True), "n": int(counted.sum())}


def scores(name: str, judged: Judged, temperature: float) -> Floats:
    """How much each text looks in scope, float[N]."""
    rows = [(tempered(made.probabilities["/label"], temperature), beside) for made, beside in judged]
    return np.array([score_of(name, odds, beside) for odds, beside in rows])


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
    task: Labelled, point: Point, test: Outcome, inside: Judged, outside: Mapping[str, Judged]
) -> dict[str, JSON]:
    """What a point changes on the test part: log-loss and calibration error before and after, and scope by file.

    inside, outside: the test part and files of texts out of scope, as the predictor without the point judges them.
    """
    before, after = (_calibrated(task, test, temperature) for temperature in (1 / point.temperature, 1.0))
    found: dict[str, Any] = {"before": before, "after": after, "out_of_scope": {}}
    if point.score is None:
        return found
    own = scores(point.score, inside, point.temperature)
    for name, judged in outside.items():
        theirs = scores(point.score, judged, point.temperature)
        about = {"n": len(theirs), "auroc": auroc(own, theirs), "fpr_at_95_tpr": false_at(own, theirs)}
        found["out_of_scope"][name] = {**about, "recall": float((theirs < point.least).mean())}
    return {**found, "abstained": float((own < point.least).mean())}


def _calibrated(task: Labelled, test: Outcome, temperature: float) -> dict[str, float]:
    """Log-loss, and calibration error of the likeliest label with its chance level."""
    rows = [tempered(made.probabilities["/label"], temperature) for made in test.predictions]
    expected = [task.label_of(example.answer) for example in test.examples]
    loss = np.mean([log_loss(row[label]) for row, label in zip(rows, expected, strict=True)])
    answers = [task.from_odds(e.input, row) for e, row in zip(test.examples, rows, strict=True)]
    marks = [task.mark(e, answer) for e, answer in zip(test.examples, answers, strict=True)]
    known = confidences(Outcome(test.examples, answers, marks))
    if known is None:
        return {"log_loss": float(loss)}
    chance, _ = chance_level(known)
    return {"log_loss": float(loss), "ece": calibration_error(known), "ece_by_chance": chance}

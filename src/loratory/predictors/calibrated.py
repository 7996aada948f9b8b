"""A classifier at its operating point: probabilities scaled, labels by threshold, and no answer out of scope.

Shapes: N texts, L labels. What is proven of a point (`evaluation.thresholds`) is counted by the functions that answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from loratory.artifacts.manifests import PREDICTOR_FILE
from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.discovery import load_named
from loratory.protocols import (
    JSON,
    BackbonePool,
    InferencePlan,
    Input,
    Labelled,
    OodScorer,
    ParameterCount,
    Plannable,
    Prediction,
    Predictor,
    RequestRunner,
    Scores,
    Task,
    require_labelled,
)
from loratory.protocols.probabilities import build_probabilities

OPERATING_POINT_FILE = "operating.json"
MIN_PROBABILITY = 1e-30  # probability: the log of nothing is not a number
MAX_PROBABILITY = 1 - 1e-15  # probability: nor are the odds of certainty
PROBABILITY_SCORES = ("confidence", "margin", "entropy")  # scores of scope that need probabilities alone
NO_LABEL = -1  # where a label's place would stand: no answer
Probabilities = Mapping[str, float]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OperatingPoint:
    """Where a classifier works."""

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)  # label -> the least probability that answers it
    score: str | None = None  # what tells texts in scope from others
    least: float = -math.inf  # score below which no answer is given
    rule: Literal["odds", "share"] = (
        "odds"  # what decides between labels that reach their thresholds: see `choose_labels`
    )

    @classmethod
    def load(cls, source: Path | VerifiedFiles) -> Self:
        """What `CalibratedPredictor.save` wrote; a file that names no rule answers as before there was one."""
        return cls.from_dict(open_files(source).read_json(OPERATING_POINT_FILE))

    @classmethod
    def from_dict(cls, facts: Mapping[str, JSON]) -> Self:
        """What `to_dict` made."""
        least = -math.inf if facts["least"] is None else facts["least"]
        return cls(**{"rule": "share", **facts, "least": least})

    def to_dict(self) -> dict[str, JSON]:
        """As JSON has it: `least` is None where nothing is abstained from, since JSON has no infinity."""
        return {**asdict(self), "least": self.least if math.isfinite(self.least) else None}


@dataclass(frozen=True)
class CalibratedPredictor:
    """A predictor of labels, and where it works. What the predictor itself abstains from stays without an answer."""

    predictor: Predictor
    point: OperatingPoint

    @cached_property
    def task(self) -> Labelled:
        """The predictor's; raises UnsupportedTask where it is none of labels."""
        return require_labelled(self.predictor.task)

    def with_predictor(self, predictor: Predictor) -> CalibratedPredictor:
        """The same operating point around another predictor of the task."""
        return replace(self, predictor=predictor)

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        if self.point.score in (None, *PROBABILITY_SCORES):
            made: Any = [(one, {}) for one in self.predictor.predict(inputs, run)]
        else:
            made = predict_with_ood_scores(self.predictor, inputs, run)
        return [self._apply_point(input, *one) for input, one in zip(inputs, made, strict=True)]

    def plan(self, inputs: Sequence[Input]) -> InferencePlan | None:
        """What the predictor asks for, where it asks once and knows the score."""
        inner = self.predictor.plan(inputs) if isinstance(self.predictor, Plannable) else None
        plain = self.point.score in (None, *PROBABILITY_SCORES)
        if inner is None or not (plain or inner.score_ood):
            return None
        asked = inner

        def read(outputs: Sequence[Any]) -> list[Prediction]:
            beside: Sequence[Scores] = [{}] * len(inputs)
            if not plain and asked.score_ood:
                beside = asked.score_ood(outputs)
            made = zip(inputs, asked.read_outputs(outputs), beside, strict=True)
            return [self._apply_point(*one) for one in made]

        return InferencePlan(asked.requests, read)

    def _apply_point(self, input: Input, prediction: Prediction, ood_scores: Scores) -> Prediction:
        if prediction.answer is None:
            return prediction
        odds = scale_probabilities(prediction.probabilities["/label"], self.point.temperature)
        labels, shares = tuple(odds), np.array([list(odds.values())], dtype=np.float64)
        (place,) = choose_labels(
            self.point, labels, shares, score_in_scope(self.point.score, shares, [ood_scores])
        ).tolist()
        if place == NO_LABEL:
            return Prediction(None, {"/label": odds}, reason="abstained", raw=prediction.raw)
        picked = self.task.from_probabilities(input, {labels[place]: 1.0})
        return Prediction(picked.answer, {"/label": odds}, raw=prediction.raw)

    def count_parameters(self) -> ParameterCount:
        return self.predictor.count_parameters()

    def save(self, folder: Path) -> None:
        """The point alone; the predictor's own files lie beside it."""
        (folder / OPERATING_POINT_FILE).write_text(
            json.dumps(self.point.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        files = open_files(source)
        kind = files.read_json(PREDICTOR_FILE)["predictor"]
        inner: Predictor = load_named("predictors", kind).load(files, task, backbones)
        return cls(inner, OperatingPoint.load(files))


def predict_with_ood_scores(
    predictor: Predictor, inputs: Sequence[Input], run: RequestRunner
) -> list[tuple[Prediction, Scores]]:
    """Predictions, and what the predictor knows of an input beside its answer."""
    if isinstance(predictor, OodScorer):
        return predictor.predict_with_ood_scores(inputs, run)
    return [(made, {}) for made in predictor.predict(inputs, run)]


def scale_probabilities(probabilities: Probabilities, temperature: float) -> Probabilities:
    """`apply_temperature` for one text."""
    scaled = apply_temperature(np.array([list(probabilities.values())], dtype=np.float64), temperature)
    return build_probabilities(tuple(probabilities), scaled)[0]


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities float[N, L] with their logarithms divided by the temperature (Guo et al. 2017), summing to 1."""
    if temperature == 1.0:
        return probabilities
    logs = np.log(np.maximum(probabilities, MIN_PROBABILITY)) / temperature
    parts = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(parts / parts.sum(axis=1, keepdims=True))


def score_in_scope(name: str | None, probabilities: Floats, ood_scores: Sequence[Scores]) -> Floats:
    """How much each text looks as if it were in scope, by one of the scores, float[N]; higher is more.

    beside: what the predictor knows of each text beside its probabilities. Raises KeyError where it lacks the score.
    """
    if name is None:
        return np.zeros(len(probabilities))
    if name not in PROBABILITY_SCORES:
        return np.array([known[name] for known in ood_scores], dtype=np.float64)
    if name == "entropy":
        return np.asarray((probabilities * np.log(np.maximum(probabilities, MIN_PROBABILITY))).sum(axis=1))
    best = probabilities.max(axis=1)
    if name == "confidence" or probabilities.shape[1] < 2:
        return np.asarray(best)
    return np.asarray(best - np.partition(probabilities, -2, axis=1)[:, -2])


def choose_labels(point: OperatingPoint, labels: Sequence[str], probabilities: Floats, scores: Floats) -> Integers:
    """The place among `labels` of the label that is served for each text, int[N]; NONE where no answer is given.

    shares: float[N, L], tempered. scores: float[N], of scope. No answer below the point's least score. Else, of the
    labels that reach their threshold, the one whose odds are the most times the odds of its threshold; where none does,
    the likeliest of the labels without a threshold. By the rule "share" it is the likeliest that reaches its threshold.
    """
    limits = np.array([point.thresholds.get(label, math.nan) for label in labels])
    own = ~np.isnan(limits)
    picked = np.full(len(probabilities), NO_LABEL, dtype=np.int64)
    if not own.all():
        picked = np.where(own, -1.0, probabilities).argmax(axis=1)
    if own.any():
        places = np.flatnonzero(own)
        mine, least = probabilities[:, places], limits[places]
        lead = np.where(mine >= least, compute_odds_ratio(mine, least) if point.rule == "odds" else mine, -1.0)
        best = lead.argmax(axis=1)
        picked = np.where(lead.max(axis=1) >= 0, places[best], picked)
    return np.where(scores < point.least, NO_LABEL, picked)


def compute_odds_ratio(probabilities: Floats, limits: Floats) -> Floats:
    """How many times the odds of its limit a probability's odds are, by products alone: the same on any processor."""
    probabilities, limits = (
        np.clip(probabilities, MIN_PROBABILITY, MAX_PROBABILITY),
        np.clip(limits, MIN_PROBABILITY, MAX_PROBABILITY),
    )
    return np.asarray(probabilities * (1 - limits) / ((1 - probabilities) * limits))

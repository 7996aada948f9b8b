"""A classifier at its operating point: probabilities scaled, labels by threshold, and no answer out of scope."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from loratory.discovery import find
from loratory.protocols import Asked, Input, Judge, Prediction, Predictor, Run, Size, Staged, Trunks

FILE = "operating.json"
LEAST = 1e-30  # probability: the log of nothing is not a number
PLAIN = ("confidence", "margin", "entropy")  # scores of scope that need probabilities alone
Odds = Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """Where a classifier works."""

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)  # label -> the least probability that answers it
    score: str | None = None  # what tells texts in scope from others
    least: float = -math.inf  # score below which no answer is given

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `Operated.save` wrote."""
        facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(**{**facts, "least": -math.inf if facts["least"] is None else facts["least"]})


@dataclass(frozen=True)
class Operated:
    """A predictor of labels, and where it works. What the predictor itself abstains from stays without an answer."""

    predictor: Predictor
    point: Point

    @property
    def task(self) -> Any:
        return self.predictor.task

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        if self.point.score in (None, *PLAIN):
            made: Any = [(one, {}) for one in self.predictor.predict(inputs, run)]
        else:
            made = judged(self.predictor, inputs, run)
        return [self._answer(input, *one) for input, one in zip(inputs, made, strict=True)]

    def ask(self, inputs: Sequence[Input]) -> Asked | None:
        """What the predictor asks for, where it asks once and knows the score."""
        inner = self.predictor.ask(inputs) if isinstance(self.predictor, Staged) else None
        plain = self.point.score in (None, *PLAIN)
        if inner is None or not (plain or inner.judge):
            return None
        asked = inner

        def read(outputs: Sequence[Any]) -> list[Prediction]:
            beside: Sequence[Mapping[str, float]] = [{}] * len(inputs)
            if not plain and asked.judge:
                beside = asked.judge(outputs)
            made = zip(inputs, asked.read(outputs), beside, strict=True)
            return [self._answer(*one) for one in made]

        return Asked(asked.requests, read)

    def _answer(self, input: Input, made: Prediction, beside: Mapping[str, float]) -> Prediction:
        if made.answer is None:
            return made
        odds = tempered(made.probabilities["/label"], self.point.temperature)
        if self.point.score and score_of(self.point.score, odds, beside) < self.point.least:
            return Prediction(None, {"/label": odds}, why="abstained", raw=made.raw)
        label = chosen(odds, self.point.thresholds)
        if label is None:
            return Prediction(None, {"/label": odds}, why="abstained", raw=made.raw)
        picked = self.task.from_odds(input, {label: 1.0})
        return Prediction(picked.answer, {"/label": odds}, raw=made.raw)

    def size(self) -> Size:
        return self.predictor.size()

    def save(self, folder: Path) -> None:
        """The point alone; the predictor's own files lie beside it."""
        point = {**asdict(self.point), "least": self.point.least if self.point.score else None}
        (folder / FILE).write_text(json.dumps(point, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Any, trunks: Trunks) -> Self:
        kind = json.loads((folder / "predictor.json").read_text(encoding="utf-8"))["predictor"]
        inner: Predictor = find("predictors", kind).load(folder, task, trunks)
        return cls(inner, Point.read(folder))


def judged(predictor: Predictor, inputs: Sequence[Input], run: Run) -> list[tuple[Prediction, Mapping[str, float]]]:
    """Predictions, and what the predictor knows of an input beside its answer."""
    if isinstance(predictor, Judge):
        return predictor.judged(inputs, run)
    return [(made, {}) for made in predictor.predict(inputs, run)]


def tempered(odds: Odds, temperature: float) -> dict[str, float]:
    """Probabilities with their logarithms divided by the temperature (Guo et al. 2017), summing to 1."""
    if temperature == 1.0:
        return dict(odds)
    logs = {label: math.log(max(share, LEAST)) / temperature for label, share in odds.items()}
    most = max(logs.values())
    parts = {label: math.exp(log - most) for label, log in logs.items()}
    total = sum(parts.values())
    return {label: part / total for label, part in parts.items()}


def chosen(odds: Odds, thresholds: Mapping[str, float]) -> str | None:
    """The likeliest of the labels that reach their threshold; else the likeliest of those without one, or None."""
    for labels in (
        [label for label in odds if label in thresholds and odds[label] >= thresholds[label]],
        [label for label in odds if label not in thresholds],
    ):
        if labels:
            return max(labels, key=odds.__getitem__)
    return None


def score_of(name: str, odds: Odds, beside: Mapping[str, float]) -> float:
    """How much a text looks as if it were in scope, by one of the scores; higher is more. Raises KeyError."""
    if name not in PLAIN:
        return beside[name]
    ranked = sorted(odds.values(), reverse=True)
    if name == "margin":
        return ranked[0] - (ranked[1] if len(ranked) > 1 else 0.0)
    if name == "entropy":
        return sum(share * math.log(max(share, LEAST)) for share in ranked)
    return ranked[0]

"""A classifier at its operating point: probabilities scaled, labels by threshold, and no answer out of scope.

Shapes: N texts, L labels. What is proven of a point (`evaluation.thresholds`) is counted by the functions that answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from loratory.artifacts.contents import Files, files_of
from loratory.discovery import find
from loratory.protocols import Asked, Input, Judge, Prediction, Predictor, Run, Scores, Size, Staged, Trunks

FILE = "operating.json"
LEAST = 1e-30  # probability: the log of nothing is not a number
MOST = 1 - 1e-15  # probability: nor are the odds of certainty
PLAIN = ("confidence", "margin", "entropy")  # scores of scope that need probabilities alone
NONE = -1  # where a label's place would stand: no answer
Odds = Mapping[str, float]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Point:
    """Where a classifier works."""

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)  # label -> the least probability that answers it
    score: str | None = None  # what tells texts in scope from others
    least: float = -math.inf  # score below which no answer is given
    rule: Literal["odds", "share"] = "odds"  # what decides between labels that reach their thresholds: see `choose`

    @classmethod
    def read(cls, source: Path | Files) -> Self:
        """What `Operated.save` wrote. A file that names no rule is older than the rule, and answers as it did then."""
        facts = files_of(source).json(FILE)
        least = -math.inf if facts["least"] is None else facts["least"]
        return cls(**{"rule": "share", **facts, "least": least})


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
            beside: Sequence[Scores] = [{}] * len(inputs)
            if not plain and asked.judge:
                beside = asked.judge(outputs)
            made = zip(inputs, asked.read(outputs), beside, strict=True)
            return [self._answer(*one) for one in made]

        return Asked(asked.requests, read)

    def _answer(self, input: Input, made: Prediction, beside: Scores) -> Prediction:
        if made.answer is None:
            return made
        odds = tempered(made.probabilities["/label"], self.point.temperature)
        labels, shares = tuple(odds), np.array([list(odds.values())])
        (place,) = choose(self.point, labels, shares, scope(self.point.score, shares, [beside])).tolist()
        if place == NONE:
            return Prediction(None, {"/label": odds}, why="abstained", raw=made.raw)
        picked = self.task.from_odds(input, {labels[place]: 1.0})
        return Prediction(picked.answer, {"/label": odds}, raw=made.raw)

    def size(self) -> Size:
        return self.predictor.size()

    def save(self, folder: Path) -> None:
        """The point alone; the predictor's own files lie beside it."""
        point = {**asdict(self.point), "least": self.point.least if self.point.score else None}
        (folder / FILE).write_text(json.dumps(point, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, source: Path | Files, task: Any, trunks: Trunks) -> Self:
        files = files_of(source)
        kind = files.json("predictor.json")["predictor"]
        inner: Predictor = find("predictors", kind).load(files, task, trunks)
        return cls(inner, Point.read(files))


def judged(predictor: Predictor, inputs: Sequence[Input], run: Run) -> list[tuple[Prediction, Scores]]:
    """Predictions, and what the predictor knows of an input beside its answer."""
    if isinstance(predictor, Judge):
        return predictor.judged(inputs, run)
    return [(made, {}) for made in predictor.predict(inputs, run)]


def tempered(odds: Odds, temperature: float) -> dict[str, float]:
    """`temper` for one text."""
    return dict(zip(odds, temper(np.array([list(odds.values())]), temperature)[0].tolist(), strict=True))


def temper(shares: Floats, temperature: float) -> Floats:
    """Probabilities float[N, L] with their logarithms divided by the temperature (Guo et al. 2017), summing to 1."""
    if temperature == 1.0:
        return shares
    logs = np.log(np.maximum(shares, LEAST)) / temperature
    parts = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(parts / parts.sum(axis=1, keepdims=True))


def scope(name: str | None, shares: Floats, beside: Sequence[Scores]) -> Floats:
    """How much each text looks as if it were in scope, by one of the scores, float[N]; higher is more.

    beside: what the predictor knows of each text beside its probabilities. Raises KeyError where it lacks the score.
    """
    if name is None:
        return np.zeros(len(shares))
    if name not in PLAIN:
        return np.array([known[name] for known in beside], dtype=np.float64)
    if name == "entropy":
        return np.asarray((shares * np.log(np.maximum(shares, LEAST))).sum(axis=1))
    best = shares.max(axis=1)
    if name == "confidence" or shares.shape[1] < 2:
        return np.asarray(best)
    return np.asarray(best - np.partition(shares, -2, axis=1)[:, -2])


def choose(point: Point, labels: Sequence[str], shares: Floats, scores: Floats) -> Integers:
    """The place among `labels` of the label that is served for each text, int[N]; NONE where no answer is given.

    shares: float[N, L], tempered. scores: float[N], of scope. No answer below the point's least score. Else, of the
    labels that reach their threshold, the one whose odds are the most times the odds of its threshold; where none does,
    the likeliest of the labels without a threshold. By the rule "share" it is the likeliest that reaches its threshold.
    """
    limits = np.array([point.thresholds.get(label, math.nan) for label in labels])
    own = ~np.isnan(limits)
    picked = np.full(len(shares), NONE, dtype=np.int64)
    if not own.all():
        picked = np.where(own, -1.0, shares).argmax(axis=1)
    if own.any():
        places = np.flatnonzero(own)
        mine, least = shares[:, places], limits[places]
        lead = np.where(mine >= least, over(mine, least) if point.rule == "odds" else mine, -1.0)
        best = lead.argmax(axis=1)
        picked = np.where(lead.max(axis=1) >= 0, places[best], picked)
    return np.where(scores < point.least, NONE, picked)


def over(shares: Floats, limits: Floats) -> Floats:
    """How many times the odds of its limit a probability's odds are, by products alone: the same on any processor."""
    shares, limits = np.clip(shares, LEAST, MOST), np.clip(limits, LEAST, MOST)
    return np.asarray(shares * (1 - limits) / ((1 - shares) * limits))

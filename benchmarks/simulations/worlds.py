"""Test sets drawn anew from populations whose scores are known, for contenders whose mistakes are alike.

An example is right where its hardness lies below what the contender can do. Hardness is normal; contenders share a part
of it, and of that examples of a group share a part. Shapes: N examples, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from scipy.special import ndtri

from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.statistics.comparison_set import ComparisonSet, build_comparison_set
from loratory.protocols import Counts, Example, ParameterCount, Prediction, ScoredPredictions, Task
from loratory.specs.evidence import EvidenceSpec
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

Floats = np.ndarray[Any, np.dtype[np.float64]]
TAG = Tag(labels=("X",))


@dataclass(frozen=True)
class Sizes:
    """Groups of a test set: how many examples each has, and how much of their hardness is shared."""

    each: Sequence[int]
    clumped: float = 0.0  # of what contenders share, the part that a group's examples have in common
    shared: float = 0.5  # of an example's hardness, which all contenders meet alike
    pure: bool = False  # whether a group's examples have one label

    @property
    def groups(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int[N]: the group of each example."""
        return np.repeat(np.arange(len(self.each)), self.each)

    def hardness(self, common: Floats, rng: np.random.Generator) -> Floats:
        """float[N]: what one contender meets."""
        return np.asarray(math.sqrt(self.shared) * common + math.sqrt(1 - self.shared) * rng.normal(size=len(common)))

    def common(self, rng: np.random.Generator) -> Floats:
        """float[N]: hardness that all contenders meet alike."""
        groups = self.groups
        own = math.sqrt(1 - self.clumped) * rng.normal(size=len(groups))
        return np.asarray(math.sqrt(self.clumped) * rng.normal(size=len(self.each))[groups] + own)


def alone(n: int) -> Sizes:
    """Every example is a group of its own."""
    return Sizes((1,) * n)


@dataclass(frozen=True)
class LabelWorld:
    """Texts of one label each. A wrong answer is another label, drawn by its share."""

    shares: Sequence[float]
    recalls: Sequence[Sequence[float]]  # of each contender, of each label
    sizes: Sizes
    headline: str = "macro_f1"
    validations: Sequence[float] = field(default_factory=tuple)  # who looks how good there; left out: in order

    @property
    def task(self) -> Classify:
        return Classify(labels=tuple(f"l{i}" for i in range(len(self.shares))), headline=self.headline)

    def truth(self, contender: int) -> float:
        """The headline over the whole population."""
        shares, recall = _normalise_shares(self.shares), np.asarray(self.recalls[contender])
        if self.headline == "accuracy":
            return float(shares @ recall)
        tp, fn = shares * recall, shares * (1 - recall)
        fp = (fn / (1 - shares)) @ _others(shares)
        return float((2 * tp / (2 * tp + fp + fn)).mean())

    def draw(self, seed: int, evidence: EvidenceSpec) -> ComparisonSet:
        """One test set, answered by every contender."""
        rng, shares, groups = np.random.default_rng((1, seed)), _normalise_shares(self.shares), self.sizes.groups
        of_group = rng.choice(len(shares), len(self.sizes.each), p=shares)
        labels = of_group[groups] if self.sizes.pure else rng.choice(len(shares), len(groups), p=shares)
        common = self.sizes.common(rng)
        answers = []
        for recall in self.recalls:
            right = self.sizes.hardness(common, rng) < ndtri(np.asarray(recall))[labels]
            answers.append(np.where(right, labels, _wrong(shares, labels, rng)))
        names = self.task.labels or ()
        examples = _examples(groups, self.sizes, [{"label": names[label]} for label in labels])
        made = [[_label_mark(names[a], names[b]) for a, b in zip(labels, one, strict=True)] for one in answers]
        return _contest(self.task, examples, made, self.validations, evidence)


@dataclass(frozen=True)
class SpanWorld:
    """Texts with up to three spans of one label; some are missed, and some texts hold one that is made up."""

    recalls: Sequence[float]
    spurious: Sequence[float]  # share of texts
    sizes: Sizes
    spans: Sequence[float] = (0.3, 0.4, 0.2, 0.1)  # share of texts that hold 0, 1, 2, 3
    validations: Sequence[float] = field(default_factory=tuple)

    @property
    def task(self) -> Tag:
        return TAG

    def truth(self, contender: int) -> float:
        """Strict F1 over the whole population."""
        there = float(np.arange(len(self.spans)) @ np.asarray(self.spans))
        right, made_up = there * self.recalls[contender], self.spurious[contender]
        return 2 * right / (right + made_up + there)

    def draw(self, seed: int, evidence: EvidenceSpec) -> ComparisonSet:
        """One test set, answered by every contender; a text's spans are as hard as the text."""
        rng, groups = np.random.default_rng((1, seed)), self.sizes.groups
        there = rng.choice(len(self.spans), len(groups), p=self.spans)
        common, most = self.sizes.common(rng), len(self.spans) - 1
        made = []
        for recall, spurious in zip(self.recalls, self.spurious, strict=True):
            found = np.zeros(len(groups), dtype=int)
            for number in range(most):
                own = (common + rng.normal(size=len(groups))) / math.sqrt(2)
                found += (self.sizes.hardness(own, rng) < ndtri(recall)) & (there > number)
            made_up = rng.random(len(groups)) < spurious
            rows = zip(there.tolist(), found.tolist(), made_up.tolist(), strict=True)
            made.append([_span_mark(*row) for row in rows])
        examples = _examples(groups, self.sizes, [_spans(range(k)) for k in there])
        return _contest(self.task, examples, made, self.validations, evidence)


def _normalise_shares(shares: Sequence[float]) -> Floats:
    found: Floats = np.asarray(shares, dtype=float)
    return np.asarray(found / found.sum())


def _others(shares: Floats) -> Floats:
    """float[L, L]: unnormed share of each other label among the wrong answers of a label."""
    return np.asarray(np.tile(shares, (len(shares), 1)) * (1 - np.eye(len(shares))))


def _wrong(shares: Floats, labels: Any, rng: np.random.Generator) -> Any:
    steps = _others(shares)[labels].cumsum(axis=1)
    drawn = rng.random(len(labels)) * steps[:, -1]
    return np.argmax(steps > drawn[:, None], axis=1)


@cache
def _label_mark(expected: str, said: str) -> tuple[Prediction, Counts]:
    answer = Prediction({"label": said})
    return answer, Classify().score_example(Example({}, {"label": expected}), answer)


def _spans(places: Any) -> Any:
    return TAG.from_spans("word " * 8, [(5 * place, 5 * place + 4, "X") for place in places])


@cache
def _span_mark(there: int, found: int, made_up: bool) -> tuple[Prediction, Counts]:
    answer = Prediction(_spans([*range(found), *([6] if made_up else [])]))
    return answer, TAG.score_example(Example({"text": "word " * 8}, _spans(range(there))), answer)


def _examples(groups: Any, sizes: Sizes, answers: Sequence[Any]) -> list[Example]:
    single = max(sizes.each) == 1
    return [
        Example({"text": "word " * 8}, answer, "" if single else f"g{group}", origin=str(row))
        for row, (group, answer) in enumerate(zip(groups.tolist(), answers, strict=True))
    ]


def _contest(
    task: Task, examples: Sequence[Example], made: Any, validations: Sequence[float], evidence: EvidenceSpec
) -> ComparisonSet:
    looks = list(validations) or [place / len(made) for place in range(len(made))]
    rows = []
    for place, (answers, look) in enumerate(zip(made, looks, strict=True)):
        predictions, marks = zip(*answers, strict=True)
        test, validation = (
            ScoredPredictions(examples, predictions, marks),
            ScoredPredictions([], [], [_looks(task, look)]),
        )
        rows.append(
            ContenderResult(
                f"c{place}", "made", None, False, (Fit(0, validation, test, 0.0),), 0, ParameterCount(0, 0), 0, {}
            )
        )
    return build_comparison_set(task, rows, evidence)


def _looks(task: Task, share: float) -> Counts:
    """Marks of a validation part whose headline rises with `share`."""
    marks = {"n": 1.0, "reward": share, "tp/l0": share, "fn/l0": 1 - share}
    return {**marks, "strict/correct": share, "strict/missed": 1 - share}

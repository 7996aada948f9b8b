"""`majority`: the commonest answer of train, always. Every ladder has it: it shows whether anything was learnt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from loratory.predictors.constant import Constant
from loratory.protocols import (
    Answer,
    Example,
    FitContext,
    Labelled,
    Optioned,
    RegimeOptions,
    Start,
    StartKind,
    Task,
    TrainSet,
)
from loratory.regimes.compatibility import check_support


class Majority(RegimeOptions):
    """Ignores the text and predicts the most common answer of the training split, with label shares as probabilities. A
    generated answer is a copy of one training answer.

    For inputs with options it picks the position that is right most often.
    """

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return check_support(
            "majority", task, start, self.starts, (object,)
        )  # whatever has answers has a commonest one

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "constant"

    def fit(self, task: Task, train_set: TrainSet, start: Start, context: FitContext) -> Constant:
        shares: dict[str, float] = {}
        if isinstance(task, Labelled):
            shares = compute_label_shares(task, train_set.train)
        elif isinstance(task, Optioned):
            shares = compute_place_shares(task, train_set.train)
        return Constant(task, find_commonest_answer(train_set.train), shares)


def find_commonest_answer(examples: Sequence[Example]) -> Answer:
    """The answer that most examples have; of equally common ones the first in the order of their JSON."""
    counts = Counter(json.dumps(one.answer, sort_keys=True, ensure_ascii=False) for one in examples)
    return json.loads(min(counts, key=lambda text: (-counts[text], text)))


def compute_place_shares(task: Optioned, examples: Sequence[Example]) -> dict[str, float]:
    """Place among the options, "0" the first -> the share of the examples whose answer stands there, smoothed so."""
    longest = max(len(task.options(one.input)) for one in examples)
    counts = Counter(task.options(one.input).index(task.option_of(one.answer)) for one in examples)
    total = len(examples) + 0.5 * longest
    return {str(place): (counts[place] + 0.5) / total for place in range(longest)}


def compute_label_shares(task: Labelled, examples: Sequence[Example]) -> dict[str, float]:
    """Label -> its share of the examples, with half an example of each label more (Krichevsky and Trofimov 1981)."""
    labels = task.labels or ()
    counts = Counter(task.label_of(one.answer) for one in examples)
    total = len(examples) + 0.5 * len(labels)
    return {label: (counts[label] + 0.5) / total for label in labels}

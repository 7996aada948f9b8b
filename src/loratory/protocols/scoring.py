"""What follows from the protocols, for every task and predictor alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loratory.errors import ExtensionError, blame_extension
from loratory.protocols.predictors import Predictor
from loratory.protocols.requests import RequestRunner
from loratory.protocols.values import Counts, Example, Prediction

MAX_OUTPUTS = 2**24  # numbers of the outputs that lie in memory at a time: 64 MiB of float32
MIN_ROWS = 256  # and the least rows at a time: batches by length need some to choose from


@dataclass(frozen=True)
class ScoredPredictions:
    """A predictor's answers to a set of examples, row by row: every figure comes from here."""

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    counts: Sequence[Counts]

    def sum_counts(self) -> Counts:
        """The marks of all rows in one, as `Task.summarise` takes them."""
        return sum_counts(self.counts)


def predict_and_score(predictor: Predictor, examples: Sequence[Example], run: RequestRunner) -> ScoredPredictions:
    """Predict every example and mark it."""
    with blame_extension(f"the predictor {type(predictor).__name__}", predictor):
        inputs, rows = [example.input for example in examples], _count_rows_at_a_time(predictor)
        parts = [inputs[start : start + rows] for start in range(0, len(inputs), rows)] or [inputs]
        predictions = [made for part in parts for made in predictor.predict(part, run)]
    if len(predictions) != len(examples):
        raise ExtensionError(
            f"{type(predictor).__name__} gave {len(predictions)} predictions for {len(examples)} inputs",
            where=f"module {type(predictor).__module__}",
            allowed="one prediction for each input, in order",
        )
    marks = [predictor.task.score_example(e, p) for e, p in zip(examples, predictions, strict=True)]
    return ScoredPredictions(examples, predictions, marks)


def _count_rows_at_a_time(predictor: Predictor) -> int:
    """How many inputs are predicted at a time: the outputs for very many labels must not all lie in memory."""
    labels = getattr(predictor.task, "labels", None) or ()
    return max(MIN_ROWS, MAX_OUTPUTS // max(len(labels), 1))


def sum_counts(counts: Iterable[Counts]) -> Counts:
    """The sum of marks over examples."""
    sums: dict[str, float] = {}
    for one in counts:
        for key, value in one.items():
            sums[key] = sums.get(key, 0.0) + value
    return sums

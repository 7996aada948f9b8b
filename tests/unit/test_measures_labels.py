"""The log-loss of answers, against scikit-learn's own."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import log_loss as theirs

from loratory.evaluation.statistics import operating_point_fitting
from loratory.measures import classification_metrics
from loratory.predictors.calibrated import OperatingPoint
from loratory.protocols import Example, Prediction, ScoredPredictions, sum_counts
from loratory.tasks.classify import Classify

NAMES = ("a", "b", "c")
TASK = Classify(labels=NAMES)


def draw_probabilities(kind: str, dtype: type[np.floating]) -> np.ndarray:
    """float[40, 3]; some rows with a probability of 0 for the expected label, of 1, or close to either."""
    chance = np.random.default_rng(6)
    made = chance.dirichlet((0.3, 0.3, 0.3), 40).astype(dtype)
    if kind == "certain":
        made = np.eye(3, dtype=dtype)[chance.integers(0, 3, 40)]
    if kind == "nearly":
        made = np.eye(3, dtype=dtype)[chance.integers(0, 3, 40)] * dtype(1 - 1e-9) + dtype(1e-300)
    return made


@pytest.mark.parametrize("kind", ["spread", "certain", "nearly"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_log_loss_is_that_of_scikit_learn(kind: str, dtype: type[np.floating]) -> None:
    rows = draw_probabilities(kind, dtype)
    expected = [NAMES[n % 3] for n in range(len(rows))]
    given = [dict(zip(NAMES, row.tolist(), strict=True)) for row in rows]  # floats of Python: of 64 bits
    marks = [
        classification_metrics.count_outcomes(label, label, row) for label, row in zip(expected, given, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float32 rows of 64 bits sum to 1 nearly
        truth = theirs(expected, rows.astype(np.float64), labels=NAMES)
    assert classification_metrics.compute_scores(sum_counts(marks), NAMES)["log_loss"] == pytest.approx(
        truth, rel=1e-12
    )


def test_an_answer_that_was_held_impossible_costs_36_nats_and_a_sure_one_nothing() -> None:
    assert (
        classification_metrics.log_loss(0.0) == classification_metrics.log_loss(1e-30) == pytest.approx(36.04, abs=0.01)
    )
    assert 0 < classification_metrics.log_loss(1.0) < 1e-15


def test_an_operating_point_is_weighed_by_the_same_log_loss() -> None:
    rows = [{"a": 0.0, "b": 1.0, "c": 0.0}, {"a": 0.0, "b": 0.2, "c": 0.8}]
    examples = [Example({"text": "t"}, {"label": label}) for label in ("a", "c")]
    answers = [Prediction({"label": "b"}, {"/label": row}) for row in rows]
    test = ScoredPredictions(
        examples, answers, [TASK.score_example(e, p) for e, p in zip(examples, answers, strict=True)]
    )
    found = operating_point_fitting.measure_operating_point(TASK, OperatingPoint(), test, [], {}, {})
    truth = theirs(["a", "c"], [list(row.values()) for row in rows], labels=NAMES)
    after: object = found["after"]["log_loss"]
    assert after == pytest.approx(truth, rel=1e-12)
    assert after == pytest.approx(TASK.summarise(test.sum_counts())["log_loss"])

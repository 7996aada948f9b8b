"""Probabilities of very many labels: packed in four bytes each, they read as the dict does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from loratory.backbones.forward.execution import run_locally
from loratory.evaluation.prediction_rows import MAX_WRITTEN_LABELS, read_predictions, write_predictions
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.constant import Constant
from loratory.protocols import Example, Input, Prediction, RequestRunner, probabilities, scoring
from loratory.protocols.probabilities import (
    MAX_DICT_LABELS,
    PackedProbabilities,
    build_probabilities,
    find_likeliest,
    keep_likeliest,
    pack_probabilities,
)
from loratory.protocols.scoring import predict_and_score
from loratory.tasks.classify import Classify

MANY_LABELS = tuple(f"label {i}" for i in range(MAX_DICT_LABELS + 1))


def make_rows(labels: int, count: int = 5) -> np.ndarray:
    rows = np.random.default_rng(3).random((count, labels)) ** 8
    return np.asarray(rows / rows.sum(1, keepdims=True))


def test_up_to_the_limit_they_are_dicts_of_the_same_numbers() -> None:
    labels, rows = MANY_LABELS[:-1], make_rows(MAX_DICT_LABELS)
    assert build_probabilities(labels, rows) == [dict(zip(labels, row.tolist(), strict=True)) for row in rows]


def test_above_the_limit_they_read_as_dicts() -> None:
    rows = make_rows(len(MANY_LABELS))
    for packed, row in zip(build_probabilities(MANY_LABELS, rows), rows, strict=True):
        assert isinstance(packed, PackedProbabilities)
        plain = dict(zip(MANY_LABELS, row.tolist(), strict=True))
        assert dict(packed) == pytest.approx(plain, rel=1e-6)
        assert list(packed.values()) == list(dict(packed).values())
        assert find_likeliest(packed) == find_likeliest(plain) == max(plain, key=plain.__getitem__)
        assert packed.get("none of them", 0.5) == 0.5
        assert Prediction({}, {"/label": packed}).confidence == pytest.approx(max(plain.values()))
        assert pack_probabilities(plain) == packed


def test_of_equal_ones_the_first_is_likeliest() -> None:
    (packed,) = build_probabilities(MANY_LABELS, np.full((1, len(MANY_LABELS)), 1 / len(MANY_LABELS)))
    assert find_likeliest(packed) == MANY_LABELS[0]


def test_the_likeliest_are_kept() -> None:
    (packed,) = build_probabilities(MANY_LABELS, make_rows(len(MANY_LABELS), 1))
    kept = keep_likeliest(packed, 10)
    assert list(kept.values()) == sorted(packed.values(), reverse=True)[:10]
    assert keep_likeliest({"a": 0.25, "b": 0.75}, 1) == {"a": 0.25, "b": 0.75}


def test_rows_on_disk_hold_the_likeliest_labels(tmp_path: Path) -> None:
    task = Classify(labels=MANY_LABELS)
    examples = [Example({"text": str(i)}, {"label": MANY_LABELS[i]}) for i in range(3)]
    constant = Constant(
        task, {"label": MANY_LABELS[1]}, dict(zip(MANY_LABELS, make_rows(len(MANY_LABELS), 1)[0].tolist(), strict=True))
    )
    made = predict_and_score(constant, examples, run_locally)
    write_predictions(tmp_path / "rows.parquet", made)
    again = read_predictions(tmp_path / "rows.parquet")
    assert [len(one.probabilities["/label"]) for one in again.predictions] == [MAX_WRITTEN_LABELS] * 3
    assert [one.confidence for one in again.predictions] == [one.confidence for one in made.predictions]
    assert again.counts == made.counts


def test_an_operating_point_reads_packed_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Classify(labels=MANY_LABELS)
    odds = dict(zip(MANY_LABELS, make_rows(len(MANY_LABELS), 1)[0].tolist(), strict=True))
    answers = []
    for most in (MAX_DICT_LABELS, 10**6):
        monkeypatch.setattr(probabilities, "MAX_DICT_LABELS", most)
        inner = Constant(task, {"label": MANY_LABELS[0]}, odds)
        point = OperatingPoint(temperature=0.5, thresholds={MANY_LABELS[3]: 0.0001})
        answers.append(CalibratedPredictor(inner, point).predict([{"text": "a"}], run_locally)[0])
    assert answers[0].answer == answers[1].answer
    assert dict(answers[0].probabilities["/label"]) == pytest.approx(answers[1].probabilities["/label"], rel=1e-5)


def test_inputs_are_predicted_in_parts_that_give_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MIN_ROWS", 2)
    monkeypatch.setattr(scoring, "MAX_OUTPUTS", 2 * len(MANY_LABELS))
    asked: list[int] = []

    class Counting(Constant):
        def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
            asked.append(len(inputs))
            return super().predict(inputs, run)

    odds = dict(zip(MANY_LABELS, make_rows(len(MANY_LABELS), 1)[0].tolist(), strict=True))
    examples = [Example({"text": str(i)}, {"label": MANY_LABELS[i]}) for i in range(5)]
    made = predict_and_score(
        Counting(Classify(labels=MANY_LABELS), {"label": MANY_LABELS[0]}, odds), examples, run_locally
    )
    assert asked == [2, 2, 1]
    assert len(made.predictions) == 5

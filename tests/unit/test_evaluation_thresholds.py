"""Thresholds that are proven for the answers as they are served: what is counted and said, and how often it holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulations.operating import CONTRARY, WORLDS_ASKED, World

from loratory.backbones.forward.execution import run_locally
from loratory.evaluation.ladder import format_operating_lines
from loratory.evaluation.statistics import operating_point_fitting
from loratory.evaluation.statistics.thresholds import ThresholdDirection, build_requirements, find_last_held
from loratory.experiment.steps.operating_points import _judge_known_examples
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.protocols import Example, Input, Prediction, RequestRunner
from loratory.specs.operating_point import AbstainSpec, OperatingSpec, ThresholdSpec
from loratory.tasks.classify import Classify

ABC = ("A", "B", "C")
TASK = Classify(labels=ABC)
HARD = [*CONTRARY, *(world for world in WORLDS_ASKED if world.keep and len(world.asked) == 2)]


@dataclass(frozen=True)
class Saying:
    """Says of a text the probabilities that the text holds; nothing where it holds none."""

    task: Any = TASK

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        return [self._say(input) for input in inputs]

    def _say(self, input: Input) -> Prediction:
        if not input["text"]:
            return Prediction(None, reason="failed")
        return TASK.from_probabilities(input, dict(zip(ABC, json.loads(str(input["text"])), strict=True)))


def texts(n: int, seed: int, signal: float = 2.5) -> tuple[list[Input], list[str]]:
    """Texts of three labels, some of which the predictor fails at."""
    generator = np.random.default_rng(seed)
    expected = generator.integers(0, 3, n)
    logits = generator.standard_normal((n, 3))
    logits[np.arange(n), expected] += signal
    parts = np.exp(2 * logits)
    rows = (parts / parts.sum(axis=1, keepdims=True)).tolist()
    said: list[Input] = [{"text": "" if i % 97 == 96 else json.dumps(row)} for i, row in enumerate(rows)]
    return said, [ABC[place] for place in expected.tolist()]


def known(inputs: Sequence[Input], labels: Sequence[str]) -> operating_point_fitting.ScoredPart:
    judged: operating_point_fitting.ScoredTexts = [(made, {}) for made in Saying().predict(inputs, run_locally)]
    return operating_point_fitting.ScoredPart(judged, labels, np.arange(len(labels)))


def asked(keep: float | None = None, **labels: ThresholdSpec) -> OperatingSpec:
    return OperatingSpec(thresholds=labels, abstain=AbstainSpec(keep=keep) if keep else None)


RECALL, BUDGET = ThresholdSpec(recall=0.8), ThresholdSpec(false_positives=0.1)


@pytest.mark.parametrize("world", HARD, ids=lambda world: world.name)
def test_what_is_called_proven_holds_as_it_is_served(world: World) -> None:
    missed = sum(world.missed(world.fit(number)) for number in range(24))
    assert missed <= 5  # of 24, where each may miss by 5 %: more has a chance of 1 in 1,000


@pytest.mark.parametrize(
    "spec",
    [asked(A=RECALL), asked(0.95, A=RECALL), asked(0.9, A=RECALL, B=BUDGET), asked(A=RECALL, B=RECALL, C=RECALL)],
    ids=["one", "abstaining", "mixed", "all"],
)
def test_what_is_counted_is_what_is_served(spec: OperatingSpec) -> None:
    inputs, labels = texts(600, 1)
    found = operating_point_fitting.fit_operating_point(spec, known(inputs, labels), known(*texts(600, 2)), [])
    made = CalibratedPredictor(Saying(), found.point).predict(inputs, run_locally)  # type: ignore[arg-type]
    given = np.array([one.answer["label"] if one.answer else "" for one in made])
    for label, about in found.facts["thresholds"].items():
        mine = np.array(labels) == label
        held = (given == label)[mine].mean() if "recall" in about else (given != label)[~mine].mean()
        assert about["value"] == pytest.approx(held)
        assert about["proven"]
        assert about["bound"] >= about.get("recall", 0.9)
        assert about["n"] == (mine.sum() if "recall" in about else (~mine).sum())


def test_where_every_label_has_a_floor_of_recall_every_text_is_answered() -> None:
    inputs, labels = texts(96, 3)
    found = operating_point_fitting.fit_operating_point(
        asked(A=RECALL, B=RECALL, C=RECALL), known(inputs, labels), known(inputs, labels), []
    )
    made = CalibratedPredictor(Saying(), found.point).predict(inputs, run_locally)  # type: ignore[arg-type]
    assert all(one.answer for one in made)


def test_what_is_not_proven_says_why_and_what_to_change() -> None:
    high = ThresholdSpec(recall=0.9)

    def why(spec: OperatingSpec, n: int, signal: float = 2.5) -> tuple[bool, str, list[str]]:
        found = operating_point_fitting.fit_operating_point(
            spec, known(*texts(n, 4, signal)), known(*texts(n, 5, signal)), []
        )
        about = found.facts["thresholds"]["A"]
        flat = {"log_loss": 1.0, "ece": 0.1, "ece_by_chance": 0.1}
        worth = {"before": flat, "after": flat, "out_of_scope": {}}
        one = {"name": "lora", "operating": worth, "facts": {"operating": found.facts}}
        return about["proven"], about["reason"] or "", format_operating_lines(one)

    assert why(asked(A=high), 600)[:2] == (True, "")
    proven, reason, said = why(asked(A=high), 45)
    assert not proven
    assert "with none wrong 29 are needed: give more calibration examples" in reason
    assert "NOT proven on" in said[1]
    assert reason in said[1]
    assert "abstention turns away" in why(asked(0.7, A=high), 600)[1]
    assert "raise abstain: keep" in why(asked(0.7, A=high), 600)[1]
    assert "too many of its texts go to B, C" in why(asked(A=high, B=high, C=high), 600, 1.0)[1]


def test_a_demand_that_cannot_be_proven_leaves_the_others_their_proof() -> None:
    inputs, labels = texts(600, 6)
    rare = [place for place, label in enumerate(labels) if label != "B"] + [labels.index("B")]
    part = known([inputs[i] for i in rare], [labels[i] for i in rare])
    found = operating_point_fitting.fit_operating_point(asked(A=RECALL, B=RECALL), part, part, []).facts["thresholds"]
    assert (found["A"]["proven"], found["B"]["proven"]) == (True, False)
    assert found["B"]["value"] == 1.0  # as at the safest place
    nothing = known([inputs[i] for i in rare[:-1]], [labels[i] for i in rare[:-1]])
    without = operating_point_fitting.fit_operating_point(asked(A=RECALL, B=RECALL), nothing, nothing, []).facts[
        "thresholds"
    ]
    assert (without["A"]["proven"], without["B"]["proven"], without["B"]["n"]) == (True, False, 0)


def test_a_predictor_that_never_answers_proves_nothing() -> None:
    silent = known([{"text": ""}] * 60, ["A", "B"] * 30)
    found = operating_point_fitting.fit_operating_point(asked(0.9, A=RECALL), silent, silent, [])
    about = found.facts["thresholds"]["A"]
    assert (about["proven"], about["value"], about["n"]) == (False, 0.0, 30)


def test_levels_are_shared_among_the_demands() -> None:
    (alone,) = build_requirements({"A": RECALL}, ABC)
    first, second = build_requirements({"A": RECALL, "B": ThresholdSpec(false_positives=0.1, confidence=0.9)}, ABC)
    assert (alone.bound_level, first.bound_level, second.bound_level) == pytest.approx((0.95, 0.975, 0.95))


def test_along_the_path_everything_that_is_asked_only_gets_worse() -> None:
    part = known(*texts(400, 7)).to_sample(ABC, 1.0, "confidence")
    demands = build_requirements({"A": RECALL, "B": BUDGET, "C": RECALL}, ABC)
    direction = ThresholdDirection(demands, np.array([-1.0, 0.5, 0.0]))
    values = []
    for step in np.linspace(-8, 8, 81):
        served = part.choose_labels(
            OperatingPoint(thresholds=direction.compute_thresholds(step), score="confidence", least=0.4)
        )
        values.append([one.measure(part, served).value for one in demands])
    assert (np.diff(values, axis=0) <= 1e-12).all()
    assert (np.array(values[0]) - values[-1] > 0.5).all()


def test_the_last_place_that_holds_before_the_first_that_does_not() -> None:
    steps = np.arange(1000.0)
    for last in (0, 1, 15, 16, 17, 500, 998, 999):
        assert find_last_held(steps, lambda step, last=last: step <= last) == last  # type: ignore[misc]
    assert find_last_held(np.zeros(1), lambda step: False) == 0.0
    tried: list[float] = []

    def holds(step: float) -> bool:
        tried.append(step)
        return step < 400

    assert find_last_held(steps, holds) == 399.0
    assert max(tried) < 500  # nothing far beyond a failure is looked at


def test_certain_probabilities() -> None:
    shares = [[1.0, 0.0, 0.0]] * 60 + [[0.0, 1.0, 0.0]] * 60
    inputs: list[Input] = [{"text": json.dumps(row)} for row in shares]
    right = known(inputs, ["A"] * 60 + ["B"] * 60)
    found = operating_point_fitting.fit_operating_point(asked(A=ThresholdSpec(recall=0.9), B=BUDGET), right, right, [])
    assert all(about["proven"] for about in found.facts["thresholds"].values())
    made = CalibratedPredictor(Saying(), found.point).predict(inputs, run_locally)  # type: ignore[arg-type]
    assert [one.answer for one in made] == [{"label": "A"}] * 60 + [{"label": "B"}] * 60
    wrong = known(inputs, ["B"] * 60 + ["A"] * 60)
    never = operating_point_fitting.fit_operating_point(
        asked(A=BUDGET), wrong, wrong, []
    )  # each A is certain, and wrong
    about = never.facts["thresholds"]["A"]
    assert (about["proven"], about["value"]) == (True, 1.0)
    assert CalibratedPredictor(Saying(), never.point).predict(inputs[:1], run_locally)[0].answer != {"label": "A"}  # type: ignore[arg-type]


def test_a_point_of_an_older_version_answers_as_it_did(tmp_path: Path) -> None:
    old = {"temperature": 1.0, "thresholds": {"A": 0.1, "B": 0.5}, "score": None, "least": None}
    (tmp_path / "operating.json").write_text(json.dumps(old), encoding="utf-8")
    again = OperatingPoint.load(tmp_path)
    text: Input = {"text": "[0.3, 0.6, 0.1]"}
    assert CalibratedPredictor(Saying(), again).predict([text], run_locally)[0].answer == {"label": "B"}  # type: ignore[arg-type]
    new = CalibratedPredictor(Saying(), OperatingPoint(thresholds={"A": 0.1, "B": 0.5}))  # type: ignore[arg-type]
    assert new.predict([text], run_locally)[0].answer == {"label": "A"}
    new.save(tmp_path)
    assert OperatingPoint.load(tmp_path) == new.point


def test_an_example_without_a_group_is_one_of_its_own() -> None:
    examples = [Example({"text": "[1, 0, 0]"}, {"label": "A"}) for _ in range(3)]
    examples += [Example({"text": "[1, 0, 0]"}, {"label": "A"}, group="g", origin=f"f:{i}") for i in range(2)]
    assert _judge_known_examples(Saying(), examples).groups.tolist() == [0, 1, 2, 3, 3]  # type: ignore[arg-type]


def test_how_thresholds_lie_to_one_another_is_chosen_on_another_part() -> None:
    other = known(*texts(500, 9, 1.0))

    def apart(calibration: operating_point_fitting.ScoredPart, validation: operating_point_fitting.ScoredPart) -> float:
        spec = OperatingSpec(temperature=False, thresholds={"A": RECALL, "B": ThresholdSpec(recall=0.4)})
        a, b = (
            np.log(at / (1 - at))
            for at in operating_point_fitting.fit_operating_point(
                spec, calibration, validation, []
            ).point.thresholds.values()
        )
        return float(a - b)

    assert apart(known(*texts(500, 8)), other) == pytest.approx(apart(known(*texts(300, 10, 1.5)), other))
    assert apart(known(*texts(500, 8)), known([], [])) == pytest.approx(0.0)  # alike, where nothing is known
    assert apart(known(*texts(500, 8)), other) != pytest.approx(0.0)

"""Operating points: scaling, thresholds that are proven, scores of scope, and what a predictor answers with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import DataError, SpecError
from loratory.evaluation.ladder import format_operating_lines
from loratory.evaluation.statistics import operating_point_fitting
from loratory.evaluation.statistics.calibration import compute_auroc
from loratory.experiment.spec_loading import load_spec
from loratory.experiment.steps.operating_points import check_operating_options
from loratory.predictors import predictor_files
from loratory.predictors.calibrated import (
    NO_LABEL,
    CalibratedPredictor,
    OperatingPoint,
    choose_labels,
    scale_probabilities,
    score_in_scope,
)
from loratory.protocols import Example, Input, OodScorer, Prediction, RequestRunner, ScoredPredictions, Scores
from loratory.regimes.lora import Lora
from loratory.specs.operating_point import AbstainSpec, OperatingSpec, ThresholdSpec
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag
from tiny_models import load_backbone_from, make_context, make_task, make_train_set, save_base

TASK = Classify(labels=("a", "b"))


@dataclass(frozen=True)
class Fixed:
    """Says of a text what the text says: {"text": "0.7"} is 0.7 for a."""

    task: Any = TASK

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        return [made for made, _ in self.predict_with_ood_scores(inputs, run)]

    def predict_with_ood_scores(self, inputs: Sequence[Input], run: RequestRunner) -> list[tuple[Prediction, Scores]]:
        shares = [float(input["text"]) for input in inputs]
        return [
            (TASK.from_probabilities(i, {"a": s, "b": 1 - s}), {"energy": s})
            for i, s in zip(inputs, shares, strict=True)
        ]


def score_part(
    shares: Sequence[float], labels: str, groups: Sequence[int] | None = None
) -> operating_point_fitting.ScoredPart:
    judged = Fixed().predict_with_ood_scores([{"text": str(share)} for share in shares], run_locally)
    return operating_point_fitting.ScoredPart(
        judged, list(labels), np.array(groups or range(len(shares)), dtype=np.int64)
    )


def test_temperature_is_what_was_put_in() -> None:
    generator = np.random.default_rng(1)
    true = 1 / (1 + np.exp(-2 * generator.standard_normal(4000)))
    labels = "".join(np.where(generator.random(4000) < true, "a", "b"))
    said = [scale_probabilities({"a": share, "b": 1 - share}, 0.4)["a"] for share in true]  # 2.5 times too sure
    assert operating_point_fitting.fit_temperature(score_part(said, labels)) == pytest.approx(2.5, rel=0.15)
    assert scale_probabilities({"a": 0.9, "b": 0.1}, 1.0) == {"a": 0.9, "b": 0.1}
    half = scale_probabilities({"a": 0.9, "b": 0.1}, 2.0)
    assert half["a"] == pytest.approx(3 / 4)
    assert sum(half.values()) == pytest.approx(1)
    assert scale_probabilities({"a": 1.0, "b": 0.0}, 3.0)["b"] > 0


def threshold(spec: ThresholdSpec, part: operating_point_fitting.ScoredPart) -> dict[str, Any]:
    asked = OperatingSpec(temperature=False, thresholds={"a": spec})
    found: dict[str, Any] = operating_point_fitting.fit_operating_point(asked, part, part, []).facts["thresholds"]["a"]
    return found


def test_a_recall_that_is_proven_holds_on_new_texts() -> None:
    generator, failed = np.random.default_rng(2), 0
    spec = ThresholdSpec(recall=0.9, confidence=0.9)
    for _ in range(200):
        found = threshold(spec, score_part(generator.beta(4, 2, 150).tolist(), "a" * 150))
        assert found["proven"]
        fresh = generator.beta(4, 2, 20_000)
        failed += (fresh >= found["at"]).mean() < 0.9
    assert failed / 200 < 0.1 + 3 * math.sqrt(0.1 * 0.9 / 200)


def test_a_budget_of_false_positives_and_what_cannot_be_proven() -> None:
    generator = np.random.default_rng(3)
    shares, labels = generator.random(1000).tolist(), "b" * 1000
    found = threshold(ThresholdSpec(false_positives=0.05), score_part(shares, labels))
    assert found["proven"]
    assert 0.945 < found["at"] < 0.99
    assert np.mean(np.array(shares) >= found["at"]) < 0.05
    grouped = score_part(shares, labels, [i // 100 for i in range(1000)])  # ten groups alone
    assert threshold(ThresholdSpec(false_positives=0.05), grouped)["at"] >= found["at"]
    few = threshold(ThresholdSpec(recall=0.9), score_part([0.9] * 5, "aaaaa"))
    assert not few["proven"]
    assert 0 < few["at"] <= 0.9
    none = threshold(ThresholdSpec(recall=0.9), score_part([0.9] * 5, "bbbbb"))
    assert (none["proven"], none["n"]) == (False, 0)


def test_auroc_is_scikit_learns() -> None:
    generator = np.random.default_rng(4)
    inside, outside = generator.integers(2, 9, 300).astype(float), generator.integers(0, 7, 200).astype(float)
    expected = roc_auc_score([1] * 300 + [0] * 200, np.concatenate([inside, outside]))
    assert compute_auroc(inside, outside) == pytest.approx(expected)
    assert operating_point_fitting.compute_fpr_at_tpr(np.arange(100.0), np.array([4.0, 5.0, 50.0])) == pytest.approx(
        2 / 3
    )


def answer_label(odds: dict[str, float], thresholds: dict[str, float], **options: Any) -> str | None:
    labels, shares = tuple(odds), np.array([list(odds.values())])
    (place,) = choose_labels(OperatingPoint(thresholds=thresholds, **options), labels, shares, np.zeros(1))
    return None if place == NO_LABEL else labels[place]


def test_labels_by_threshold() -> None:
    assert answer_label({"a": 0.3, "b": 0.7}, {"a": 0.2}) == "a"
    assert answer_label({"a": 0.6, "b": 0.4}, {"a": 0.9}) == "b"
    assert answer_label({"a": 0.6, "b": 0.4}, {"a": 0.9, "b": 0.9}) is None
    assert answer_label({"a": 0.5, "b": 0.5}, {}) == "a"
    assert answer_label({"a": 0.3, "b": 0.7}, {"a": 0.05, "b": 0.6}) == "a"  # the farther above its threshold, by odds
    assert answer_label({"a": 0.3, "b": 0.7}, {"a": 0.05, "b": 0.6}, rule="share") == "b"
    assert answer_label({"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 0.0}) == "a"  # odds without end
    assert answer_label({"a": 1.0, "b": 0.0}, {"a": math.nextafter(1.0, 2.0)}) == "b"  # what no probability reaches


def test_scores_of_scope() -> None:
    odds = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]])
    assert score_in_scope("confidence", odds, []).tolist() == [0.7, 0.4]
    assert score_in_scope("margin", odds, []) == pytest.approx([0.5, 0.1])
    assert score_in_scope("entropy", odds, [])[0] == pytest.approx(sum(p * math.log(p) for p in (0.7, 0.2, 0.1)))
    assert score_in_scope("energy", odds, [{"energy": -3.0}, {"energy": 2.0}]).tolist() == [-3.0, 2.0]
    assert score_in_scope("margin", np.ones((1, 1)), []).tolist() == [1.0]


def test_an_operated_predictor_scales_chooses_and_abstains() -> None:
    made = CalibratedPredictor(Fixed(), OperatingPoint(2.0, {"a": 0.4}, "energy", 0.1))  # type: ignore[arg-type]
    sure, low, outside = made.predict([{"text": "0.9"}, {"text": "0.35"}, {"text": "0.05"}], run_locally)
    assert sure.answer == {"label": "a"}
    assert sure.probabilities["/label"]["a"] == pytest.approx(3 / 4)
    assert low.answer == {"label": "a"}  # less than half, and past its threshold
    assert (outside.answer, outside.reason, outside.confidence) == (None, "abstained", 0.0)
    assert outside.probabilities["/label"]["b"] > 0.5


def test_a_score_that_a_contender_does_not_know_is_replaced_and_said() -> None:
    inside = score_part([0.6, 0.7, 0.8, 0.9] * 10, "a" * 40)
    plain = replace(inside, scored_texts=[(made, {}) for made, _ in inside.scored_texts])
    spec = OperatingSpec(abstain=AbstainSpec(score="energy", keep=0.9))
    found, knows = (
        operating_point_fitting.fit_operating_point(spec, plain, plain, []),
        operating_point_fitting.fit_operating_point(spec, inside, inside, []),
    )
    assert (found.point.score, found.facts["abstain"]["asked"]) == ("confidence", "energy")
    assert knows.point.score == knows.facts["abstain"]["asked"] == "energy"
    calibrated = {"log_loss": 1.0, "ece": 0.1, "ece_by_chance": 0.1}
    worth = {"before": calibrated, "after": calibrated, "abstained": 0.1, "out_of_scope": {}}
    said = format_operating_lines({"name": "tfidf", "operating": worth, "facts": {"operating": found.facts}})
    assert "by confidence, because it knows no energy" in said[-1]
    with pytest.raises(KeyError):
        score_in_scope("energy", np.ones((1, 1)), [{}])


def test_a_point_is_fitted_from_the_spec_and_weighed() -> None:
    generator = np.random.default_rng(5)
    inside = score_part(generator.uniform(0.5, 1, 400).tolist(), "a" * 400)
    outside = Fixed().predict_with_ood_scores([{"text": str(s)} for s in generator.uniform(0, 0.5, 100)], run_locally)
    spec = OperatingSpec(thresholds={"a": ThresholdSpec(recall=0.9)}, abstain=AbstainSpec(keep=0.9))
    found = operating_point_fitting.fit_operating_point(spec, inside, inside, outside)
    assert found.point.score == "energy"  # the only one that tells them apart
    assert found.facts["abstain"]["validation_auroc"]["energy"] == 1.0
    assert np.mean(
        operating_point_fitting.compute_scope_scores("energy", inside.scored_texts, 1.0) < found.point.least
    ) == pytest.approx(0.1, abs=0.01)
    examples = [Example({"text": str(share)}, {"label": "a"}) for share in (0.6, 0.8, 0.9)]
    predictions = CalibratedPredictor(Fixed(), found.point).predict([e.input for e in examples], run_locally)  # type: ignore[arg-type]
    marks = [TASK.score_example(e, p) for e, p in zip(examples, predictions, strict=True)]
    judged = Fixed().predict_with_ood_scores([e.input for e in examples], run_locally)
    asked = {"a": ThresholdSpec(recall=0.9)}
    test = ScoredPredictions(examples, predictions, marks)
    worth = operating_point_fitting.measure_operating_point(TASK, found.point, test, judged, {"far": outside}, asked)
    answered = sum(made.answer == {"label": "a"} for made in predictions)
    assert (worth["served"]["a"]["value"], worth["served"]["a"]["n"]) == (answered / 3, 3)
    assert worth["served"]["a"]["low"] < answered / 3 <= worth["served"]["a"]["high"]
    said = format_operating_lines({"name": "lora", "operating": worth, "facts": {"operating": found.facts}})
    assert "recall of at least 90.0% of the answers as served: " in said[1]
    assert "On 3 test texts: " in said[1]
    before = -np.log([0.6, 0.8, 0.9]).mean()
    assert worth["before"]["log_loss"] == pytest.approx(before)
    assert worth["out_of_scope"]["far"] == {"n": 100, "auroc": 1.0, "fpr_at_95_tpr": 0.0, "recall": 1.0}
    plain = operating_point_fitting.fit_operating_point(OperatingSpec(temperature=False), inside, inside, [])
    assert plain.point == OperatingPoint()


def test_a_point_is_kept_with_its_predictor(tmp_path: Path) -> None:
    inner = Lora(rank=2).fit(
        make_task(), make_train_set(), load_backbone_from(save_base(tmp_path / "base", "bert")), make_context(epochs=1)
    )
    assert isinstance(inner, OodScorer)
    (made, beside), *_ = inner.predict_with_ood_scores([{"text": "my card"}], run_locally)
    assert set(beside) == {"energy", "prototype"}
    assert -1.001 <= beside["prototype"] <= 1.001
    whole = CalibratedPredictor(inner, OperatingPoint(1.7, {}, "prototype", -2.0))
    with stage_artifact(tmp_path / "fit", {"kind": "fit"}) as part:
        predictor_files.save_predictor(part, whole)
    again = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    assert isinstance(again, CalibratedPredictor)
    assert again.point == whole.point
    inputs = [example.input for example in make_train_set().validation]
    assert again.predict(inputs, run_locally) == whole.predict(inputs, run_locally)
    assert not isinstance(predictor_files.load_uncalibrated(tmp_path / "fit", TorchBackbonePool()), CalibratedPredictor)
    odds = scale_probabilities(made.probabilities["/label"], 1.7)
    assert again.predict([{"text": "my card"}], run_locally)[0].probabilities["/label"] == pytest.approx(odds)


SPEC = """
name: points
task: {kind: classify, labels: [a, b]}
data: {path: rows.jsonl, split: {calibration: CALIBRATION}}
ladder: [tfidf]
operating: OPERATING
"""


def test_what_cannot_be_fitted_is_refused_before_training(tmp_path: Path) -> None:
    def spec(wanted: str) -> Any:
        text = SPEC.replace("CALIBRATION", "0.1").replace("OPERATING", wanted)
        (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
        return load_spec(str(tmp_path / "spec.yaml"))

    with pytest.raises(SpecError, match="give recall or false_positives"):
        spec("{thresholds: {a: {}}}")
    with pytest.raises(SpecError, match="did you mean"):
        spec("{treshold: {}}")
    with pytest.raises(SpecError, match="calibration part has 3"):
        check_operating_options(spec("{temperature: true}"), TASK, 3)
    with pytest.raises(SpecError, match="no label"):
        check_operating_options(spec("{thresholds: {c: {recall: 0.9}}}"), TASK, 100)
    with pytest.raises(SpecError, match="this task is tag"):
        check_operating_options(spec("{temperature: true}"), Tag(labels=("X",)), 100)
    with pytest.raises(DataError, match=r"missing\.csv"):
        check_operating_options(spec("{abstain: {out_of_scope: missing.csv}}"), TASK, 100)
    check_operating_options(spec("{temperature: true}"), TASK, 100)

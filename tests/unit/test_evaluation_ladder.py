"""The ladder, the verdict and the gate on made-up contenders."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score
from test_evaluation_fakes import FACTS, FOUR, LADDER, QUICK, Skill, failed, world

from loratory.errors import SpecError
from loratory.evaluation.comparisons import holm
from loratory.evaluation.gate import check_gate
from loratory.evaluation.ladder import build, lines, table
from loratory.evaluation.measured import Measured
from loratory.specs.evidence import EvidenceSpec, Floor, GateSpec
from loratory.tasks.classify import Classify

GATE = GateSpec(
    accuracy=Floor(at_least=0.85),
    recall={"FRAUD": Floor(at_least=0.5)},
    precision={"INFO": Floor(at_least=0.999)},
    not_worse_than={"tfidf": 0.0},
)


@pytest.fixture(scope="module")
def made() -> tuple[Classify, list[Measured]]:
    task, measured = world(n=400, group_size=2)
    return task, [*measured, failed("qlora")]


@pytest.fixture(scope="module")
def ladder(made: tuple[Classify, list[Measured]]) -> dict[str, Any]:
    return build(*made, QUICK, GATE, FACTS)


def row(ladder: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in ladder["contenders"] if one["name"] == name)


def test_the_ladder_is_json_and_the_same_every_time(
    ladder: dict[str, Any], made: tuple[Classify, list[Measured]]
) -> None:
    assert json.loads(json.dumps(ladder, allow_nan=False)) == ladder
    assert build(*made, QUICK, GATE, FACTS) == ladder
    assert ladder["split"] == {"test": 400}
    assert ladder["budget"] == FACTS["budget"]
    assert ladder["test"] == {"examples": 400, "groups": 200}


def test_figures_are_sklearns(ladder: dict[str, Any], made: tuple[Classify, list[Measured]]) -> None:
    head = next(one for one in made[1] if one.name == "head")
    scores = []
    for fit in head.fits:
        truth = [example.answer["label"] for example in fit.test.examples]  # type: ignore[index]
        said = [prediction.answer["label"] for prediction in fit.test.predictions]  # type: ignore[index]
        odds = [[p.probabilities["/label"][label] for label in FOUR] for p in fit.test.predictions]
        scores.append(
            (
                accuracy_score(truth, said),
                f1_score(truth, said, average="macro"),
                log_loss(truth, odds, labels=FOUR),
                precision_score(truth, said, average=None, labels=FOUR),
            )
        )
    found = row(ladder, "head")["metrics"]
    for place, name in enumerate(("accuracy", "macro_f1", "log_loss")):
        values = [score[place] for score in scores]
        assert found[name]["seeds"] == pytest.approx(values)
        assert found[name]["mean"] == pytest.approx(sum(values) / 3)
        assert found[name]["shipped"]["value"] == pytest.approx(values[0])  # the fakes ship their first seed
        assert found[name]["low"] < found[name]["mean"] < found[name]["high"]
    assert [found["per_label"][label]["precision"] for label in FOUR] == pytest.approx(scores[0][3].tolist())
    assert 0 < found["ece"]["chance"] < found["ece"]["chance_high"]
    assert found["accuracy"]["sd"] > 0
    assert row(ladder, "rules")["metrics"]["accuracy"]["sd"] is None


def test_decisions_go_by_holm_over_the_larger_p_of_all_comparisons(ladder: dict[str, Any]) -> None:
    rows = ladder["comparisons"]
    assert [one["p_holm"] for one in rows] == holm([max(one["mcnemar"]["p"], one["bootstrap_p"]) for one in rows])
    for one in rows:
        decided = "undecided" if one["p_holm"] > 0.05 else "better" if one["difference"] > 0 else "worse"
        assert one["decision"] == decided
        mine, other = (row(ladder, one[side])["metrics"]["accuracy"]["shipped"] for side in ("contender", "against"))
        assert one["difference"] == pytest.approx(mine["value"] - other["value"])
        only = one["mcnemar"]["only_contender"] - one["mcnemar"]["only_other"]
        assert one["difference"] == pytest.approx(only / 400)
    assert {one["decision"] for one in rows} == {"better", "worse", "undecided"}


def test_a_failed_contender_keeps_its_row_and_its_reason(ladder: dict[str, Any]) -> None:
    lost = row(ladder, "qlora")
    assert (lost["status"], lost["failure"]) == ("failed", "the loss only grew; try a lower rate")
    assert "metrics" not in lost
    assert all("qlora" not in (one["contender"], one["against"]) for one in ladder["comparisons"])
    assert any("qlora could not be fitted" in line for line in lines(ladder))


def test_where_nothing_was_fitted_there_is_no_recommendation() -> None:
    empty = build(Classify(labels=FOUR, headline="accuracy"), [failed("lora")], QUICK, None, {})
    assert empty["verdict"]["recommended"] is None
    assert lines(empty)[0].startswith("No contender could be fitted")
    assert table(empty).row_count == 1


def test_the_table_fits_a_terminal_of_100_characters(ladder: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(file=(text := io.StringIO()), width=100)
    console.print(table(ladder))
    shown = text.getvalue()
    assert "…" not in shown
    assert shown.count("*") == 1
    for heading in ("contender", "accuracy", "macro-F1", "log-loss", "vs best simpler", "p50 ms", "train", "gate"):
        assert heading in shown.splitlines()[2]


# -- the verdict
def decided(levels: dict[str, float], evidence: EvidenceSpec = QUICK, n: int = 1500, **change: Any) -> dict[str, Any]:
    skills = [replace(skill, level=levels[skill.name], seeds=1) for skill in LADDER if skill.name in levels]
    task, measured = world(n=n, ladder=skills)
    verdict: dict[str, Any] = build(task, measured, evidence, change.get("gate"), change.get("facts", {}))["verdict"]
    return verdict


def test_do_not_fine_tune_where_less_is_shown_to_be_as_good() -> None:
    verdict = decided({"rules": 0.0, "head": 2.2, "lora": 2.2}, EvidenceSpec(resamples=400, margin=0.03))
    assert verdict["headline"] == "Do not fine-tune: head is as good as the best (lora) within 3.0 points."
    assert [one["shown"] for one in verdict["non_inferiority"]] == [False, True]
    assert (verdict["recommended"], verdict["best"], verdict["fine_tune"]) == ("head", "lora", False)


def test_fine_tune_where_everything_simpler_is_worse() -> None:
    verdict = decided({"rules": 0.0, "tfidf": 0.8, "lora": 2.2})
    assert (verdict["recommended"], verdict["best"], verdict["fine_tune"]) == ("lora", "lora", True)
    assert verdict["headline"].startswith("Fine-tune: lora is the best, and every simpler contender is worse")
    assert all(one["worse"] and not one["shown"] for one in verdict["non_inferiority"])


def test_a_test_set_too_small_to_tell_is_said_to_be_so() -> None:
    verdict = decided({"rules": 0.0, "head": 1.2, "lora": 2.0}, n=60)
    assert verdict["best"] == "lora"
    assert "head would do as well" in verdict["headline"]
    assert "too small to tell" in verdict["headline"]
    head = verdict["non_inferiority"][-1]
    assert not head["shown"]
    assert head["smallest_margin"] > 0.005


def test_the_simplest_can_be_the_best() -> None:
    verdict = decided({"rules": 2.5, "lora": 0.5})
    assert verdict["headline"] == "Do not fine-tune: rules, the simplest contender, is also the best."
    assert verdict["non_inferiority"] == []


def test_without_a_fine_tuned_contender_there_is_no_word_of_fine_tuning() -> None:
    assert decided({"rules": 0.0, "tfidf": 1.5})["headline"].startswith("tfidf is the best")


def test_warnings_name_what_weakens_the_evidence() -> None:
    warnings = " ".join(decided({"rules": 0.0, "tfidf": 1.0}, n=30, facts={"test_reads": 3})["warnings"])
    assert "read 3 times" in warnings
    assert "only 30 independent groups" in warnings
    assert "FRAUD (" in warnings
    assert decided({"rules": 0.0, "tfidf": 1.0}, facts={"test_reads": 1})["warnings"] == []


def test_seeds_far_apart_are_a_warning() -> None:
    task, measured = world(n=60, ladder=[Skill("head", 0.5, seeds=5)])
    assert "head (" in " ".join(build(task, measured, QUICK, None, {})["verdict"]["warnings"])


def test_the_words_round_the_margin() -> None:
    from loratory.evaluation.cells import points, sure

    assert [points(x) for x in (0.0, 0.005, 0.01, 0.015)] == ["no margin", "half a point", "one point", "1.5 points"]
    assert [sure(x) for x in (0.95, 0.975, 0.9)] == ["95%", "97.5%", "90%"]


# -- the gate
def test_a_gate_holds_only_where_every_check_does(ladder: dict[str, Any]) -> None:
    gate = row(ladder, "head")["gate"]
    holds = {check["what"]: check["holds"] for check in gate["checks"]}
    assert holds == {"accuracy": True, "recall/FRAUD": True, "precision/INFO": False, "not_worse_than/tfidf": True}
    assert gate["holds"] is False
    for check in gate["checks"]:
        assert check["bound"] < check["value"]
        assert check["holds"] == (check["bound"] >= check["at_least"])
    rules = {check["what"]: check["holds"] for check in row(ladder, "rules")["gate"]["checks"]}
    assert rules["not_worse_than/tfidf"] is False
    tfidf = next(check for check in row(ladder, "tfidf")["gate"]["checks"] if check["what"] == "not_worse_than/tfidf")
    assert tfidf["says"] == "this is tfidf itself"


def test_a_contender_that_failed_cannot_be_compared_with() -> None:
    task, measured = world(n=80, ladder=LADDER[:2])
    ladder = build(task, [*measured, failed("lora")], QUICK, GateSpec(not_worse_than={"lora": 0.1}), {})
    gate = ladder["verdict"]["gate"]
    assert gate["holds"] is False
    assert "was not fitted" in gate["checks"][0]["says"]


def test_a_floor_that_so_few_examples_could_never_show_is_said_to_be_so() -> None:
    task, measured = world(n=40, ladder=[Skill("perfect", 99.0)])
    gate = build(task, measured, QUICK, GateSpec(accuracy=Floor(at_least=0.95)), {})["verdict"]["gate"]
    assert gate["checks"][0]["value"] == 1.0
    assert gate["holds"] is False
    assert "a larger test set is needed" in gate["checks"][0]["says"]


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        (GateSpec(recall={"FRUAD": Floor(at_least=0.9)}), r"recall: FRUAD: 'FRUAD' is no label.*did you mean 'FRAUD'"),
        (GateSpec(precision={"x": Floor(at_least=0.9)}), "'x' is no label"),
        (GateSpec(not_worse_than={"tf-idf": 0.0}), "'tf-idf' is no contender.*did you mean 'tfidf'"),
    ],
)
def test_a_gate_on_what_does_not_exist_is_refused(gate: GateSpec, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        check_gate(gate, FOUR, ["rules", "tfidf"])
    check_gate(GATE, FOUR, ["rules", "tfidf"])


def test_a_gate_on_labels_needs_a_task_with_labels() -> None:
    with pytest.raises(SpecError, match="no labels"):
        check_gate(GATE, None, ["tfidf"])

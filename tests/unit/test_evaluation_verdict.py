"""The verdict's cases, each with contenders whose right and wrong answers are laid out by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from test_evaluation_fakes import QUICK, Skill, world

from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.ladder import build_ladder, format_ladder_lines
from loratory.evaluation.table_cells import format_confidence, format_points
from loratory.evaluation.verdict.explanations import format_difference
from loratory.evaluation.verdict.headlines import HEADLINE_CASES
from loratory.protocols import Example, ParameterCount, Prediction, ScoredPredictions
from loratory.specs.evidence import EvidenceSpec, Floor, GateSpec
from loratory.tasks.classify import Classify

TASK = Classify(labels=("no", "yes"), headline="accuracy")


def contender(
    name: str, wrong: Iterable[int], validation: float, n: int = 400, adapts: bool = False
) -> ContenderResult:
    """Wrong on these test examples, and with that score on validation; `majority` is the one that learns nothing."""
    missed = set(wrong)
    tests = [Example({}, {"label": "yes" if i % 2 else "no"}, origin=str(i)) for i in range(n)]
    said = [Prediction({"label": "yes" if (i % 2) != (i in missed) else "no"}) for i in range(n)]
    test = ScoredPredictions(
        tests, said, [TASK.score_example(example, answer) for example, answer in zip(tests, said, strict=True)]
    )
    known = ScoredPredictions(tests[:1], said[:1], [{"n": 1.0, "reward": validation}])
    return ContenderResult(
        name,
        name if name == "majority" else "made",
        None,
        adapts,
        (Fit(0, known, test, 0.0),),
        0,
        ParameterCount(0, 0),
        0,
        {},
    )


def verdict(
    *made: ContenderResult, margin: float = 0.005, gate: GateSpec | None = None, reads: int = 1, **facts: Any
) -> dict[str, Any]:
    evidence = EvidenceSpec(resamples=400, margin=margin)
    decided: dict[str, Any] = build_ladder(TASK, made, evidence, gate, {"test_reads": reads, **facts})["verdict"]
    return decided


def pick_contender(found: Mapping[str, Any]) -> tuple[str, str, bool, bool | None]:
    return found["recommended"], found["best"], found["shown"], found["fine_tune"]


NOTHING = contender("majority", range(0, 400, 2), 0.5)
HEADLINES: dict[str, tuple[tuple[ContenderResult, ...], float, str]] = {
    "nothing-learnt": (
        (NOTHING, contender("tfidf", range(1, 400, 2), 0.6), contender("lora", range(198), 0.9, adapts=True)),
        0.005,
        "No contender is proven to have learnt: on the test set, none beats majority by more than chance. majority "
        "always gives the most common answer of the training data (accuracy 50.0).",
    ),
    "worse-on-test": (
        (NOTHING, contender("head", range(80), 0.898), contender("lora", range(20), 0.9, adapts=True)),
        0.005,
        "Validation and test disagree about fine-tuning: head is as good on validation as the best (lora) within half "
        "a point. But on the test set it is worse, by # points or more. The validation set may be too small.",
    ),
    "as-good-shown": (
        (NOTHING, contender("head", range(20), 0.89), contender("lora", range(20), 0.9, adapts=True)),
        0.03,
        "Do not fine-tune: head is as good as the best (lora) within 3.0 points, and it is simpler.",
    ),
    "as-good-too-small": (
        (NOTHING, contender("head", range(20), 0.898), contender("lora", range(2, 24), 0.9, adapts=True)),
        0.005,
        "Do not fine-tune: head is as good on validation as the best (lora) within half a point, and it is simpler. "
        "The test set is too small to prove it (+0.5 [...] points on test).",
    ),
    "as-good-not-proven": (
        (NOTHING, contender("head", range(40), 0.87), contender("lora", range(30, 50), 0.9, adapts=True)),
        0.075,
        "Validation and test disagree about fine-tuning: head is as good on validation as the best (lora) within 7.5 "
        "points, and it is simpler. The test set does not prove it (-5.0 [...] points on test).",
    ),
    "overtaken": (
        (NOTHING, contender("head", range(20), 0.8), contender("lora", range(80), 0.9, adapts=True)),
        0.005,
        "Fine-tuning is not proven to help: lora is the best on validation, but on the test set head is better, by "
        "more than chance. The validation set may be too small, or different from the test set.",
    ),
    "simplest-is-best": (
        (NOTHING, contender("rules", range(20), 0.9), contender("lora", range(5, 23), 0.8, adapts=True)),
        0.005,
        "Do not fine-tune: rules is the best on validation, and it is also the simplest contender that learns.",
    ),
    "best-shown": (
        (NOTHING, contender("rules", range(100), 0.5), contender("lora", range(20), 0.9, adapts=True)),
        0.005,
        "Fine-tune: lora is the best. Every simpler contender is worse by more than half a point.",
    ),
    "best-not-shown": (
        (NOTHING, contender("head", range(24), 0.8), contender("lora", range(10, 30), 0.9, adapts=True)),
        0.005,
        "Fine-tuning is not proven to help: lora is the best on validation. The test set does not prove that head is "
        "worse by more than half a point.",
    ),
}


def blur(sentence: str) -> str:
    """Without bounds: how they are made is tested elsewhere."""
    return re.sub(r"by [\d.]+ points or more", "by # points or more", re.sub(r"\[[^]]*\]", "[...]", sentence))


@pytest.mark.parametrize("case", HEADLINE_CASES, ids=lambda case: case.name)
def test_each_case_has_its_sentence(case: Any) -> None:
    made, margin, sentence = HEADLINES[case.name]
    found = verdict(*made, margin=margin)
    assert (found["case"], blur(found["headline"])) == (case.name, sentence)
    said = format_ladder_lines(build_ladder(TASK, made, EvidenceSpec(resamples=400, margin=margin), None, {}))
    assert said[0] == found["headline"]


# -- the choice
def test_the_test_set_has_no_say_in_who_is_recommended() -> None:
    """A simpler contender that is the best on test by luck is not taken for that."""
    lucky = verdict(contender("tfidf", range(5), 0.85), contender("lora", range(20), 0.9, adapts=True))
    assert (lucky["recommended"], lucky["best"]) == ("lora", "lora")
    unlucky = verdict(contender("tfidf", range(200), 0.898), contender("lora", range(20), 0.9, adapts=True))
    assert (unlucky["recommended"], unlucky["best"]) == ("tfidf", "lora")


def test_the_first_within_the_margin_on_validation_is_taken() -> None:
    made = [contender("rules", range(9), 0.7), contender("tfidf", range(30), 0.88), contender("head", range(20), 0.89)]
    found = verdict(*made, contender("lora", range(20), 0.9), margin=0.02)
    assert pick_contender(found) == ("tfidf", "lora", False, None)
    assert (
        "tfidf is recommended: it is the simplest contender within two points of the best on validation (88.0%)."
        in (found["reason"])
    )


def test_a_validation_score_exactly_the_margin_below_is_within_it() -> None:
    assert 0.895 - 0.9 < -0.005  # what rounding would make of it
    assert verdict(contender("head", range(20), 0.895), contender("lora", range(20), 0.9))["recommended"] == "head"
    below = verdict(contender("head", range(20), 0.8949), contender("lora", range(20), 0.9))
    assert below["recommended"] == "lora"


def test_a_simpler_contender_that_the_test_set_shows_to_be_as_good_is_said_to_be() -> None:
    found = verdict(
        contender("rules", range(100), 0.5),
        contender("head", range(20), 0.88),
        contender("lora", range(20), 0.9, adapts=True),
        margin=0.03,
    )
    assert pick_contender(found) == ("head", "lora", True, False)
    assert [rival["shown"] for rival in found["non_inferiority"]] == [False, True]
    assert (
        "head is proven as good: equal to lora on test, and with 95% confidence it is not worse by more than "
        "3.0 points." in found["reason"]
    )
    assert found["warnings"] == []


def test_where_the_margin_could_have_been_proven_the_test_set_is_not_called_too_small() -> None:
    found = verdict(contender("head", range(36), 0.88), contender("lora", range(20), 0.9, adapts=True), margin=0.05)
    assert pick_contender(found)[:3] == ("head", "lora", False)
    assert found["non_inferiority"][0]["smallest_margin"] < 0.05
    assert "too small" not in found["headline"]
    assert "head measured as good: 4.0 points worse than lora on test. This is not proven (p = 0." in found["reason"][1]
    assert "at most 0.05 is needed" in found["reason"][1]


# -- the best is recommended
def test_every_simpler_contender_is_worse() -> None:
    found = verdict(
        contender("rules", range(100), 0.5),
        contender("lora", range(20), 0.9, adapts=True),
        contender("full", range(21), 0.8, adapts=True),
    )
    assert pick_contender(found) == ("lora", "lora", True, True)
    assert found["reason"][1].startswith("rules is worse: 20.0 points worse than lora on test, and with 95% conf")
    assert found["reason"][2] == "full (later in the ladder) is not proven better: 0.2 points worse than lora on test."
    assert found["reason"][3].startswith("The gain from fine-tuning is +20.0 points")


def test_a_simpler_contender_measured_worse_without_proof() -> None:
    found = verdict(
        contender("rules", range(60), 0.5, n=100),
        contender("head", range(15), 0.8, n=100),
        contender("lora", range(10, 20), 0.9, n=100, adapts=True),
    )
    assert pick_contender(found) == ("lora", "lora", False, None)
    assert found["headline"].startswith(
        "Fine-tuning is not proven to help: lora is the best on validation. The test set does not prove that head"
    )
    assert found["reason"][2] == (
        "head measured worse: 5.0 points worse than lora on test. It is not proven worse by more than half a point."
    )


def test_a_contender_that_measured_better_is_not_said_to_have_measured_worse() -> None:
    found = verdict(contender("head", range(18), 0.8), contender("lora", range(10, 30), 0.9, adapts=True))
    assert "measured worse" not in found["headline"]
    assert "head measured no worse: 0.5 points better than lora on test" in found["reason"][1]


def test_the_simplest_is_the_best_and_later_ones_are_not_shown_to_be_better() -> None:
    found = verdict(
        contender("rules", range(20), 0.9),
        contender("lora", range(5, 23), 0.8, adapts=True),
        contender("full", range(200), 0.7, adapts=True),
    )
    assert pick_contender(found) == ("rules", "rules", True, False)
    assert found["non_inferiority"] == []
    assert found["reason"][1:3] == [
        "lora (later in the ladder) is not proven better: 0.5 points better than rules on test.",
        "full (later in the ladder) is worse: 45.0 points worse than rules on test.",
    ]
    assert found["warnings"] == []


def test_later_contenders_that_are_better_on_test_are_named() -> None:
    found = verdict(
        contender("rules", range(150), 0.9),
        contender("lora", range(20), 0.8, adapts=True),
        contender("full", range(30), 0.85, adapts=True),
    )
    assert pick_contender(found) == (
        "rules",
        "rules",
        True,
        None,
    )  # the choice by validation stands, but not in silence
    assert found["case"] == "overtaken"
    assert "on the test set lora and full are better, by more than chance" in found["headline"]
    assert found["warnings"][0].startswith("On the test set, lora and full are better than rules, by more than chance.")
    assert "lora (later in the ladder) is better on test, but not on validation: 32.5 points" in found["reason"][1]


def test_without_a_margin_there_is_no_word_of_it() -> None:
    same = verdict(contender("a", range(20), 0.9), contender("b", range(20), 0.9), margin=0.0)
    worse = verdict(contender("a", range(99), 0.8), contender("b", range(20), 0.9), margin=0.0)
    unproven = verdict(contender("a", range(21), 0.8), contender("b", range(20), 0.9), margin=0.0)
    assert same["headline"] == "a is the best on validation, and it is also the simplest contender that learns."
    assert worse["headline"] == "b is the best. Every simpler contender is worse."
    assert unproven["headline"] == "b is the best on validation. The test set does not prove that a is worse."
    assert unproven["reason"][1] == "a measured worse: 0.2 points worse than b on test. It is not proven worse."


# -- fine-tuning
@pytest.mark.parametrize("adapts", [False, True])
def test_without_both_kinds_there_is_no_word_of_fine_tuning(adapts: bool) -> None:
    found = verdict(
        NOTHING, contender("a", range(100), 0.5, adapts=adapts), contender("b", range(20), 0.9, adapts=adapts)
    )
    assert found["headline"].startswith("b is the best")
    assert (found["fine_tune"], found["fine_tuning"]) == (None, None)
    assert "ine-tun" not in " ".join(found["reason"])


def test_what_fine_tuning_is_worth_is_between_those_that_validation_chose() -> None:
    found = verdict(
        NOTHING,
        contender("rules", range(40), 0.7),
        contender("tfidf", range(60), 0.8),
        contender("lora", range(20), 0.898, adapts=True),
        contender("full", range(24), 0.9, adapts=True),
    )
    gain = found["fine_tuning"]
    assert (gain["contender"], gain["against"]) == ("lora", "tfidf")  # the recommended one, not the best
    assert gain["difference"] == pytest.approx(0.1)
    assert gain["low"] < 0.1 < gain["high"]
    said = next(
        reason for reason in found["reason"] if reason.startswith("The gain from fine-tuning is +10.0 points [+")
    )
    assert said.endswith("lora (trained in 0.0 s) against tfidf (trained in 0.0 s). Both were chosen on validation.")


@pytest.mark.parametrize(("gained", "advice"), [(2, None), (40, True)])
def test_fine_tuning_is_advised_where_its_gain_is_proven_and_not_elsewhere(gained: int, advice: bool | None) -> None:
    made = [contender("tfidf", range(20 + gained), 0.8, n=200), contender("lora", range(20), 0.9, n=200, adapts=True)]
    found = verdict(*made)
    assert (found["recommended"], found["fine_tune"]) == ("lora", advice)
    assert found["headline"].startswith("Fine-tune: " if advice else "Fine-tuning is not proven to help: ")


# -- whether anything was learnt
def test_what_is_not_better_than_the_commonest_answer_was_not_learnt() -> None:
    made = HEADLINES["nothing-learnt"][0]
    found = verdict(*made)
    assert found["learnt"] == {"baseline": "majority", "value": 0.5, "better": [], "learnt": False}
    assert found["fine_tune"] is None
    table = "\n".join(format_ladder_lines(build_ladder(TASK, made, QUICK, None, {})))
    assert table.startswith("No contender is proven to have learnt")


def test_a_recommended_contender_that_learnt_nothing_beside_one_that_did_is_said() -> None:
    made = (NOTHING, contender("head", range(190), 0.9), contender("lora", range(20), 0.8, adapts=True))
    found = verdict(*made)
    assert found["learnt"]["better"] == ["lora"]
    assert "head is not proven better than majority, but lora is." in found["reason"]


# -- leaks
def test_a_test_set_that_holds_copies_of_train_has_its_figure_without_them() -> None:
    """Half of the test set leaks; there nothing is wrong, elsewhere everything is."""
    made = (NOTHING, contender("tfidf", range(200, 400), 0.7), contender("lora", range(200, 399), 0.9, adapts=True))
    found = verdict(*made, leaked_test=[str(i) for i in range(200)])
    assert found["warnings"][0].startswith(
        "200 of 400 test examples (50.0%) are duplicates or near-duplicates of training or validation examples, so the "
        "scores are too high. Without them, the accuracy of lora is 0.5 ["
    )
    assert found["warnings"][0].endswith("on 200 examples, not 50.2.")
    assert "leaked" not in " ".join(verdict(*made, leaked_test=["another"])["warnings"])
    all_of_it = verdict(*made, leaked_test=[str(i) for i in range(400)])
    assert all_of_it["warnings"][0].endswith("Without them the test set is empty.")


def test_a_leak_that_has_its_figure_is_not_said_twice_and_others_are() -> None:
    warnings = [
        {"kind": f"leak/train/{part}", "what": f"5 examples of {part} leak", "do": "remove them"}
        for part in ("validation", "test")
    ]
    made = (NOTHING, contender("lora", range(20), 0.9, adapts=True))
    found = verdict(*made, leaked_test=["1"], quality_warnings=warnings)["warnings"]
    assert found[0].startswith("1 of 400 test examples")
    assert found[1:] == ["Data: 5 examples of validation leak. To fix it: remove them."]


# -- the gate in the verdict
def build_gated_verdict(at_least: float) -> dict[str, Any]:
    made = (contender("rules", range(100), 0.5), contender("head", range(12), 0.85), contender("lora", range(10), 0.8))
    return verdict(*made, gate=GateSpec(accuracy=Floor(at_least=at_least)))


def test_the_gate_names_who_holds_it() -> None:
    found = build_gated_verdict(0.9)
    assert (found["gate"]["holds"], found["gate"]["holders"]) == (True, ["head", "lora"])
    assert "the gate" not in " ".join([*found["reason"], *found["warnings"]])


def test_where_nobody_holds_the_gate_the_verdict_says_so() -> None:
    found = build_gated_verdict(0.999)
    assert (found["gate"]["holds"], found["gate"]["holders"]) == (False, [])
    assert found["warnings"] == ["No contender passes the gate."]
    assert "the gate" not in " ".join(found["reason"])


def test_where_another_holds_the_gate_the_simplest_of_them_is_named() -> None:
    made = [contender("head", range(12), 0.85), contender("lora", range(2), 0.8), contender("full", range(3), 0.8)]
    gate = GateSpec(accuracy=Floor(at_least=0.97))
    found = verdict(*made, gate=gate)
    assert found["recommended"] == "head"
    assert (found["gate"]["holds"], found["gate"]["holders"]) == (False, ["lora", "full"])
    assert found["warnings"][0] == "head fails the gate. lora is the simplest contender that passes it."
    said = format_ladder_lines(build_ladder(TASK, made, QUICK, gate, {}))
    assert "head fails the gate." in said
    assert "the gate" not in " ".join(found["reason"])
    assert not any(line.startswith("Warning: No contender") for line in said)


def test_contenders_that_are_tested_together_are_held_to_more() -> None:
    """One that holds the gate by a hair alone does not among five; those that surely hold it do not count again."""
    alone = contender("a", range(28), 0.9)  # 93.0 %, at least 90.5 % with 95 % confidence, 89.7 % with 99 %
    gate = GateSpec(accuracy=Floor(at_least=0.905))
    assert verdict(alone, gate=gate)["gate"]["holds"]
    others = [contender(name, range(28), 0.8) for name in "bcde"]
    among = verdict(alone, *others, gate=gate)["gate"]
    assert (among["holds"], among["together"], among["holders"]) == (False, 5, [])
    assert "with 95% confidence for 5 contenders together it is at least" in among["checks"][0]["says"]
    sure_ones = [contender(name, range(4), 0.8) for name in "bcde"]
    after = verdict(alone, *sure_ones, gate=gate)["gate"]
    assert (after["holds"], after["together"], after["holders"]) == (True, 1, list("abcde"))


def test_a_contender_that_validation_rules_out_is_not_tested() -> None:
    hopeless = replace_validation(contender("rules", range(10), 0.3), wrong=60, n=100)
    made = [hopeless, contender("lora", range(10), 0.9)]
    built = build_ladder(TASK, made, QUICK, GateSpec(accuracy=Floor(at_least=0.9)), {})
    rules, lora = (row["gate"] for row in built["contenders"])
    assert (rules["holds"], lora["holds"], lora["together"]) == (False, True, 1)
    assert rules["checks"][0]["says"].startswith("it was not tested: on validation accuracy is 40.0%, and with 95% ")


def replace_validation(made: ContenderResult, wrong: int, n: int) -> ContenderResult:
    """With so many wrong answers on validation."""
    fit = contender(made.name, range(wrong), 0.0, n).shipped_fit
    return replace(made, fits=(replace(made.shipped_fit, validation=fit.test),))


# -- warnings
def levels(skills: Sequence[Skill], n: int, reads: int = 1, **facts: Any) -> list[str]:
    task, made = world(n=n, ladder=skills)
    warnings: list[str] = build_ladder(task, made, QUICK, None, {"test_reads": reads, **facts})["verdict"]["warnings"]
    return warnings


def test_warnings_name_what_weakens_the_evidence() -> None:
    skills = [Skill("rules", 0.0), Skill("tfidf", 1.0)]
    warnings = " ".join(levels(skills, 30, reads=3))
    assert "read 3 times" in warnings
    assert "only 30 independent groups" in warnings
    assert "FRAUD (" in warnings
    assert levels(skills, 800) == []


def test_what_check_warns_of_stands_in_the_verdict_too() -> None:
    found = levels(
        [Skill("rules", 0.0), Skill("tfidf", 1.0)],
        800,
        quality_warnings=[{"kind": "data", "what": "the test set has 90 examples", "do": "add examples"}],
    )
    assert found == ["Data: the test set has 90 examples. To fix it: add examples."]


def test_the_largest_overlap_with_earlier_reads_is_said() -> None:
    overlap = {"reads": 2, "largest": 0.97, "run": "tickets", "time": "2026-01-01T00:00:00+00:00"}
    found = levels([Skill("rules", 0.0), Skill("tfidf", 1.0)], 800, reads=3, test_overlap=overlap)
    assert found[0].startswith("Examples of this test set were read 3 times (at most 97% of its examples at a time)")


def test_seeds_far_apart_are_a_warning() -> None:
    assert "head (" in " ".join(levels([Skill("head", 0.5, seeds=5)], 60))


# -- words
def test_the_words_round_the_margin() -> None:
    assert [format_points(x) for x in (0.005, 0.01, 0.015)] == ["half a point", "one point", "1.5 points"]
    assert [format_confidence(x) for x in (0.95, 0.975, 0.9)] == ["95%", "97.5%", "90%"]


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (0.0, "equal to b"),
        (0.012, "1.2 points better than b"),
        (-0.012, "1.2 points worse than b"),
        (-1 / 3080, "0.03 points worse than b"),
    ],
)
def test_how_far_apart_two_are(difference: float, said: str) -> None:
    assert format_difference(difference, "b") == said

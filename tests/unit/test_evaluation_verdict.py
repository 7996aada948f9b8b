"""The verdict's branches, each with contenders whose right and wrong answers are laid out by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from test_evaluation_fakes import QUICK, Skill, world

from loratory.evaluation.cells import points, sure
from loratory.evaluation.ladder import build, lines
from loratory.evaluation.measured import Fit, Measured
from loratory.evaluation.reasons import apart
from loratory.protocols import Example, Outcome, Prediction, Size
from loratory.specs.evidence import EvidenceSpec, Floor, GateSpec
from loratory.tasks.classify import Classify

TASK = Classify(labels=("no", "yes"), headline="accuracy")


def contender(name: str, wrong: Iterable[int], validation: float, n: int = 400, adapts: bool = False) -> Measured:
    """Wrong on these test examples, and with that score on validation."""
    missed = set(wrong)
    tests = [Example({}, {"label": "yes" if i % 2 else "no"}, origin=str(i)) for i in range(n)]
    said = [Prediction({"label": "yes" if (i % 2) != (i in missed) else "no"}) for i in range(n)]
    test = Outcome(tests, said, [TASK.mark(example, answer) for example, answer in zip(tests, said, strict=True)])
    fit = Fit(0, Outcome([], [], [{"n": 1.0, "reward": validation}]), test, 0.0)
    return Measured(name, "made", None, adapts, (fit,), 0, Size(0, 0), 0, {})


def verdict(*made: Measured, margin: float = 0.005, gate: GateSpec | None = None, reads: int = 1) -> dict[str, Any]:
    evidence = EvidenceSpec(resamples=400, margin=margin)
    decided: dict[str, Any] = build(TASK, made, evidence, gate, {"test_reads": reads})["verdict"]
    return decided


def picked(found: dict[str, Any]) -> tuple[str, str, bool, bool]:
    return found["recommended"], found["best"], found["shown"], found["fine_tune"]


# -- a simpler contender is as good
def test_shown_to_be_as_good() -> None:
    found = verdict(
        contender("rules", range(100), 0.5),
        contender("head", range(20), 0.8),
        contender("lora", range(20), 0.9, adapts=True),
        margin=0.03,
    )
    assert picked(found) == ("head", "lora", True, False)
    assert found["headline"] == "Do not fine-tune: head is as good as the best (lora) within 3.0 points."
    assert [rival["shown"] for rival in found["non_inferiority"]] == [False, True]
    assert (
        "head is shown to be as good: level with lora on test, and with 95% confidence not worse by more than "
        "3.0 points." in found["reason"]
    )
    assert "head is the simplest contender that was shown to be as good." in found["reason"]
    assert found["warnings"] == []


def test_measured_as_good_where_the_test_set_is_too_small_to_prove_it() -> None:
    found = verdict(contender("head", range(20), 0.8), contender("lora", range(2, 24), 0.9, adapts=True))
    assert picked(found) == ("head", "lora", False, False)
    assert found["headline"] == (
        "Do not fine-tune: head measured as good as the best (lora) within half a point and is simpler; the test set "
        "is too small to prove it."
    )
    (rival,) = found["non_inferiority"]
    assert (rival["shown"], rival["within"], rival["worse"]) == (False, True, False)
    assert rival["smallest_margin"] > 0.005
    assert found["reason"][1].startswith(
        "head measured no worse: 0.5 points better than lora on test, but the test set is too small to prove it: two"
    )
    assert "head is the simplest contender that measured as good." in found["reason"]


def test_measured_as_good_where_equals_would_have_been_shown() -> None:
    found = verdict(contender("head", range(36), 0.8), contender("lora", range(20), 0.9, adapts=True), margin=0.05)
    assert picked(found) == ("head", "lora", False, False)
    assert found["non_inferiority"][0]["smallest_margin"] < 0.05
    assert "head measured as good: 4.0 points worse than lora on test; it is not proven (p = 0." in found["reason"][1]
    assert "at most 0.05 is asked" in found["reason"][1]


def test_the_first_that_is_as_good_is_taken_though_a_later_one_is_shown() -> None:
    found = verdict(
        contender("tfidf", range(30), 0.7), contender("head", range(20), 0.8), contender("lora", range(20), 0.9),
        margin=0.028,
    )  # fmt: skip
    assert [(rival["within"], rival["shown"]) for rival in found["non_inferiority"]] == [(True, False), (True, True)]
    assert picked(found) == ("tfidf", "lora", False, False)


def test_a_difference_of_exactly_the_margin_is_within_it() -> None:
    assert 0.895 - 0.9 < -0.005  # what rounding would make of it
    found = verdict(contender("head", range(21), 0.8, n=200), contender("lora", range(20), 0.9, n=200))
    assert found["non_inferiority"][0]["within"]


# -- the best is recommended
def test_every_simpler_contender_is_worse() -> None:
    found = verdict(
        contender("rules", range(100), 0.5),
        contender("lora", range(20), 0.9, adapts=True),
        contender("full", range(21), 0.8, adapts=True),
    )
    assert picked(found) == ("lora", "lora", True, True)
    assert found["headline"] == (
        "Fine-tune: lora is the best, and every simpler contender is worse by more than half a point."
    )
    assert found["reason"][1].startswith("rules is not as good: 20.0 points worse than lora on test, with 95% conf")
    assert (
        found["reason"][2]
        == "full, later in the ladder, is not shown to be better: 0.2 points worse than lora on test."
    )
    assert found["reason"][3].startswith("Fine-tuning is worth +20.0 points")


def test_a_simpler_contender_measured_worse_without_proof() -> None:
    found = verdict(
        contender("rules", range(60), 0.5, n=100),
        contender("head", range(15), 0.8, n=100),
        contender("lora", range(10, 20), 0.9, n=100, adapts=True),
    )
    assert picked(found) == ("lora", "lora", False, True)
    assert found["headline"] == (
        "Fine-tune: lora is the best; head measured worse by more than half a point, which the test set is too small "
        "to prove."
    )
    assert found["reason"][2] == (
        "head measured worse: 5.0 points worse than lora on test; that it is worse by more than half a point is not "
        "proven."
    )


def test_the_simplest_is_the_best_and_later_ones_are_not_shown_to_be_better() -> None:
    found = verdict(
        contender("rules", range(20), 0.9),
        contender("lora", range(5, 23), 0.8, adapts=True),
        contender("full", range(200), 0.7, adapts=True),
    )
    assert picked(found) == ("rules", "rules", True, False)
    assert found["headline"] == "Do not fine-tune: rules, the simplest contender, is also the best on validation."
    assert found["non_inferiority"] == []
    assert found["reason"][1:3] == [
        "lora, later in the ladder, is not shown to be better: 0.5 points better than rules on test.",
        "full, later in the ladder, is worse: 45.0 points worse than rules on test.",
    ]
    assert found["warnings"] == []


def test_a_later_contender_that_is_better_on_test_is_a_warning() -> None:
    found = verdict(
        contender("rules", range(150), 0.9),
        contender("lora", range(20), 0.8, adapts=True),
        contender("full", range(30), 0.85, adapts=True),
    )
    assert found["recommended"] == "rules"  # the choice by validation stands, but not in silence
    assert found["warnings"][0].startswith("On test lora and full did better than rules, by more than chance, but on")
    assert "lora, later in the ladder, is better on test, but not on validation: 32.5 points" in found["reason"][1]


def test_without_a_margin_there_is_no_word_of_it() -> None:
    same = verdict(contender("a", range(20), 0.8), contender("b", range(20), 0.9), margin=0.0)
    worse = verdict(contender("a", range(99), 0.8), contender("b", range(20), 0.9), margin=0.0)
    unproven = verdict(contender("a", range(21), 0.8), contender("b", range(20), 0.9), margin=0.0)
    assert same["headline"].startswith("a measured as good as the best (b) and is simpler;")
    assert "not equal." in same["reason"][1]
    assert worse["headline"] == "b is the best, and every simpler contender is worse."
    assert unproven["headline"] == "b is the best; a measured worse, which the test set is too small to prove."
    assert unproven["reason"][1] == "a measured worse: 0.2 points worse than b on test; that it is worse is not proven."


# -- fine-tuning
@pytest.mark.parametrize("adapts", [False, True])
def test_without_both_kinds_there_is_no_word_of_fine_tuning(adapts: bool) -> None:
    found = verdict(contender("a", range(100), 0.5, adapts=adapts), contender("b", range(20), 0.9, adapts=adapts))
    assert found["headline"].startswith("b is the best")
    assert (found["fine_tune"], found["fine_tuning"]) == (adapts, None)
    assert "ine-tun" not in " ".join(found["reason"])


def test_what_fine_tuning_is_worth_is_between_the_best_of_either_kind_on_validation() -> None:
    found = verdict(
        contender("rules", range(40), 0.7),
        contender("tfidf", range(60), 0.8),
        contender("lora", range(20), 0.85, adapts=True),
        contender("full", range(24), 0.9, adapts=True),
    )
    gain = found["fine_tuning"]
    assert (gain["contender"], gain["against"]) == ("full", "tfidf")
    assert gain["difference"] == pytest.approx(0.09)
    assert gain["low"] < 0.09 < gain["high"]
    assert found["reason"][-1].startswith("Fine-tuning is worth +9.0 points [+6.")
    assert found["reason"][-1].endswith("on test: full against tfidf, the best on validation with and without it.")


# -- the gate in the verdict
def gated(at_least: float) -> dict[str, Any]:
    made = (contender("rules", range(100), 0.5), contender("head", range(12), 0.85), contender("lora", range(10), 0.8))
    return verdict(*made, gate=GateSpec(accuracy=Floor(at_least=at_least)))


def test_the_gate_names_who_holds_it() -> None:
    found = gated(0.9)
    assert (found["gate"]["holds"], found["gate"]["holders"]) == (True, ["head", "lora"])
    assert "the gate" not in " ".join([*found["reason"], *found["warnings"]])


def test_where_nobody_holds_the_gate_the_verdict_says_so() -> None:
    found = gated(0.999)
    assert (found["gate"]["holds"], found["gate"]["holders"]) == (False, [])
    assert found["warnings"] == ["No contender holds the gate."]
    assert "the gate" not in " ".join(found["reason"])


def test_where_another_holds_the_gate_the_simplest_of_them_is_named() -> None:
    made = [contender("head", range(12), 0.85), contender("lora", range(2), 0.8), contender("full", range(3), 0.8)]
    gate = GateSpec(accuracy=Floor(at_least=0.97))
    found = verdict(*made, gate=gate)
    assert found["recommended"] == "head"
    assert (found["gate"]["holds"], found["gate"]["holders"]) == (False, ["lora", "full"])
    assert found["reason"][-1] == "head does not hold the gate; lora is the simplest contender that does."
    said = lines(build(TASK, made, QUICK, gate, {}))
    assert "The gate does not hold for head." in said
    assert not any(line.startswith("Warning: No contender") for line in said)


# -- warnings
def levels(skills: Sequence[Skill], n: int, reads: int = 1) -> list[str]:
    task, made = world(n=n, ladder=skills)
    warnings: list[str] = build(task, made, QUICK, None, {"test_reads": reads})["verdict"]["warnings"]
    return warnings


def test_warnings_name_what_weakens_the_evidence() -> None:
    skills = [Skill("rules", 0.0), Skill("tfidf", 1.0)]
    warnings = " ".join(levels(skills, 30, reads=3))
    assert "read 3 times" in warnings
    assert "only 30 independent groups" in warnings
    assert "FRAUD (" in warnings
    assert levels(skills, 800) == []


def test_seeds_far_apart_are_a_warning() -> None:
    assert "head (" in " ".join(levels([Skill("head", 0.5, seeds=5)], 60))


# -- words
def test_the_words_round_the_margin() -> None:
    assert [points(x) for x in (0.005, 0.01, 0.015)] == ["half a point", "one point", "1.5 points"]
    assert [sure(x) for x in (0.95, 0.975, 0.9)] == ["95%", "97.5%", "90%"]


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (0.0, "level with b"),
        (0.012, "1.2 points better than b"),
        (-0.012, "1.2 points worse than b"),
        (-1 / 3080, "0.03 points worse than b"),
    ],
)
def test_how_far_apart_two_are(difference: float, said: str) -> None:
    assert apart(difference, "b") == said

"""A small version of what benchmarks/simulations/decisions.py claims."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulations.claims import claim_rate
from simulations.decisions import (
    ALPHA,
    EFFECTS,
    EQUALS,
    POWER,
    UNLIKE,
    WORSE,
    compare_worlds,
    contradicts,
    shown_not_worse,
)

WORLDS = 25


@pytest.mark.parametrize("name", EQUALS)
def test_equals_are_seldom_told_apart_and_no_decision_is_against_its_interval(name: str) -> None:
    rows = compare_worlds(EQUALS[name], WORLDS)
    wrong = [any(row["decision"] != "undecided" for row in of) for of in rows]
    assert claim_rate(name, wrong, ALPHA, at_most=True).holds
    assert not any(contradicts(row) for of in rows for row in of)


@pytest.mark.parametrize("name", WORSE)
def test_worse_by_the_margin_is_seldom_shown_to_be_as_good(name: str) -> None:
    assert claim_rate(name, shown_not_worse(WORSE[name], WORLDS), ALPHA, at_most=True).holds


@pytest.mark.parametrize("name", EFFECTS)
def test_the_minimum_detectable_effect_is_found(name: str) -> None:
    rows = [of[0] for of in compare_worlds(EFFECTS[name], WORLDS)]
    truth = EFFECTS[name].truth(1) - EFFECTS[name].truth(0)
    assert sum(row["minimum_detectable_effect"] for row in rows) / WORLDS == pytest.approx(truth, rel=0.1)
    assert claim_rate(name, [row["decision"] == "better" for row in rows], POWER, at_most=False).holds


def test_what_accuracy_does_not_show_is_found_in_macro_f1() -> None:
    assert UNLIKE.truth(1) - UNLIKE.truth(0) == pytest.approx(0.143, abs=0.001)
    equal = replace(UNLIKE, headline="accuracy")
    assert equal.truth(1) - equal.truth(0) == pytest.approx(0, abs=1e-4)
    rows = [of[0] for of in compare_worlds(UNLIKE, 10)]
    assert sum(row["decision"] == "better" for row in rows) >= 8
    assert all(row["mcnemar"] is None for row in rows)
    assert all(0.05 < row["minimum_detectable_effect"] < 0.15 for row in rows)

"""Evidence is right: in worlds whose truth is known, it claims what is true as often as it says.

A world is a test set drawn anew. Each contender has a known true accuracy; hard examples are hard for all of them,
and in grouped worlds a group's examples are hard together. Frequencies are held to binomial bounds at three standard
errors, so that a right build fails about once in a thousand runs of other seeds; the seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest

from loratory.evaluation.contender_metrics import compute_seed_interval
from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.model_selection import assess_non_inferiority, select_contender
from loratory.evaluation.statistics.comparison_set import ComparisonSet, build_comparison_set
from loratory.evaluation.statistics.comparisons import compare_contenders
from loratory.evaluation.statistics.proportions import estimate_proportion
from loratory.protocols import Example, ParameterCount, Prediction, ScoredPredictions
from loratory.specs.evidence import EvidenceSpec
from loratory.tasks.classify import Classify

TASK = Classify(labels=("no", "yes"), headline="accuracy")
ANSWER_BY_RIGHT = {
    right: (said := Prediction({"label": label}), TASK.score_example(Example({}, {"label": "yes"}), said))
    for right, label in ((True, "yes"), (False, "no"))
}


@dataclass(frozen=True)
class World:
    """How test sets come about."""

    accuracies: Sequence[float]
    groups: int = 300
    size: int = 1  # of a group
    shared: float = 0.5  # share of an example's hardness that all contenders meet alike
    clumped: float = 0.0  # share of the shared hardness that a group's examples have in common
    best: int | None = None  # who is best on validation; None: whoever is lucky
    ahead: float | None = None  # by how much the best is, with all others level; None: by far

    def draw(self, seed: int, evidence: EvidenceSpec) -> ComparisonSet:
        rng = np.random.default_rng(seed)
        n = self.groups * self.size
        common = math.sqrt(self.clumped) * np.repeat(rng.normal(size=self.groups), self.size) + math.sqrt(
            1 - self.clumped
        ) * rng.normal(size=n)
        names = [f"g{i // self.size}" if self.size > 1 else "" for i in range(n)]
        tests = [Example({}, {"label": "yes"}, name, origin=str(i)) for i, name in enumerate(names)]
        made = []
        for place, accuracy in enumerate(self.accuracies):
            hard = math.sqrt(self.shared) * common + math.sqrt(1 - self.shared) * rng.normal(size=n)
            right = hard < NormalDist().inv_cdf(accuracy)
            made.append(_make_result(f"c{place}", tests, right.tolist(), self._validate(place, rng.random())))
        return build_comparison_set(TASK, made, evidence)

    def _validate(self, place: int, luck: float) -> float:
        """The validation score of a contender."""
        return luck + 2 * (place == self.best) if self.ahead is None else 0.5 + self.ahead * (place == self.best)


def _make_result(name: str, tests: Sequence[Example], right: Sequence[bool], luck: float) -> ContenderResult:
    answers, marks = zip(*(ANSWER_BY_RIGHT[one] for one in right), strict=True)
    validation = ScoredPredictions([], [], [{"n": 1.0, "reward": luck}])
    return ContenderResult(
        name,
        "made",
        None,
        False,
        (Fit(0, validation, ScoredPredictions(tests, answers, marks), 0.0),),
        0,
        ParameterCount(0, 0),
        0,
        {},
    )


def _within(found: float, claimed: float, worlds: int, sign: int) -> bool:
    """Not beyond `claimed` by more than three standard errors, upwards (sign 1) or downwards (-1)."""
    return sign * (found - claimed) <= 3 * math.sqrt(claimed * (1 - claimed) / worlds)


PLAIN = World((0.90, 0.90, 0.90), groups=200)
GROUPED = World((0.85, 0.85, 0.85), groups=80, size=4, clumped=0.7)
FEW_GROUPS = World((0.85, 0.85), groups=25, size=8, clumped=0.5)
NEARLY_PERFECT = World((0.99, 0.99), groups=120, size=2, clumped=0.5)
QUICK = EvidenceSpec(resamples=300)


def _coverage_and_errors(world: World, worlds: int, evidence: EvidenceSpec) -> tuple[float, float, float]:
    """Coverage of accuracies, coverage of differences, share of worlds with any wrong "better" (all truths equal)."""
    covered, differences, wrong = [], [], []
    for seed in range(worlds):
        field = world.draw(seed, evidence)
        for standing, truth in zip(field.ranks, world.accuracies, strict=True):
            found = compute_seed_interval(field, standing, "accuracy")
            covered.append(found["low"] <= truth <= found["high"])
        rows = compare_contenders(field)
        differences += [row["low"] <= 0 <= row["high"] for row in rows]
        wrong.append(any(row["decision"] == "better" for row in rows))
    return float(np.mean(covered)), float(np.mean(differences)), float(np.mean(wrong))


def _check(world: World, claimed: float, worlds: int, evidence: EvidenceSpec) -> None:
    accuracy, difference, wrong = _coverage_and_errors(world, worlds, evidence)
    assert _within(accuracy, claimed, worlds, -1), accuracy
    assert _within(difference, claimed, worlds, -1), difference
    assert _within(wrong, 0.05, worlds, 1), wrong


CLAIMS = pytest.mark.parametrize(
    ("world", "claimed"),
    [
        pytest.param(PLAIN, 0.95, id="plain"),
        pytest.param(GROUPED, 0.95, id="grouped"),
        pytest.param(FEW_GROUPS, 0.95, id="few-groups"),
        pytest.param(NEARLY_PERFECT, 0.95, id="nearly-perfect"),
    ],
)


@CLAIMS
def test_intervals_cover_the_truth_and_equals_are_seldom_called_better(world: World, claimed: float) -> None:
    _check(world, claimed, 120, QUICK)


@pytest.mark.slow
@CLAIMS
def test_the_same_in_many_more_worlds(world: World, claimed: float) -> None:
    _check(world, claimed, 1000, EvidenceSpec(resamples=600))


def _measure_shown_share(world: World, margin: float, worlds: int) -> float:
    """How often any simpler contender is shown to be no worse than the last by more than the margin."""
    evidence = EvidenceSpec(resamples=300, margin=margin)
    fields = [world.draw(seed, evidence) for seed in range(worlds)]
    rows = [assess_non_inferiority(field, field.ranks[-1]) for field in fields]
    return float(np.mean([any(row["shown"] for row in of) for of in rows]))


WORSE_BY_THE_MARGIN = pytest.mark.parametrize(
    "world",
    [
        pytest.param(World((0.89, 0.92), groups=250, best=1), id="plain"),
        pytest.param(World((0.89, 0.89, 0.89, 0.92), groups=150, shared=0.3, best=3), id="several"),
        pytest.param(World((0.87, 0.90), groups=80, size=4, clumped=0.7, best=1), id="grouped"),
        pytest.param(World((0.94, 0.97), groups=150, shared=0.98, best=1), id="they-seldom-differ"),
    ],
)


# What is guaranteed is "shown". A recommendation that rests on the measured figures alone says so.
@WORSE_BY_THE_MARGIN
def test_a_contender_worse_by_the_margin_is_seldom_shown_to_be_as_good(world: World) -> None:
    assert _within(_measure_shown_share(world, 0.03, 120), 0.05, 120, 1)


@pytest.mark.slow
@WORSE_BY_THE_MARGIN
def test_the_same_of_what_is_shown_in_many_more_worlds(world: World) -> None:
    assert _within(_measure_shown_share(world, 0.03, 1000), 0.05, 1000, 1)


def test_what_is_recommended_without_proof_is_not_called_shown() -> None:
    """Half a point worse, margin half a point: recommended where validation has it level, and seldom shown."""
    evidence = EvidenceSpec(resamples=200, margin=0.005)
    level = World((0.895, 0.90), groups=300, best=1, ahead=0.004)
    choices = [select_contender(level.draw(seed, evidence)) for seed in range(100)]
    assert all(choice.recommended.name == "c0" and choice.best.name == "c1" for choice in choices)
    assert _within(sum(choice.is_supported for choice in choices) / 100, 0.05, 100, 1)
    assert all(choice.is_supported == choice.simpler_vs_best[0]["shown"] for choice in choices)
    apart = World((0.80, 0.90), groups=300, best=1, ahead=0.006)
    choices = [select_contender(apart.draw(seed, evidence)) for seed in range(20)]
    assert all(choice.recommended is choice.best for choice in choices)
    assert all(choice.is_supported == choice.simpler_vs_best[0]["worse"] for choice in choices)
    assert any(choice.is_supported for choice in choices)


def test_an_equal_contender_is_mostly_shown_to_be_as_good_where_the_test_set_is_large_enough() -> None:
    assert _measure_shown_share(World((0.90, 0.90), groups=800, shared=0.8, best=1), 0.03, 50) > 0.7


def _power(world: World, effect: float, worlds: int) -> None:
    rows = [compare_contenders(world.draw(seed, QUICK))[0] for seed in range(worlds)]
    assert np.mean([row["minimum_detectable_effect"] for row in rows]) == pytest.approx(effect, rel=0.05)
    # The larger of two p values is a little more careful than the formula; the design effect of groups leans upwards.
    found = float(np.mean([row["decision"] == "better" for row in rows]))
    assert _within(found, 0.78, worlds, -1), found
    assert _within(found, 0.80 if world.size == 1 else 0.85, worlds, 1), found


EFFECTS = pytest.mark.parametrize(
    ("world", "effect"),
    [
        pytest.param(World((0.850, 0.9085), groups=400), 0.0585, id="plain"),
        pytest.param(World((0.850, 0.9085), groups=150, size=3, clumped=0.7), 0.0585, id="grouped"),
    ],
)


@EFFECTS
def test_the_minimum_detectable_effect_is_found_with_the_stated_power(world: World, effect: float) -> None:
    _power(world, effect, 120)


@pytest.mark.slow
@EFFECTS
def test_the_same_power_in_many_more_worlds(world: World, effect: float) -> None:
    _power(world, effect, 1000)


@pytest.mark.parametrize(
    ("accuracy", "groups", "size", "clumped"),
    [(0.95, 250, 1, 0.0), (0.95, 60, 4, 1.0), (0.95, 60, 4, 0.6), (0.97, 40, 6, 0.9), (0.90, 40, 6, 0.6)],
)
def test_the_lower_bound_of_a_proportion_is_seldom_above_the_truth(
    accuracy: float, groups: int, size: int, clumped: float
) -> None:
    rng, worlds, index = np.random.default_rng(3), 1000, np.repeat(np.arange(groups), size)
    common = np.repeat(rng.normal(size=(worlds, groups)), size, axis=1)
    hard = math.sqrt(clumped) * common + math.sqrt(1 - clumped) * rng.normal(size=(worlds, groups * size))
    right = (hard < NormalDist().inv_cdf(accuracy)).astype(float)
    above = np.mean([estimate_proportion(row, np.ones(len(row)), index).lower_bound(0.95) > accuracy for row in right])
    assert _within(float(above), 0.05, worlds, 1)

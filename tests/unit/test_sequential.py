"""Tests that may be looked at after every observation: their errors, their speed, and their state on disk."""

from __future__ import annotations

import math
import random

import pytest

from loratory.evaluation.statistics.sequential import (
    STAKE_WEIGHTS,
    STAKES,
    ConfidenceSequence,
    EProcess,
    MeanTest,
    RateGuard,
    difference_interval,
    log_sum_exp,
)


def draw_pairs(seed: int, count: int, gained: float, lost: float) -> list[float]:
    """Paired differences: 1 where only the challenger is right, -1 where only the champion is."""
    draw = random.Random(seed)
    return [1.0 if (u := draw.random()) < gained else -1.0 if u < gained + lost else 0.0 for _ in range(count)]


def decide(test: MeanTest, values: list[float]) -> tuple[str, int]:
    for number, value in enumerate(values, 1):
        if (found := test.observe(value)) != "open":
            return found, number
    return "open", len(values)


def test_the_wealth_is_the_weighted_mean_over_stakes_of_the_products_of_bets() -> None:
    test, values = MeanTest(-0.02), [1.0, 0.0, -1.0, 0.0, 1.0]
    for value in values:
        test.observe(value)
    products = [math.prod(1 + stake / 0.98 * (value + 0.02) for value in values) for stake in STAKES]
    mean = sum(map(math.prod, zip(STAKE_WEIGHTS, products, strict=True))) / sum(STAKE_WEIGHTS)
    assert test.above.log_wealth == pytest.approx(math.log(mean), abs=1e-12)


def test_a_bet_cannot_gain_on_average_where_the_hypothesis_is_true() -> None:
    for boundary in (-0.5, -0.02, 0.0, 0.3):
        for stake in STAKES:
            up, down = (1 + stake / (1 + boundary) * (x - boundary) for x in (1.0, -1.0))
            chance = (1 + boundary) / 2  # of +1, so that the mean is the boundary
            assert chance * up + (1 - chance) * down == pytest.approx(1.0)
            assert min(up, down) > 0


def test_a_challenger_at_the_margin_is_seldom_called_better_or_worse() -> None:
    found = [decide(MeanTest(-0.02), draw_pairs(seed, 600, 0.03, 0.05))[0] for seed in range(200)]
    assert found.count("better") <= 16  # 5 % of 200, and two standard deviations
    assert found.count("worse") <= 16


def test_equal_ones_are_promoted_and_a_bad_one_is_soon_found() -> None:
    equal = [decide(MeanTest(-0.05), draw_pairs(seed, 1500, 0.04, 0.04)) for seed in range(40)]
    assert [word for word, _ in equal].count("better") >= 38
    assert sorted(number for _, number in equal)[20] <= 300
    bad = [decide(MeanTest(-0.02), draw_pairs(seed, 100, 0.0, 0.4)) for seed in range(40)]
    assert [word for word, number in bad if number <= 30].count("worse") >= 36


def test_a_decision_once_taken_stands() -> None:
    test = MeanTest(0.0)
    while test.observe(1.0) == "open":
        pass
    for _ in range(500):
        assert test.observe(-1.0) == "better"


def test_a_rate_within_the_limit_is_left_alone_and_one_over_it_is_caught() -> None:
    def run(rate: float, seed: int) -> bool:
        draw, guard = random.Random(seed), RateGuard(0.01)
        return any(guard.observe(draw.random() < rate) for _ in range(1500))

    assert sum(run(0.01, seed) for seed in range(100)) <= 5
    assert all(run(0.06, seed) for seed in range(40))


def test_the_confidence_sequence_holds_at_every_time() -> None:
    missed = 0
    for seed in range(60):
        draw, sequence = random.Random(seed), ConfidenceSequence()
        inside = True
        for _ in range(400):
            low, high = sequence.observe(float(draw.random() < 0.3))
            inside = inside and low <= 0.3 <= high
        missed += not inside
    assert missed <= 7  # 5 % of 60, and two standard deviations
    assert sequence.high - sequence.low < 0.25
    assert sequence.mean == pytest.approx(0.3, abs=0.1)


def test_the_difference_of_two_sequences() -> None:
    one, other = ConfidenceSequence(), ConfidenceSequence()
    for number in range(800):
        one.observe(float(number % 10 < 8))
        other.observe(float(number % 10 < 3))
    low, high = difference_interval(one, other)
    assert 0.2 < low < 0.5 < high


@pytest.mark.parametrize("made", [MeanTest(-0.02), RateGuard(0.01), ConfidenceSequence()])
def test_a_state_that_is_written_goes_on_to_the_same_numbers(made: MeanTest | RateGuard | ConfidenceSequence) -> None:
    draw = random.Random(1)
    values = [float(draw.random() < 0.2) for _ in range(60)]
    for value in values[:30]:
        made.observe(value)  # type: ignore[arg-type]
    again = type(made).from_json(made.to_json())
    for value in values[30:]:
        made.observe(value)  # type: ignore[arg-type]
        again.observe(value)  # type: ignore[arg-type]
    assert again.to_json() == made.to_json()


def test_what_no_test_can_take_is_refused() -> None:
    for wrong in (lambda: MeanTest(-1.0), lambda: MeanTest(0.0, 0.0), lambda: RateGuard(1.0)):
        with pytest.raises(ValueError, match=r"allowed|between"):
            wrong()
    with pytest.raises(ValueError, match="allowed"):
        MeanTest(0.0).observe(1.5)
    with pytest.raises(ValueError, match="allowed"):
        ConfidenceSequence().observe(-0.1)


def test_the_wealth_of_long_runs_does_not_overflow() -> None:
    process = EProcess.start([1.0, 1.0])
    for _ in range(5000):
        process.multiply([1.9, 0.1])
    assert math.isfinite(process.log_wealth)
    assert log_sum_exp([1000.0, 1000.0]) == pytest.approx(1000.0 + math.log(2))

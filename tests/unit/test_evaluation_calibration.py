"""The chance level of the calibration error: groups are drawn as groups, and a predictor that is too sure is seen."""

from __future__ import annotations

import numpy as np
import pytest
from simulations.calibration import CALIBRATED, TOO_SURE, World

from loratory.evaluation.statistics.calibration import (
    ConfidenceSample,
    collect_confidences,
    estimate_intraclass_correlation,
)


@pytest.mark.parametrize("world", CALIBRATED, ids=lambda world: world.name)
def test_a_calibrated_predictor_seldom_exceeds_its_chance_level(world: World) -> None:
    exceeded = sum(world.exceeds_chance(number) for number in range(24))
    assert exceeded <= 5  # of 24, where each may by 5 %: more has a chance of 1 in 1,000


@pytest.mark.parametrize("world", TOO_SURE, ids=lambda world: world.name)
def test_one_that_is_too_sure_exceeds_it(world: World) -> None:
    assert sum(world.exceeds_chance(number) for number in range(12)) >= 8


def make_sample(right: list[float], groups: list[int]) -> ConfidenceSample:
    size = len(right)
    places = np.array(groups, dtype=np.int64)
    return ConfidenceSample(np.full(size, 0.5), np.array(right), np.zeros(1, dtype=np.int64), places)


def test_how_far_groups_are_right_and_wrong_together() -> None:
    alternating = [float(i % 2) for i in range(400)]
    assert estimate_intraclass_correlation(make_sample(alternating, list(range(400)))) == 0.0
    whole = [float(i // 4 % 2) for i in range(400)]
    assert estimate_intraclass_correlation(make_sample(whole, [i // 4 for i in range(400)])) == pytest.approx(1.0)
    assert (
        estimate_intraclass_correlation(make_sample(alternating, [i // 4 for i in range(400)])) < 0.05
    )  # each group half right
    few = estimate_intraclass_correlation(make_sample([float(i % 2) for i in range(8)], [i // 4 for i in range(8)]))
    assert few >= 0.5  # two groups cannot tell


def test_groups_follow_their_examples_through_the_order() -> None:
    found = collect_confidences(World("", 50, 5, 1.0).draw(3))
    assert found is not None
    assert np.bincount(found.groups).tolist() == [5] * 10
    assert (np.diff(found.confidence) >= 0).all()
    for group in range(10):  # one number decided for all of a group: the surest are right
        right = found.correctness[found.groups == group]
        assert (np.diff(right) >= 0).all()

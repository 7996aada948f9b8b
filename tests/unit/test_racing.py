"""Racing: which fits are stopped."""

from __future__ import annotations

import pytest

from loratory.experiment.steps.racing import find_reachable_score
from loratory.specs.training import TrainingSpec


@pytest.mark.parametrize(
    ("scores", "epochs_left", "count", "low", "high"),
    [
        ([0.5], 4, 1000, None, None),  # one epoch says nothing
        ([0.5, 0.6], 0, 1000, None, None),  # nothing is left to save
        ([0.6, 0.6], 3, 1000, 0.64, 0.66),  # flat: the margin alone
        ([0.5, 0.6], 3, 1000, 0.94, 0.96),  # rising: the last gain for each epoch left, and the margin
        ([0.6, 0.5], 3, 1000, 0.64, 0.66),  # a fall is no gain
        ([0.6, 0.6], 3, 20, 0.9, 1.0),  # few examples: a wide margin
    ],
)
def test_the_reachable_score(
    scores: list[float], epochs_left: int, count: int, low: float | None, high: float | None
) -> None:
    found = find_reachable_score(scores, epochs_left, 0.9, count)
    assert (found is None) == (low is None)
    if found is not None and low is not None and high is not None:
        assert low < found < high


@pytest.mark.parametrize(
    ("racing", "seeds", "races"), [("auto", 1, True), ("auto", 2, False), ("on", 3, True), ("off", 1, False)]
)
def test_when_contenders_race(racing: str, seeds: int, races: bool) -> None:
    assert TrainingSpec.model_validate({"racing": racing, "seeds": seeds}).races is races

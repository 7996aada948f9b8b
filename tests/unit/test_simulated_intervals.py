"""A small version of what benchmarks/simulations/intervals.py claims, and that its worlds are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from simulations.intervals import (
    DIFFERENCES,
    RARE,
    SCORES,
    SMALL,
    STRESSED,
    World,
    claim_coverage,
    difference_covers,
    evaluate_covers,
    score_covers,
    stress_covers,
)
from simulations.worlds import LabelWorld, SpanWorld, alone

from loratory.specs.evidence import EvidenceSpec

LARGE = [name for name in SCORES if "77" in name]
QUICK = EvidenceSpec(resamples=200)


@pytest.mark.parametrize("name", [name for name in SCORES if name not in LARGE])
def test_intervals_hold_the_truth(name: str) -> None:
    assert claim_coverage(name, SCORES[name][0], score_covers, 25).holds


@pytest.mark.parametrize("name", DIFFERENCES)
def test_intervals_of_differences_hold_the_truth(name: str) -> None:
    assert claim_coverage(name, DIFFERENCES[name][0], difference_covers, 25).holds


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.slow
def test_intervals_of_many_labels_hold_the_truth(name: str) -> None:
    assert claim_coverage(name, SCORES[name][0], score_covers, 50).holds


def test_evaluate_and_stress_hold_the_truth_on_few_texts() -> None:
    assert claim_coverage("evaluate", SMALL, evaluate_covers, 30).holds
    assert claim_coverage("stress", STRESSED, stress_covers, 30).holds


@pytest.mark.parametrize(
    "world",
    [
        LabelWorld(RARE, ((0.9, 0.8, 0.7, *(0.6,) * 5), (0.9,) * 8), alone(8_000)),
        LabelWorld(RARE, ((0.9, 0.8, 0.7, *(0.6,) * 5), (0.9,) * 8), alone(8_000), "accuracy"),
        SpanWorld((0.8, 0.9), (0.1, 0.2), alone(8_000)),
    ],
)
def test_the_truth_of_a_world_is_what_a_large_sample_shows(world: World) -> None:
    field = world.draw(1, EvidenceSpec(resamples=200))
    for place, standing in enumerate(field.ranks):
        assert standing.scores[0][field.task.headline] == pytest.approx(world.truth(place), abs=0.025)
    assert np.isfinite(world.truth(0))

"""Small versions of the claims on the choice and on gates; benchmarks/evidence.py has the whole ones."""

from __future__ import annotations

import pytest
from simulations.claims import claim_bias, claim_rate
from simulations.selection import LadderWorld, find_errors, find_passes

from loratory.specs.evidence import Floor, GateSpec

SMALL = LadderWorld((0.85,) * 5, test=150, validation=60, shared=0.2)


def test_the_recommended_figure_is_not_optimistic() -> None:
    """With a choice by test figures the bias was two points in this world."""
    assert claim_bias("small", find_errors(SMALL, 150), 0.2).holds


def test_a_gate_at_the_truth_is_seldom_passed_by_anybody() -> None:
    """Each contender tested by itself: somebody passed in 15 to 20 % of worlds."""
    gate = GateSpec(accuracy=Floor(at_least=0.85))
    assert claim_rate("small", find_passes(SMALL, gate, 150), 0.05, at_most=True).holds


def test_a_gate_well_below_the_truth_is_passed() -> None:
    gate = GateSpec(accuracy=Floor(at_least=0.7))
    assert claim_rate("power", find_passes(SMALL, gate, 30), 0.9, at_most=False).seen >= 0.9


@pytest.mark.parametrize(("happened", "holds"), [(5, True), (30, False)])
def test_a_claim_misses_where_it_is_seen_to(happened: int, holds: bool) -> None:
    claim = claim_rate("x", [i < happened for i in range(100)], 0.05, at_most=True)
    assert (claim.holds, claim.low <= claim.seen <= claim.high) == (holds, True)
    assert claim_bias("x", [0.5 + 0.01 * (i % 3) for i in range(100)], 0.2).holds is False

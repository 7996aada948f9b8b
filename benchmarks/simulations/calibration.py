"""Calibration error in simulated worlds: how often a calibrated predictor exceeds what chance is said to show.

The predictor is right as often as it says. In grouped worlds the examples of a group are right and wrong together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from loratory.evaluation.statistics.calibration import (
    collect_confidences,
    compute_calibration_error,
    estimate_chance_error,
)
from loratory.protocols import Example, Prediction, ScoredPredictions
from simulations.claims import Claim, claim_rate

WORLDS = 400
SEED = 8


@dataclass(frozen=True)
class World:
    """A test set, and how its examples belong together."""

    name: str
    n: int
    size: int = 1  # examples of a group
    together: float = 0.0  # correlation of the normal numbers behind right and wrong
    alike: bool = False  # whether the examples of a group are answered with the same confidence
    too_sure: float = 0.0  # the share right lies so far below the confidence

    def draw(self, number: int) -> ScoredPredictions:
        """What a predictor answered."""
        from scipy.special import ndtr

        generator = np.random.default_rng([SEED, self.n, self.size, number])
        groups = np.arange(self.n) // self.size
        count = int(groups[-1]) + 1
        confidence = 0.5 + 0.5 * (generator.beta(3, 1, count)[groups] if self.alike else generator.beta(3, 1, self.n))
        common, own = generator.standard_normal(count)[groups], generator.standard_normal(self.n)
        drawn = ndtr(np.sqrt(self.together) * common + np.sqrt(1 - self.together) * own)
        right = (drawn < confidence - self.too_sure).tolist()
        examples = [Example({}, {"label": "A"}, group=f"g{group}") for group in groups.tolist()]
        made = [Prediction({"label": "A"}, {"/label": {"A": share}}) for share in confidence.tolist()]
        return ScoredPredictions(examples, made, [{"n": 1.0, "reward": float(one)} for one in right])

    def exceeds_chance(self, number: int) -> bool:
        """Whether the calibration error lies above the 95th percentile of chance."""
        known = collect_confidences(self.draw(number))
        return known is not None and compute_calibration_error(known) > estimate_chance_error(known)[1]


CALIBRATED: Sequence[World] = (
    World("200 independent examples", 200),
    World("1,000 independent examples", 1000),
    World("200 examples in groups of 5 that are right or wrong as a whole", 200, 5, 1.0, alike=True),
    World("1,000 examples in groups of 10 that are right or wrong as a whole", 1000, 10, 1.0, alike=True),
    World("1,000 examples in groups of 10, half together", 1000, 10, 0.5),
)
TOO_SURE: Sequence[World] = (
    World("200 independent examples", 200, too_sure=0.15),
    World("1,000 examples in groups of 10, half together", 1000, 10, 0.5, too_sure=0.15),
)


def claims(scale: float) -> Iterator[Claim]:
    """The chance level is exceeded by chance in at most 5 % of worlds, and by a predictor that is too sure in most."""
    worlds = max(int(WORLDS * scale), 2)
    for world in CALIBRATED:
        seen = [world.exceeds_chance(number) for number in range(worlds)]
        yield claim_rate(
            f"calibration error of a calibrated predictor above chance: {world.name}", seen, 0.05, at_most=True
        )
    for world in TOO_SURE:
        seen = [world.exceeds_chance(number) for number in range(worlds)]
        name = f"calibration error of one that is 15 points too sure above chance: {world.name}"
        yield claim_rate(name, seen, 0.8, at_most=False)

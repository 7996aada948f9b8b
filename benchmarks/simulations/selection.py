"""Whether the recommended figure is unbiased, and whether a gate at the truth is seldom passed by anybody.

A world is a test set and a validation set, drawn anew, for contenders of known true accuracy. Hard examples are hard
for all of them: `shared` is the share of an example's hardness that all contenders meet alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.gate import evaluate_all_gates
from loratory.evaluation.model_selection import select_contender
from loratory.evaluation.statistics.comparison_set import ComparisonSet, build_comparison_set
from loratory.protocols import Example, ParameterCount, Prediction, ScoredPredictions
from loratory.specs.evidence import EvidenceSpec, Floor, GateSpec
from loratory.tasks.classify import Classify
from simulations.claims import Claim, claim_bias, claim_rate

TASK = Classify(labels=("no", "yes"), headline="accuracy")
EXPECTED = {"label": "yes"}
ANSWERS = [
    (said := Prediction({"label": label}), TASK.score_example(Example({}, EXPECTED), said)) for label in ("no", "yes")
]  # wrong, right
EVIDENCE = EvidenceSpec(resamples=200)


@dataclass(frozen=True)
class LadderWorld:
    """How test and validation sets come about."""

    accuracies: Sequence[float]
    test: int = 400
    validation: int = 150
    group: int = 1  # examples in a group
    shared: float = 0.5
    clumped: float = 0.0  # share of the shared hardness that a group's examples have in common

    def draw_field(self, seed: int) -> ComparisonSet:
        """The contenders, measured on sets of their own."""
        rng = np.random.default_rng(seed)
        test, validation = self._draw_right(rng, self.test), self._draw_right(rng, self.validation)
        rows = [self._examples(self.test), self._examples(self.validation)]
        made = [
            measure(f"c{place}", _outcome(rows[0], test[place]), _outcome(rows[1], validation[place]))
            for place in range(len(self.accuracies))
        ]
        return build_comparison_set(TASK, made, EVIDENCE)

    def _draw_right(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.bool_]:
        """bool[C, N]: which contender is right where."""
        of_group = np.repeat(rng.normal(size=math.ceil(n / self.group)), self.group)[:n]
        common = math.sqrt(self.clumped) * of_group + math.sqrt(1 - self.clumped) * rng.normal(size=n)
        own = rng.normal(size=(len(self.accuracies), n))
        hardness = math.sqrt(self.shared) * common + math.sqrt(1 - self.shared) * own
        limits = np.array([NormalDist().inv_cdf(accuracy) for accuracy in self.accuracies])
        return np.asarray(hardness < limits[:, None])

    def _examples(self, n: int) -> list[Example]:
        names = [f"g{i // self.group}" if self.group > 1 else "" for i in range(n)]
        return [Example({}, EXPECTED, name, origin=str(i)) for i, name in enumerate(names)]


def measure(name: str, test: ScoredPredictions, validation: ScoredPredictions) -> ContenderResult:
    """A contender with one fit and these answers."""
    return ContenderResult(name, "made", None, False, (Fit(0, validation, test, 0.0),), 0, ParameterCount(0, 0), 0, {})


def _outcome(examples: Sequence[Example], right: npt.NDArray[np.bool_]) -> ScoredPredictions:
    answers, marks = zip(*(ANSWERS[one] for one in right.astype(int).tolist()), strict=True)
    return ScoredPredictions(examples, answers, marks)


def find_errors(world: LadderWorld, worlds: int) -> list[float]:
    """Points that the recommended contender's test figure lies above its truth, in each world."""
    errors = []
    for seed in range(worlds):
        chosen = select_contender(world.draw_field(seed)).recommended
        truth = world.accuracies[int(chosen.name[1:])]
        errors.append(100 * (chosen.scores[0]["accuracy"] - truth))
    return errors


def find_passes(world: LadderWorld, gate: GateSpec, worlds: int) -> list[bool]:
    """Whether any contender passes the gate, in each world."""
    found = []
    for seed in range(worlds):
        field = world.draw_field(seed)
        gates = evaluate_all_gates(gate, field, select_contender(field).recommended)
        found.append(any(one["holds"] for one in gates.values()))
    return found


EQUALS = {
    "six equals": LadderWorld((0.9,) * 6),
    "six equals that err apart": LadderWorld((0.85,) * 6, shared=0.1),
    "nine equals, 120 test and 60 validation examples": LadderWorld((0.8,) * 9, test=120, validation=60, shared=0.3),
    "six equals in groups of four": LadderWorld((0.85,) * 6, test=320, validation=120, group=4, clumped=0.7),
}
NEAR_EQUALS = LadderWorld((0.88, 0.885, 0.89, 0.895, 0.9), shared=0.4)


def claims(scale: float) -> Iterator[Claim]:
    """Bias of the recommended figure, and gates at exactly the truth."""
    worlds = max(2, round(600 * scale))
    for name, world in {**EQUALS, "five, half a point apart": NEAR_EQUALS}.items():
        yield claim_bias(f"recommended figure minus truth: {name}", find_errors(world, worlds), 0.2)
    for name, world in EQUALS.items():
        floor = GateSpec(accuracy=Floor(at_least=world.accuracies[0]))
        yield claim_rate(
            f"a gate at the truth is passed: {name}", find_passes(world, floor, worlds), 0.05, at_most=True
        )

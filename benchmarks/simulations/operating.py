"""Operating points in simulated worlds: whether what is called proven holds for the answers as they are served.

A world draws a validation and a calibration part, fits a point by `operating.fit`, and answers a fresh population by
`choose`, which is what answers in serving, too. The classifier's probabilities are the right ones of logit-normal
texts, made more or less sure than they should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from loratory.evaluation.statistics import operating_point_fitting
from loratory.evaluation.statistics.bootstrap import Floats, Integers
from loratory.predictors.calibrated import OperatingPoint, apply_temperature, choose_labels, score_in_scope
from loratory.protocols import Prediction
from loratory.specs.operating_point import AbstainSpec, OperatingSpec, ThresholdSpec
from simulations.claims import Claim, claim_rate

WORLDS = 400
POPULATION = 30_000  # texts that count
SEED = 14


@dataclass(frozen=True)
class Drawn:
    """Texts as a classifier sees them."""

    shares: Floats  # float[N, L]
    expected: Integers  # int[N]
    groups: Integers  # int[N]


@dataclass(frozen=True)
class World:
    """What is asked of a point, and of which texts."""

    name: str
    asked: dict[str, tuple[str, float]]  # label -> (recall or false_positives, how much)
    share: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)  # of each label
    keep: float | None = None
    n: int = 600  # of the calibration part
    signal: float = 3.5  # how far a text's own logit lies above the others, in their standard deviations
    sure: float = 2.0  # how many times too far its logits lie from each other
    together: int = 1  # texts of a group, which share half of their noise and their label
    confidence: float = 0.95
    seed: int = field(default=SEED)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A, B, ..."""
        return tuple("ABCDEFGHIJ"[: len(self.share)])

    @cached_property
    def spec(self) -> OperatingSpec:
        """As the product reads it."""
        asked = {
            label: ThresholdSpec.model_validate({kind: floor, "confidence": self.confidence})
            for label, (kind, floor) in self.asked.items()
        }
        return OperatingSpec(thresholds=asked, abstain=AbstainSpec(keep=self.keep) if self.keep else None)

    def draw(self, n: int, generator: np.random.Generator) -> Drawn:
        """N texts, in groups."""
        groups = np.arange(n) // self.together
        count = int(groups[-1]) + 1
        expected = generator.choice(len(self.share), count, p=self.share)[groups]
        noise = generator.standard_normal((n, len(self.share)))
        if self.together > 1:
            noise = (noise + generator.standard_normal((count, len(self.share)))[groups]) / np.sqrt(2)
        noise[np.arange(n), expected] += self.signal
        logits = self.sure * (self.signal * noise + np.log(self.share))  # the right ones where sure is 1
        parts = np.exp(logits - logits.max(axis=1, keepdims=True))
        return Drawn(parts / parts.sum(axis=1, keepdims=True), expected.astype(np.int64), groups.astype(np.int64))

    def score_part(self, drawn: Drawn) -> operating_point_fitting.ScoredPart:
        """As the product knows them."""
        labels = self.labels
        rows = [dict(zip(labels, row, strict=True)) for row in drawn.shares.tolist()]
        best = [labels[place] for place in drawn.shares.argmax(axis=1).tolist()]
        judged: operating_point_fitting.ScoredTexts = [
            (Prediction({"label": one}, {"/label": row}), {}) for one, row in zip(best, rows, strict=True)
        ]
        return operating_point_fitting.ScoredPart(
            judged, [labels[place] for place in drawn.expected.tolist()], drawn.groups
        )

    @cached_property
    def population(self) -> Drawn:
        """Enough texts to know the truth; only those that count, where a demand counts no others."""
        generator = np.random.default_rng(self.seed)
        if any(kind != "recall" for kind, _ in self.asked.values()):
            return self.draw(POPULATION, generator)
        counted = [self.labels.index(label) for label in self.asked]
        all_of_it = self.draw(int(POPULATION / sum(self.share[place] for place in counted)), generator)
        kept = np.isin(all_of_it.expected, counted)
        return Drawn(all_of_it.shares[kept], all_of_it.expected[kept], all_of_it.groups[kept])

    def fit(self, number: int) -> operating_point_fitting.FittedPoint:
        """A point, by the product; validation only where it chooses something, as in the product."""
        generator = np.random.default_rng([self.seed, number])
        calibration = self.score_part(self.draw(self.n, generator))
        validation = self.score_part(self.draw(self.n, generator)) if len(self.asked) > 1 else calibration
        return operating_point_fitting.fit_operating_point(self.spec, calibration, validation, [])

    def serve(self, point: OperatingPoint, drawn: Drawn) -> Integers:
        """The place of the label that each text gets."""
        shares = apply_temperature(drawn.shares, point.temperature)
        return choose_labels(point, self.labels, shares, score_in_scope(point.score, shares, []))

    def truth(self, point: OperatingPoint) -> dict[str, float]:
        """Recall or false positives of each label, as served."""
        served, expected = self.serve(point, self.population), self.population.expected
        return {
            label: float((served == place)[(expected == place) == (self.asked[label][0] == "recall")].mean())
            for place, label in enumerate(self.labels)
            if label in self.asked
        }

    def misses_promise(self, fitted: operating_point_fitting.FittedPoint) -> bool:
        """Whether anything that is called proven is not so."""
        true, proven = self.truth(fitted.point), fitted.facts["thresholds"]
        return any(
            proven[label]["proven"] and (true[label] < floor if kind == "recall" else true[label] > floor)
            for label, (kind, floor) in self.asked.items()
        )


NINE = ("recall", 0.9)
EIGHT = ("recall", 0.8)
RARE = (0.1, 0.2, 0.3, 0.4)
# What each threshold holds alone, and the answers do not: thresholds compete, or abstention takes away.
CONTRARY: Sequence[World] = (
    World("recall 0.9, abstain keep 0.95, labels often confused", {"A": NINE}, keep=0.95, n=1500, signal=2.0),
    World("recall 0.9 of two labels of two, often confused", {"A": NINE, "B": NINE}, (0.5, 0.5), signal=1.5),
    World("recall 0.9 of four labels of four, often confused", dict.fromkeys("ABCD", NINE), signal=2.0),
)
WORLDS_ASKED: Sequence[World] = (
    *CONTRARY,
    World("recall 0.9 of one label", {"A": NINE}, (0.25, 0.75), signal=2.0),
    World("recall 0.9 of one label, 200 texts", {"A": NINE}, (0.5, 0.5), n=200, signal=2.5),
    World("recall 0.9, abstain keep 0.95", {"A": NINE}, keep=0.95, n=1500),
    World("recall 0.9 of two labels of four", {"A": NINE, "B": NINE}, n=1000, signal=2.5),
    World("recall 0.85 of two labels of two", dict.fromkeys("AB", ("recall", 0.85)), (0.3, 0.7), signal=2.0),
    World("recall 0.8 of four labels of four", dict.fromkeys("ABCD", EIGHT), n=1000, signal=2.5),
    World("recall 0.8 of two labels, one of them rare", {"A": EIGHT, "B": EIGHT}, RARE, n=1000, signal=2.5),
    World(
        "false positives 0.05 and 0.02 of two labels",
        {"A": ("false_positives", 0.05), "B": ("false_positives", 0.02)},
        signal=2.5,
    ),
    World(
        "recall 0.9, false positives 0.05 of another, abstain keep 0.97",
        {"A": NINE, "B": ("false_positives", 0.05)},
        keep=0.97,
        signal=3.0,
    ),
    World("recall 0.85, abstain keep 0.95, groups of 5", {"A": ("recall", 0.85)}, keep=0.95, n=1000, together=5),
    World("recall 0.8 of two labels, groups of 5", {"A": EIGHT, "B": EIGHT}, n=1000, signal=2.5, together=5),
    World("recall 0.8 of 3 % of the texts", {"A": EIGHT}, (0.03, 0.47, 0.5), n=2000, signal=3.0),
    World("recall 0.8, a weak model that is too sure", {"A": EIGHT}, signal=1.2, sure=3.0),
    World(
        "recall 0.7 of two labels, abstain keep 0.95, a weak model that is not sure enough",
        dict.fromkeys("AB", ("recall", 0.7)),
        keep=0.95,
        signal=2.0,
        sure=0.5,
    ),
)


def claims(scale: float) -> Iterator[Claim]:
    """A claim for each world: what is called proven is missed in at most 5 % of its draws."""
    worlds = max(int(WORLDS * scale), 2)
    for world in WORLDS_ASKED:
        missed = [world.misses_promise(world.fit(number)) for number in range(worlds)]
        yield claim_rate(f"a proven point misses its floor as served: {world.name}", missed, 0.05, at_most=True)

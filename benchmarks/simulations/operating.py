"""Operating points in simulated worlds: whether what is called proven holds for the answers as they are served.

A world draws a validation and a calibration part, fits a point by `operating.fit`, and answers a fresh population by
`choose`, which is what answers in serving, too. The classifier's probabilities are the right ones of logit-normal texts,
made more or less sure than they should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from simulations.claims import Claim, claim_rate

from loratory.evaluation import operating
from loratory.evaluation.bootstrap import Floats, Integers
from loratory.predictors.operated import Point, choose, scope, temper
from loratory.protocols import Prediction
from loratory.specs.operating import AbstainSpec, OperatingSpec, ThresholdSpec

WORLDS = 400
POPULATION = 100_000
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

    @property
    def labels(self) -> tuple[str, ...]:
        """A, B, ..."""
        return tuple("ABCDEFGHIJ"[: len(self.share)])

    @property
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

    def known(self, drawn: Drawn) -> operating.Known:
        """As the product knows them."""
        rows = [dict(zip(self.labels, row, strict=True)) for row in drawn.shares.tolist()]
        judged = [(Prediction({"label": max(row, key=row.__getitem__)}, {"/label": row}), {}) for row in rows]
        return operating.Known(judged, [self.labels[place] for place in drawn.expected.tolist()], drawn.groups)

    @cached_property
    def population(self) -> Drawn:
        """Enough texts to know the truth."""
        return self.draw(POPULATION, np.random.default_rng(self.seed))

    def fit(self, number: int) -> operating.Fitted:
        """A point, by the product."""
        generator = np.random.default_rng([self.seed, number])
        calibration, validation = (self.known(self.draw(self.n, generator)) for _ in range(2))
        return operating.fit(self.spec, calibration, validation, [])

    def serve(self, point: Point) -> Integers:
        """The place of the label that each text of the population gets."""
        shares = temper(self.population.shares, point.temperature)
        return choose(point, self.labels, shares, scope(point.score, shares, []))

    def truth(self, point: Point) -> dict[str, float]:
        """Recall or false positives of each label, as served."""
        served, expected = self.serve(point), self.population.expected
        return {
            label: float((served == place)[(expected == place) == (self.asked[label][0] == "recall")].mean())
            for place, label in enumerate(self.labels)
            if label in self.asked
        }

    def missed(self, fitted: operating.Fitted) -> bool:
        """Whether anything that is called proven is not so."""
        true, proven = self.truth(fitted.point), fitted.facts["thresholds"]
        return any(
            proven[label]["proven"] and (true[label] < floor if kind == "recall" else true[label] > floor)
            for label, (kind, floor) in self.asked.items()
        )

    def look(self, fitted: operating.Fitted) -> dict[str, Any]:
        """All that a table wants to know of one fit."""
        served = self.serve(fitted.point)
        return {
            "missed": self.missed(fitted),
            "proven": all(about["proven"] for about in fitted.facts["thresholds"].values()),
            "right": float((served == self.population.expected).mean()),
            **self.truth(fitted.point),
        }


NINE = ("recall", 0.9)
WORLDS_ASKED: Sequence[World] = (
    World("recall 0.9 of one label of two", {"A": NINE}, (0.25, 0.75), signal=2.0),
    World("recall 0.9 and abstain keep 0.95", {"A": NINE}, keep=0.95),
    World("recall 0.9 of two labels of four", {"A": NINE, "B": NINE}),
    World("recall 0.9 of two labels of two, which compete", {"A": NINE, "B": NINE}, (0.3, 0.7), signal=3.0),
    World("recall 0.85 of four labels of four", dict.fromkeys("ABCD", ("recall", 0.85)), n=800),
    World("false positives 0.05 and 0.02 of two labels", {"A": ("false_positives", 0.05), "B": ("false_positives", 0.02)}, signal=2.5),
    World("recall 0.9, false positives 0.05 and abstain keep 0.97", {"A": NINE, "B": ("false_positives", 0.05)}, keep=0.97),
    World("recall 0.85 and abstain keep 0.95 in groups of five", {"A": ("recall", 0.85)}, keep=0.95, n=1500, together=5),
    World("recall 0.85 of two labels in groups of five", dict.fromkeys("AB", ("recall", 0.85)), n=1500, together=5),
    World("recall 0.8 of a label that is 3 % of the texts", {"A": ("recall", 0.8)}, (0.03, 0.47, 0.5), n=3000, signal=3.0),
    World("recall 0.8 of one label, by a weak model", {"A": ("recall", 0.8)}, signal=1.2, sure=3.0),
    World("recall 0.7 of two labels and abstain keep 0.95, by a weak model", dict.fromkeys("AB", ("recall", 0.7)), keep=0.95, signal=2.0, sure=0.5),
    World("recall 0.9 of one label on 200 texts", {"A": NINE}, (0.5, 0.5), n=200, signal=2.5),
)


def claims(scale: float) -> Iterator[Claim]:
    """A claim for each world: what is called proven is missed in at most 5 % of its draws."""
    worlds = max(int(WORLDS * scale), 2)
    for world in WORLDS_ASKED:
        missed = [world.missed(world.fit(number)) for number in range(worlds)]
        yield claim_rate(f"a proven point misses its floor as served: {world.name}", missed, 0.05, at_most=True)

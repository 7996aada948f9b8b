"""How often tests decide wrongly, and how often they find what they say that they find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from loratory.evaluation.model_selection import assess_non_inferiority
from loratory.evaluation.statistics.comparisons import compare_contenders
from loratory.specs.evidence import EvidenceSpec
from simulations.claims import Claim, claim_amount, claim_rate
from simulations.intervals import FOUR, RARE, RARE_BETTER, RARE_RECALLS, RARE_WORSE, SKEWED, ZIPF, ZIPF_RECALLS, World
from simulations.worlds import LabelWorld, Sizes, SpanWorld, alone

ALPHA, POWER, RESAMPLES = 0.05, 0.8, 1000
GROUPED = Sizes((4,) * 80, clumped=0.7, pure=True)
Rows = Sequence[dict[str, Any]]

EQUALS: dict[str, World] = {
    "accuracy, 200 texts": LabelWorld(FOUR, ((0.9,) * 4,) * 3, alone(200), "accuracy"),
    "macro-F1, 50 texts, 5 of 8 labels rare": LabelWorld(RARE, (RARE_RECALLS,) * 3, alone(50)),
    "macro-F1, 200 texts, 20 labels by Zipf": LabelWorld(ZIPF, (ZIPF_RECALLS,) * 3, alone(200)),
    "macro-F1, 80 groups of 4, each of one label": LabelWorld(FOUR, ((0.85,) * 4,) * 3, GROUPED),
    "macro-F1, 61 groups, one of them a quarter": LabelWorld(FOUR, ((0.85,) * 4,) * 3, SKEWED),
    "span F1, 100 texts": SpanWorld((0.85,) * 3, (0.1,) * 3, alone(100)),
}
# the first contender is worse than the second by just the margin
WORSE: dict[str, World] = {
    "macro-F1, 50 texts, worse on rare labels": LabelWorld(RARE, (RARE_WORSE, RARE_BETTER), alone(50)),
    "macro-F1, 50 texts, a little worse on rare labels": LabelWorld(
        RARE, ((0.9,) * 3 + (0.8,) * 5, RARE_BETTER), alone(50)
    ),
    "macro-F1, 200 texts, 20 labels by Zipf": LabelWorld(ZIPF, ((0.85,) * 8 + (0.6,) * 12, (0.85,) * 20), alone(200)),
    "accuracy, 250 texts": LabelWorld(FOUR, ((0.89,) * 4, (0.92,) * 4), alone(250), "accuracy"),
    "span F1, 100 texts": SpanWorld((0.82, 0.85), (0.1, 0.1), alone(100)),
}


# the second contender is better than the first by what is printed on average
EFFECTS: dict[str, World] = {
    "accuracy, 400 texts": LabelWorld(FOUR, ((0.85,) * 4, (0.9085,) * 4), alone(400), "accuracy"),
    "accuracy, 150 groups of 3": LabelWorld(
        FOUR, ((0.85,) * 4, (0.909,) * 4), Sizes((3,) * 150, clumped=0.7), "accuracy"
    ),
    "macro-F1, 400 texts": LabelWorld(FOUR, ((0.85,) * 4, (0.9105,) * 4), alone(400)),
    "macro-F1, 400 texts, 20 labels by Zipf": LabelWorld(ZIPF, ((0.7,) * 20, (0.7977,) * 20), alone(400)),
    "span F1, 200 texts": SpanWorld((0.75, 0.867), (0.1, 0.1), alone(200)),
}
# accuracy is the same, so that McNemar's test has nothing to find; macro-F1 differs by 14.3 points
UNLIKE = LabelWorld((0.94, *(0.015,) * 4), ((0.97, *(0.3835,) * 4), (0.944717, *(0.7796,) * 4)), alone(2000))


def claims(scale: float) -> Iterator[Claim]:
    """Errors of at most 5 % for the family, and the power that is promised."""
    for name, world in EQUALS.items():
        rows = compare_worlds(world, 400 * scale)
        wrong = [any(row["decision"] != "undecided" for row in of) for of in rows]
        yield claim_rate(f"any of three equals called better or worse: {name}", wrong, ALPHA, at_most=True)
        odd = sum(contradicts(row) for of in rows for row in of)
        yield claim_amount(f"decisions against their interval: {name}", odd, 0, "comparisons", len(rows))
    for name, world in WORSE.items():
        shown = shown_not_worse(world, 400 * scale)
        yield claim_rate(f"worse by the margin, but shown to be as good: {name}", shown, ALPHA, at_most=True)
    for name, world in EFFECTS.items():
        found = [of[0]["decision"] == "better" for of in compare_worlds(world, 400 * scale)]
        yield claim_rate(f"the minimum detectable effect is found: {name}", found, POWER, at_most=False)
    found = [of[0]["decision"] == "better" for of in compare_worlds(UNLIKE, 400 * scale)]
    yield claim_rate("14.3 points of macro-F1 at one accuracy are found", found, POWER, at_most=False)


def compare_worlds(world: World, worlds: float) -> list[Rows]:
    """The planned comparisons of each world."""
    return [compare_contenders(world.draw(seed, _evidence(seed))) for seed in range(max(int(worlds), 2))]


def contradicts(row: dict[str, Any]) -> bool:
    """Whether a decision stands beside an interval that holds 0."""
    return row["decision"] != "undecided" and bool(row["low"] <= 0 <= row["high"])


def shown_not_worse(world: World, worlds: float) -> list[bool]:
    """Whether the first contender is shown to be no worse than the second by the margin, which it just is."""
    margin = world.truth(1) - world.truth(0)
    fields = (world.draw(seed, _evidence(seed, margin)) for seed in range(max(int(worlds), 2)))
    return [bool(assess_non_inferiority(field, field.ranks[1])[0]["shown"]) for field in fields]


def _evidence(seed: int, margin: float = 0.005) -> EvidenceSpec:
    return EvidenceSpec(resamples=RESAMPLES, seed=seed, margin=margin)

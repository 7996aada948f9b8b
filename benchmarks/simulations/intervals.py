"""Whether intervals hold the truth as often as they say, of scores and of differences, in worlds that are hard."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loratory.evaluation.contender_metrics import compute_seed_interval
from loratory.evaluation.statistics.comparisons import pair_contenders
from loratory.evaluation.stress_test import PerturbedOutcomes, measure_score_change
from loratory.experiment.inference.evaluate_on_data import estimate_scores
from loratory.specs.evidence import EvidenceSpec
from simulations.claims import Claim, claim_rate
from simulations.worlds import LabelWorld, Sizes, SpanWorld, alone

World = LabelWorld | SpanWorld
Covers = Callable[[World, int, EvidenceSpec], bool]

COVERAGE, RESAMPLES = 0.95, 600
FOUR, RARE, ZIPF = (0.4, 0.3, 0.2, 0.1), (0.4, 0.3, 0.2, *(0.02,) * 5), tuple(1 / rank for rank in range(1, 21))
SKEWED = Sizes((80, *(4,) * 60), clumped=0.9, shared=0.9)  # one group holds a quarter
SINGLES = Sizes((60, *(1,) * 180), clumped=0.9, shared=0.9)
RARE_RECALLS = (0.92, 0.9, 0.88, 0.9, 0.6, 0.8, 0.3, 0.7)
ZIPF_RECALLS = tuple(0.95 - 0.02 * place for place in range(20))
RARE_WORSE = (0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5)
RARE_BETTER = (0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9)


def _accuracy(recall: float, sizes: Sizes) -> LabelWorld:
    return LabelWorld(FOUR, ((recall,) * 4,), sizes, "accuracy")


def _macro(recall: float, sizes: Sizes) -> LabelWorld:
    return LabelWorld(FOUR, ((recall,) * 4,), sizes)


SCORES: dict[str, tuple[World, int]] = {
    "accuracy of 200": (_accuracy(0.9, alone(200)), 1000),
    "accuracy of 60 groups of 5": (_accuracy(0.85, Sizes((5,) * 60, clumped=0.7, shared=1.0)), 600),
    "accuracy of 61 groups, one of them a quarter": (_accuracy(0.85, SKEWED), 600),
    "accuracy of 180 texts and a group of 60": (_accuracy(0.85, SINGLES), 600),
    "accuracy of 120, nearly perfect": (_accuracy(0.99, alone(120)), 1000),
    "macro-F1 of 50, 5 of 8 labels rare": (LabelWorld(RARE, (RARE_RECALLS,), alone(50)), 600),
    "macro-F1 of 200, 20 labels by Zipf": (LabelWorld(ZIPF, (ZIPF_RECALLS,), alone(200)), 600),
    "macro-F1 of 3,000, 77 labels": (LabelWorld((1,) * 77, ((0.93,) * 50 + (0.8,) * 27,), alone(3000)), 200),
    "macro-F1 of 60 groups of 5, each of one label": (_macro(0.85, Sizes((5,) * 60, clumped=0.7, pure=True)), 400),
    "macro-F1 of 25 groups of 8, each of one label": (_macro(0.85, Sizes((8,) * 25, clumped=0.7, pure=True)), 400),
    "macro-F1 of 61 groups, one of them a quarter": (_macro(0.85, SKEWED), 400),
    "macro-F1 of 100, nearly perfect": (_macro(0.98, alone(100)), 600),
    "span F1 of 100": (SpanWorld((0.85,), (0.1,), alone(100)), 600),
    "span F1 of 60 groups of 5": (SpanWorld((0.85,), (0.1,), Sizes((5,) * 60, clumped=0.7)), 400),
    "span F1 of 61 groups, one of them a quarter": (SpanWorld((0.85,), (0.1,), SKEWED), 400),
    "span F1 of 100, nearly perfect": (SpanWorld((0.99,), (0.01,), alone(100)), 400),
}
DIFFERENCES: dict[str, tuple[World, int]] = {
    "accuracy of 200": (LabelWorld(FOUR, ((0.9,) * 4, (0.87,) * 4), alone(200), "accuracy"), 600),
    "macro-F1 of 50, worse on rare labels": (LabelWorld(RARE, (RARE_WORSE, RARE_BETTER), alone(50)), 600),
    "macro-F1 of 200, 20 labels by Zipf": (LabelWorld(ZIPF, ((0.8,) * 20, (0.85,) * 8 + (0.7,) * 12), alone(200)), 400),
    "macro-F1 of 200, 4 labels": (LabelWorld(FOUR, ((0.9,) * 4, (0.87,) * 4), alone(200)), 400),
    "macro-F1 of 100, nearly perfect": (LabelWorld(FOUR, ((0.96,) * 4, (0.99,) * 4), alone(100)), 400),
    "span F1 of 61 groups, one of them a quarter": (SpanWorld((0.85, 0.8), (0.1, 0.1), SKEWED), 400),
    "span F1 of 100": (SpanWorld((0.85, 0.8), (0.1, 0.05), alone(100)), 400),
}
SMALL = _accuracy(0.97, alone(20))
STRESSED = LabelWorld(FOUR, ((0.98,) * 4, (0.94,) * 4), Sizes((1,) * 40, shared=0.98), "accuracy")


def claims(scale: float) -> Iterator[Claim]:
    """That each kind of interval at 95 % holds the truth in 95 % of worlds."""
    for name, (world, worlds) in SCORES.items():
        yield claim_coverage(f"interval of {name}", world, score_covers, worlds * scale)
    yield claim_coverage("interval of evaluate --data, 20 texts nearly all right", SMALL, evaluate_covers, 1000 * scale)
    for name, (world, worlds) in DIFFERENCES.items():
        yield claim_coverage(f"interval of the difference in {name}", world, difference_covers, worlds * scale)
    yield claim_coverage("interval of the change under stress, 40 texts", STRESSED, stress_covers, 600 * scale)


def claim_coverage(name: str, world: World, covers: Covers, worlds: float) -> Claim:
    """In how many worlds the interval holds the truth."""
    evidence = EvidenceSpec(resamples=RESAMPLES)
    held = [covers(world, seed, _reseed(evidence, seed)) for seed in range(max(int(worlds), 2))]
    return claim_rate(name, held, COVERAGE, at_most=False)


def _reseed(evidence: EvidenceSpec, seed: int) -> EvidenceSpec:
    """With a bootstrap of its own."""
    return evidence.model_copy(update={"seed": seed})


def score_covers(world: World, seed: int, evidence: EvidenceSpec) -> bool:
    """The first contender's headline, as in the ladder."""
    field = world.draw(seed, evidence)
    found = compute_seed_interval(field, field.ranks[0], field.task.headline)
    return bool(found["low"] <= world.truth(0) <= found["high"])


def evaluate_covers(world: World, seed: int, evidence: EvidenceSpec) -> bool:
    """The same as `evaluate --data` tells it."""
    field = world.draw(seed, evidence)
    found = estimate_scores(field.task, field.ranks[0].test, evidence)[field.task.headline]
    return found["low"] <= world.truth(0) <= found["high"]


def difference_covers(world: World, seed: int, evidence: EvidenceSpec) -> bool:
    """The first contender against the second."""
    field = world.draw(seed, evidence)
    low, high = pair_contenders(field, *field.ranks).interval(evidence.confidence)
    return low <= world.truth(0) - world.truth(1) <= high


def stress_covers(world: World, seed: int, evidence: EvidenceSpec) -> bool:
    """The change of the headline from the first contender to the second, taken for one before and after."""
    field = world.draw(seed, evidence)
    before, after = (standing.test for standing in field.ranks)
    found = measure_score_change(field.task, PerturbedOutcomes(before, after), evidence)
    return bool(found["low"] <= world.truth(1) - world.truth(0) <= found["high"])

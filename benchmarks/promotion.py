"""How often a canary's test decides wrongly, and how soon it decides rightly, with a look after every label.

python benchmarks/promotion.py [--worlds 2000]

A world is a stream of paired answers: the champion's and the challenger's on the same request, each right or wrong.
`gained` and `lost` are the shares of requests that only the challenger, and only the champion, has right. Beside our
test stands what dashboards do: a z-test that is looked at after every label. Rates of errors are held to a limit. The
worlds are computed as arrays; some are computed again by the classes that the product uses, and have to decide alike.
Writes results/promotion.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from processors import describe_machine

from loratory.evaluation.statistics.sequential import RATE_RATIOS, STAKE_WEIGHTS, STAKES, MeanTest, RateGuard

RESULT = Path(__file__).parent / "results" / "promotion.json"
ALPHA, GUARD_ALPHA = 0.05, 0.01
CHECKED = 40  # worlds of each kind that the product's own classes compute again
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Shares of requests on which one of the two is right alone, the margin, and the most labels."""

    gained: float
    lost: float
    margin: float
    labels: int


PAIRED = {
    "worse by the margin 0.02, 8 % discordant": World(0.03, 0.05, 0.02, 2000),
    "worse by the margin 0.02, 20 % discordant": World(0.09, 0.11, 0.02, 2000),
    "worse by the margin 0.05, 8 % discordant": World(0.015, 0.065, 0.05, 2000),
    "worse by the margin 0.05, 20 % discordant": World(0.075, 0.125, 0.05, 2000),
    "equal, 8 % discordant, margin 0.05": World(0.04, 0.04, 0.05, 3000),
    "equal, 8 % discordant, margin 0.02": World(0.04, 0.04, 0.02, 3000),
    "2 points better, margin 0.02": World(0.05, 0.03, 0.02, 3000),
    "10 points worse, margin 0.05": World(0.02, 0.12, 0.05, 3000),
    "40 points worse, never better, margin 0.05": World(0.0, 0.4, 0.05, 3000),
    "40 points worse, 3 % better, margin 0.05": World(0.03, 0.43, 0.05, 3000),
}
RATES = {"at the limit": 0.01, "twice the limit": 0.02, "four times the limit": 0.04}
LIMIT, REQUESTS = 0.01, 5000


def draw(world: World, worlds: int, chance: np.random.Generator) -> Floats:
    """float[worlds, labels] of -1, 0 and 1."""
    uniform = chance.random((worlds, world.labels))
    return np.where(uniform < world.gained, 1.0, np.where(uniform < world.gained + world.lost, -1.0, 0.0))


def first_crossing(log_factors: list[Floats], weights: tuple[float, ...], alpha: float) -> NDArray[np.int64]:
    """int[worlds]: after how many observations the mixture's wealth reached 1 / alpha; one more than all if never."""
    shares = np.log(np.array(weights) / sum(weights))
    wealth = np.stack([share + np.cumsum(one, axis=1) for share, one in zip(shares, log_factors, strict=True)])
    most = wealth.max(axis=0)
    reached = most + np.log(np.exp(wealth - most).sum(axis=0)) >= -np.log(alpha)
    first: NDArray[np.int64] = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, reached.shape[1] + 1)
    return first


def decide(values: Floats, margin: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When each world was called better, and when worse, than the margin allows."""
    boundary = -margin
    up = [np.log1p(stake / (1 + boundary) * (values - boundary)) for stake in STAKES]
    down = [np.log1p(-stake / (1 - boundary) * (values - boundary)) for stake in STAKES]
    return first_crossing(up, STAKE_WEIGHTS, ALPHA), first_crossing(down, STAKE_WEIGHTS, ALPHA)


def measure_pairs(world: World, worlds: int, chance: np.random.Generator) -> dict[str, Any]:
    """Shares of decisions, the median of labels, and how many were worse-called within 30 labels."""
    better, worse, times = 0, 0, []
    within = 0
    for start in range(0, worlds, 100):
        values = draw(world, min(100, worlds - start), chance)
        up, down = decide(values, world.margin)
        first = np.minimum(up, down)
        better += int(((up <= world.labels) & (up <= down)).sum())
        worse += int(((down <= world.labels) & (down < up)).sum())
        within += int(((down <= 30) & (down < up)).sum())
        times += first[first <= world.labels].tolist()
        if start < CHECKED:
            check_pairs(values[: CHECKED // 4], up, down, world)
    return {
        "promoted": better / worlds,
        "rolled_back": worse / worlds,
        "median_labels": float(np.median(times)) if times else None,
        "rolled_back_within_30": within / worlds,
    }


def check_pairs(values: Floats, up: NDArray[np.int64], down: NDArray[np.int64], world: World) -> None:
    """The product's test decides each of these worlds as the arrays do."""
    for row, above, below in zip(values, up, down, strict=False):
        test = MeanTest(-world.margin, ALPHA)
        for value in row[: min(above, below)]:
            test.observe(float(value))
        expected = "open" if min(above, below) > world.labels else "better" if above <= below else "worse"
        assert test.decision == expected, (test.decision, expected)


def peek(worlds: int, chance: np.random.Generator) -> float:
    """Share of equal pairs that a z-test calls different in one of its looks, after labels 31 to 2,000."""
    wrong = 0
    for start in range(0, worlds, 100):
        values = draw(World(0.04, 0.04, 0.0, 2000), min(100, worlds - start), chance)
        count = np.arange(1, 2001)
        mean, square = np.cumsum(values, axis=1) / count, np.cumsum(values**2, axis=1) / count
        spread = np.sqrt(np.maximum(square - mean**2, 1e-12) / count)
        wrong += int((np.abs(mean / spread) > 1.96)[:, 30:].any(axis=1).sum())
    return wrong / worlds


def measure_rate(rate: float, worlds: int, chance: np.random.Generator) -> dict[str, Any]:
    """How often the limit is called exceeded, and after how many requests."""
    times: list[int] = []
    for start in range(0, worlds, 100):
        events = (chance.random((min(100, worlds - start), REQUESTS)) < rate).astype(float)
        rates = [min(LIMIT * ratio, (1 + LIMIT) / 2) for ratio in RATE_RATIOS]
        factors = [events * np.log(one / LIMIT) + (1 - events) * np.log((1 - one) / (1 - LIMIT)) for one in rates]
        first = first_crossing(factors, (1.0,) * len(rates), GUARD_ALPHA)
        if start == 0:
            guard = RateGuard(LIMIT, GUARD_ALPHA)
            told = next((number for number, event in enumerate(events[0], 1) if guard.observe(bool(event))), None)
            assert told == (int(first[0]) if first[0] <= REQUESTS else None)
        times += first[first <= REQUESTS].tolist()
    return {"exceeded": len(times) / worlds, "median_requests": float(np.median(times)) if times else None}


def main() -> None:
    """Simulate every world and write the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2000)
    worlds, chance = parser.parse_args().worlds, np.random.default_rng(6)
    pairs = {}
    for name, world in PAIRED.items():
        pairs[name] = {**vars(world), **measure_pairs(world, worlds, chance)}
        print(name, pairs[name], flush=True)
    guards = {name: measure_rate(rate, worlds, chance) for name, rate in RATES.items()}
    result = {
        "machine": describe_machine(),
        "worlds": worlds,
        "alpha": ALPHA,
        "paired": pairs,
        "peeked_z_test_false": peek(worlds, chance),
        "rate_guard": {"limit": LIMIT, "alpha": GUARD_ALPHA, "requests": REQUESTS, "rates": guards},
    }
    print(guards, result["peeked_z_test_false"])
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

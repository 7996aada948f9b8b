"""Thresholds that are proven for the answers as they are served: abstention and all labels' thresholds together.

A demand is a floor: of the recall of a label, or of the share of other texts that do not get it. All thresholds move
together along one path, from the safest place on: those of recall rise from 0, those of false positives fall from 1,
each by the same step in log-odds. What a demand counts can then only get worse, so the last place that is held before
the first that is not can be taken: a fixed sequence, in which trying many places costs no confidence (Angelopoulos et
al. 2021, "Learn then test", sec. 2). How the labels' thresholds lie to one another is chosen on another part, as
Laufer-Goldshtein et al. (2023, "Pareto testing") do.

Shapes: N texts, L labels, D demands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from loratory.evaluation.bootstrap import Floats, Integers
from loratory.evaluation.proportions import Proportion, proportion
from loratory.predictors.operated import LEAST, MOST, NONE, Point, choose
from loratory.specs.operating import ThresholdSpec

Booleans = npt.NDArray[np.bool_]

PARTS = (0.0, 0.5, 1.0)  # of the way from thresholds that are alike to those of each demand alone
SAFER = 3.0  # log-odds by which labels with a budget of false positives may lie higher against labels of recall
STEPS = 16  # places tried at a time
BEFORE = 0.1  # log-odds before the first text that changes: where the path begins
NEVER = math.nextafter(1.0, 2.0)  # a threshold that no probability reaches


@dataclass(frozen=True)
class Sample:
    """A labelled part of the data as a predictor judges it, its probabilities tempered."""

    labels: tuple[str, ...]
    shares: Floats  # float[N, L]
    scores: Floats  # float[N], of scope
    expected: Integers  # int[N], places among labels
    silent: Booleans  # bool[N]: the predictor itself gives no answer
    groups: Integers  # int[N]

    @cached_property
    def logits(self) -> Floats:
        """Log-odds float[N, L]."""
        return np.asarray(_logit(self.shares))

    def serve(self, point: Point) -> Integers:
        """The place of the label that is served for each text, int[N]; NONE where there is no answer."""
        return np.where(self.silent, NONE, choose(point, self.labels, self.shares, self.scores))


@dataclass(frozen=True)
class Demand:
    """What has to hold of a label."""

    label: str
    place: int  # of the label
    spec: ThresholdSpec
    level: float  # of the one-sided bound: all demands together are held with the confidence that each one asks

    @property
    def floor(self) -> float:
        """The least share of the texts that count."""
        return self.spec.recall if self.spec.recall is not None else 1 - (self.spec.false_positives or 0.0)

    @property
    def of_recall(self) -> bool:
        """Whether the label's own texts count, and have to get it; else all other texts do, and must not."""
        return self.spec.recall is not None

    def counts(self, expected: Integers) -> Booleans:
        """Which texts count, bool[N]."""
        return np.asarray((expected == self.place) == self.of_recall)

    def measure(self, sample: Sample, served: Integers) -> Proportion:
        """The share that is held among the texts that count."""
        counted = self.counts(sample.expected)
        held = counted & ((served == self.place) == self.of_recall)
        return proportion(held.astype(float), counted.astype(float), sample.groups)


@dataclass(frozen=True)
class Direction:
    """How the thresholds lie to one another: log-odds at step 0, by demand, float[D]."""

    demands: Sequence[Demand]
    logits: Floats

    def thresholds(self, step: float) -> dict[str, float]:
        """A threshold for each label; those of recall rise with the step, the others fall."""
        moved = [x + (step if one.of_recall else -step) for one, x in zip(self.demands, self.logits, strict=True)]
        return {one.label: _expit(x) for one, x in zip(self.demands, moved, strict=True)}


def demand(specs: Mapping[str, ThresholdSpec], labels: Sequence[str]) -> list[Demand]:
    """The demands of a spec, their levels by Bonferroni: each may be wrong with its share of 1 - confidence."""
    return [
        Demand(label, list(labels).index(label), spec, 1 - (1 - spec.confidence) / len(specs))
        for label, spec in specs.items()
    ]


def prove(demands: Sequence[Demand], point: Point, sample: Sample, other: Sample) -> tuple[Point, dict[str, Any]]:
    """The point with thresholds, and {label: {at, proven, bound, value, n, level, why, ...what was asked}}.

    point: without thresholds. sample: the calibration part, by which places are tried. other: another labelled part, by
    which the direction is chosen. A demand that does not hold at the safest place is not proven, and the others may go
    on only while it is held as well as there.
    """
    if not demands:
        return point, {}
    walked = walk(choose_direction(demands, point, other), point, sample)
    found = {
        one.label: {
            "at": walked.chosen.thresholds[one.label],
            "proven": sure,
            "bound": part.lower(one.level),
            "value": part.value,
            "n": int(part.n),
            "groups": part.groups,
            "level": one.level,
            "why": None if sure else explain(one, walked.start, sample),
            **one.spec.model_dump(exclude_none=True),
        }
        for one, part, sure in zip(demands, _measure(demands, walked.chosen, sample), walked.proven, strict=True)
    }
    return walked.chosen, found


@dataclass(frozen=True)
class Walked:
    """Where a path begins, which demands hold there, and the last place where they still do."""

    start: Point
    proven: Sequence[bool]
    chosen: Point


def walk(direction: Direction, point: Point, sample: Sample) -> Walked:
    """Along a path from the safest place on, until a demand that held there is not held any more."""
    demands, steps = direction.demands, _places(direction, sample)

    def at(step: float) -> Point:
        return replace(point, thresholds=direction.thresholds(step))

    start = at(float(steps[0]))
    safest = _measure(demands, start, sample)
    proven = [part.lower(one.level) >= one.floor for one, part in zip(demands, safest, strict=True)]

    def holds(step: float) -> bool:
        return all(
            part.lower(one.level) >= one.floor if sure else part.value >= best.value
            for one, part, best, sure in zip(demands, _measure(demands, at(step), sample), safest, proven, strict=True)
        )

    # where every label has a floor of recall, higher thresholds would only leave texts without an answer
    gains = len(demands) < len(sample.labels) or not all(one.of_recall for one in demands)
    return Walked(start, proven, at(last_held(steps, holds)) if gains else start)


def _measure(demands: Sequence[Demand], point: Point, sample: Sample) -> list[Proportion]:
    served = sample.serve(point)
    return [one.measure(sample, served) for one in demands]


def last_held(steps: Floats, holds: Callable[[float], bool]) -> float:
    """The last step that holds before the first that does not; the first one is taken as held.

    At most STEPS are tried at a time, spread over those that are left, then those between the last two.
    """
    held, failed = 0, len(steps)
    while failed - held > 1:
        tried = np.unique(np.linspace(held + 1, failed - 1, min(STEPS, failed - held - 1)).round().astype(int))
        for place in tried.tolist():
            if not holds(float(steps[place])):
                failed = place
                break
            held = place
    return float(steps[held])


def choose_direction(demands: Sequence[Demand], point: Point, other: Sample) -> Direction:
    """Of some ways in which thresholds may lie to one another, the one that comes to most on another labelled part.

    They lie between alike for all labels, and each where its own demand could just be proven if it were the only one.
    More demands that hold come first, then how nearly they hold, then how little they give away.
    """
    alike = np.full(len(demands), _logit(1 / max(len(other.labels), 2)))
    if len(demands) < 2 or not len(other.shares):
        return Direction(demands, alike)
    own = np.array([_alone(one, point, other, x) for one, x in zip(demands, alike.tolist(), strict=True)])
    safer = np.array([0.0 if one.of_recall else SAFER for one in demands])
    shifts = [safer * 0, safer] if 0 < np.count_nonzero(safer) < len(demands) else [safer * 0]
    tried = [Direction(demands, alike + part * (own - alike) + shift) for part in PARTS for shift in shifts]

    def key(direction: Direction) -> tuple[float, ...]:
        walked = walk(direction, point, other)
        parts = _measure(demands, walked.start, other)
        short = min(min(part.lower(one.level) - one.floor, 0.0) for one, part in zip(demands, parts, strict=True))
        return float(sum(walked.proven)), short, _kept(demands, other.serve(walked.chosen), other.expected)

    return max(tried, key=key)


def _alone(one: Demand, point: Point, other: Sample, unknown: float) -> float:
    """Log-odds of the threshold at which a label could just be proven if no other had one."""
    counted = one.counts(other.expected) & ~other.silent & (other.scores >= point.least)
    if not counted.any():
        return unknown
    missed, logits = _provable(one, int(counted.sum())), other.logits[counted, one.place]
    share, method = (missed, "lower") if one.of_recall else (1 - missed, "higher")
    return float(np.quantile(logits, share, method=method))  # type: ignore[call-overload]


def _kept(demands: Sequence[Demand], served: Integers, expected: Integers) -> float:
    """What demands do not give away: others that do not get a label of recall, own texts that get the other labels."""
    shares = [
        ((served == one.place) != one.of_recall)[~one.counts(expected)].mean()
        for one in demands
        if not one.counts(expected).all()
    ]
    return float(np.mean(shares)) if shares else 0.0


def _provable(one: Demand, n: int) -> float:
    """The largest share of n independent texts that may be missed where the demand is still proven."""
    from scipy.special import bdtr

    wrong = np.arange(n + 1)
    return float(max((bdtr(wrong, max(n, 1), 1 - one.floor) <= 1 - one.level).sum() - 1, 0) / max(n, 1))


def _places(direction: Direction, sample: Sample) -> Floats:
    """Steps to try, ascending: one between any two at which something that a demand counts changes."""
    points = [part for part in _changes(direction, sample) if len(part)]
    if not points:
        return np.zeros(1)
    changes = np.unique(np.concatenate(points))
    middles = (changes[1:] + changes[:-1]) / 2
    return np.concatenate([[changes[0] - BEFORE], middles, [changes[-1] + BEFORE]])


def _changes(direction: Direction, sample: Sample) -> Iterator[Floats]:
    """For each demand the steps at which texts that count change sides.

    A text gets a label of recall while step <= its lead, and while no label of false positives beats it, which comes
    nearer by two steps at each; and the other way round.
    """
    demands = direction.demands
    leads = sample.logits[:, [one.place for one in demands]] - direction.logits
    recall = np.array([one.of_recall for one in demands])
    best_of_recall = leads[:, recall].max(axis=1, initial=-np.inf)
    best_of_others = leads[:, ~recall].max(axis=1, initial=-np.inf)
    for column, one in enumerate(demands):
        lead, counted = leads[:, column], one.counts(sample.expected)
        if one.of_recall:
            step = np.minimum(lead, (lead - best_of_others) / 2)
        else:
            step = np.maximum(-lead, (best_of_recall - lead) / 2)
        yield step[counted & np.isfinite(step)]


def explain(one: Demand, point: Point, sample: Sample) -> str:
    """Why a demand is not even held at the safest place, and what to change."""
    counted = one.counts(sample.expected).astype(float)
    most = proportion(counted, counted, sample.groups)
    if most.lower(one.level) < one.floor:
        needed = math.ceil(math.log(1 - one.level) / math.log(one.floor))
        return (
            f"{most.groups} independent texts count, and with none wrong {needed} are needed: "
            "give more calibration examples, or ask for less"
        )
    answering = replace(point, score=None, least=-math.inf)
    if one.measure(sample, sample.serve(answering)).lower(one.level) >= one.floor:
        turned = float(((sample.scores < point.least) & (counted > 0)).sum() / counted.sum())
        return f"abstention turns away {turned:.1%} of the label's texts: raise abstain: keep, or lower recall"
    alone = replace(point, thresholds={one.label: point.thresholds[one.label]})
    if one.measure(sample, sample.serve(alone)).lower(one.level) >= one.floor:
        rivals = ", ".join(sorted(set(point.thresholds) - {one.label}))
        return f"too many of its texts go to {rivals}, whose thresholds have to hold too: ask for less of these labels"
    return "no threshold holds it: ask for less, or give the model more to learn from"


def _logit(shares: Any) -> Any:
    shares = np.clip(shares, LEAST, MOST)
    return np.log(shares) - np.log1p(-shares)


def _expit(logit: float) -> float:
    if logit > 0:
        share = 1 / (1 + math.exp(-logit))
        return share if share < MOST else NEVER
    share = math.exp(logit) / (1 + math.exp(logit))
    return share if share > LEAST else 0.0

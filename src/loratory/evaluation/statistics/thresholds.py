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

from loratory.evaluation.statistics.bootstrap import Floats, Integers
from loratory.evaluation.statistics.proportions import Proportion, estimate_proportion
from loratory.predictors.calibrated import MAX_PROBABILITY, MIN_PROBABILITY, NO_LABEL, OperatingPoint, choose_labels
from loratory.specs.operating_point import ThresholdSpec

Booleans = npt.NDArray[np.bool_]

BLEND_SHARES = (0.0, 0.5, 1.0)  # of the way from thresholds that are alike to those of each demand alone
FALSE_POSITIVE_SHIFT = (
    3.0  # log-odds by which labels with a budget of false positives may lie higher against labels of recall
)
MAX_TRIED_STEPS = 16  # places tried at a time
PATH_MARGIN = 0.1  # log-odds before the first text that changes: where the path begins
UNREACHABLE_THRESHOLD = math.nextafter(1.0, 2.0)  # a threshold that no probability reaches


@dataclass(frozen=True)
class ScoredSample:
    """A labelled part of the data as a predictor judges it, its probabilities tempered."""

    labels: tuple[str, ...]
    probabilities: Floats  # float[N, L]
    scores: Floats  # float[N], of scope
    expected: Integers  # int[N], places among labels
    unanswered: Booleans  # bool[N]: the predictor itself gives no answer
    groups: Integers  # int[N]

    @cached_property
    def logits(self) -> Floats:
        """Log-odds float[N, L]."""
        return np.asarray(_logit(self.probabilities))

    def choose_labels(self, point: OperatingPoint) -> Integers:
        """The place of the label that is served for each text, int[N]; NONE where there is no answer."""
        return np.where(self.unanswered, NO_LABEL, choose_labels(point, self.labels, self.probabilities, self.scores))


@dataclass(frozen=True)
class Requirement:
    """What has to hold of a label."""

    label: str
    label_index: int  # of the label
    spec: ThresholdSpec
    bound_level: float  # of the one-sided bound: all demands together are held with the confidence that each one asks

    @property
    def min_share(self) -> float:
        """The least share of the texts that count."""
        return self.spec.recall if self.spec.recall is not None else 1 - (self.spec.false_positives or 0.0)

    @property
    def is_recall(self) -> bool:
        """Whether the label's own texts count, and have to get it; else all other texts do, and must not."""
        return self.spec.recall is not None

    def select_counted(self, expected: Integers) -> Booleans:
        """Which texts count, bool[N]."""
        return np.asarray((expected == self.label_index) == self.is_recall)

    def measure(self, sample: ScoredSample, served: Integers) -> Proportion:
        """The share that is held among the texts that count."""
        counted = self.select_counted(sample.expected)
        held = counted & ((served == self.label_index) == self.is_recall)
        return estimate_proportion(held.astype(float), counted.astype(float), sample.groups)


@dataclass(frozen=True)
class ThresholdDirection:
    """How the thresholds lie to one another: log-odds at step 0, by demand, float[D]."""

    requirements: Sequence[Requirement]
    logits: Floats

    def compute_thresholds(self, step: float) -> dict[str, float]:
        """A threshold for each label; those of recall rise with the step, the others fall."""
        moved = [x + (step if one.is_recall else -step) for one, x in zip(self.requirements, self.logits, strict=True)]
        return {one.label: _expit(x) for one, x in zip(self.requirements, moved, strict=True)}


def build_requirements(specs: Mapping[str, ThresholdSpec], labels: Sequence[str]) -> list[Requirement]:
    """The demands of a spec, their levels by Bonferroni: each may be wrong with its share of 1 - confidence."""
    return [
        Requirement(label, list(labels).index(label), spec, 1 - (1 - spec.confidence) / len(specs))
        for label, spec in specs.items()
    ]


def prove_thresholds(
    requirements: Sequence[Requirement], point: OperatingPoint, sample: ScoredSample, direction_sample: ScoredSample
) -> tuple[OperatingPoint, dict[str, Any]]:
    """The point with thresholds, and {label: {at, proven, bound, value, n, level, why, ...what was asked}}.

    point: without thresholds. sample: the calibration part, by which places are tried. other: another labelled part, by
    which the direction is chosen. A demand that does not hold at the safest place is not proven, and the others may go
    on only while it is held as well as there.
    """
    if not requirements:
        return point, {}
    walked = run_fixed_sequence(choose_direction(requirements, point, direction_sample), point, sample)
    found = {
        one.label: {
            "at": walked.chosen.thresholds[one.label],
            "proven": sure,
            "bound": part.lower_bound(one.bound_level),
            "value": part.value,
            "n": int(part.n),
            "groups": part.groups,
            "level": one.bound_level,
            "reason": None if sure else explain_failure(one, walked.safest, sample),
            **one.spec.model_dump(exclude_none=True),
        }
        for one, part, sure in zip(
            requirements, _measure_requirements(requirements, walked.chosen, sample), walked.proven, strict=True
        )
    }
    return walked.chosen, found


@dataclass(frozen=True)
class FixedSequenceResult:
    """Where a path begins, which demands hold there, and the last place where they still do."""

    safest: OperatingPoint
    proven: Sequence[bool]
    chosen: OperatingPoint


def run_fixed_sequence(
    direction: ThresholdDirection, point: OperatingPoint, sample: ScoredSample
) -> FixedSequenceResult:
    """Along a path from the safest place on, until a demand that held there is not held any more."""
    demands, steps = direction.requirements, _list_steps(direction, sample)

    def at(step: float) -> OperatingPoint:
        return replace(point, thresholds=direction.compute_thresholds(step))

    start = at(float(steps[0]))
    safest = _measure_requirements(demands, start, sample)
    proven = [part.lower_bound(one.bound_level) >= one.min_share for one, part in zip(demands, safest, strict=True)]

    def holds(step: float) -> bool:
        return all(
            part.lower_bound(one.bound_level) >= one.min_share if sure else part.value >= best.value
            for one, part, best, sure in zip(
                demands, _measure_requirements(demands, at(step), sample), safest, proven, strict=True
            )
        )

    # where every label has a floor of recall, higher thresholds would only leave texts without an answer
    gains = len(demands) < len(sample.labels) or not all(one.is_recall for one in demands)
    return FixedSequenceResult(start, proven, at(find_last_held(steps, holds)) if gains else start)


def _measure_requirements(
    requirements: Sequence[Requirement], point: OperatingPoint, sample: ScoredSample
) -> list[Proportion]:
    served = sample.choose_labels(point)
    return [one.measure(sample, served) for one in requirements]


def find_last_held(steps: Floats, holds: Callable[[float], bool]) -> float:
    """The last step that holds before the first that does not; the first one is taken as held.

    At most STEPS are tried at a time, spread over those that are left, then those between the last two.
    """
    held, failed = 0, len(steps)
    while failed - held > 1:
        tried = np.unique(
            np.linspace(held + 1, failed - 1, min(MAX_TRIED_STEPS, failed - held - 1)).round().astype(int)
        )
        for place in tried.tolist():
            if not holds(float(steps[place])):
                failed = place
                break
            held = place
    return float(steps[held])


def choose_direction(
    requirements: Sequence[Requirement], point: OperatingPoint, direction_sample: ScoredSample
) -> ThresholdDirection:
    """Of some ways in which thresholds may lie to one another, the one that comes to most on another labelled part.

    They lie between alike for all labels, and each where its own demand could just be proven if it were the only one.
    More demands that hold come first, then how nearly they hold, then how little they give away.
    """
    alike = np.full(len(requirements), _logit(1 / max(len(direction_sample.labels), 2)))
    if len(requirements) < 2 or not len(direction_sample.probabilities):
        return ThresholdDirection(requirements, alike)
    own = np.array(
        [
            _find_lone_threshold(one, point, direction_sample, x)
            for one, x in zip(requirements, alike.tolist(), strict=True)
        ]
    )
    safer = np.array([0.0 if one.is_recall else FALSE_POSITIVE_SHIFT for one in requirements])
    shifts = [safer * 0, safer] if 0 < np.count_nonzero(safer) < len(requirements) else [safer * 0]
    tried = [
        ThresholdDirection(requirements, alike + part * (own - alike) + shift)
        for part in BLEND_SHARES
        for shift in shifts
    ]

    def key(direction: ThresholdDirection) -> tuple[float, ...]:
        walked = run_fixed_sequence(direction, point, direction_sample)
        parts = _measure_requirements(requirements, walked.safest, direction_sample)
        short = min(
            min(part.lower_bound(one.bound_level) - one.min_share, 0.0)
            for one, part in zip(requirements, parts, strict=True)
        )
        return (
            float(sum(walked.proven)),
            short,
            _measure_kept_share(requirements, direction_sample.choose_labels(walked.chosen), direction_sample.expected),
        )

    return max(tried, key=key)


def _find_lone_threshold(
    requirement: Requirement, point: OperatingPoint, direction_sample: ScoredSample, unknown: float
) -> float:
    """Log-odds of the threshold at which a label could just be proven if no other had one."""
    counted = (
        requirement.select_counted(direction_sample.expected)
        & ~direction_sample.unanswered
        & (direction_sample.scores >= point.least)
    )
    if not counted.any():
        return unknown
    missed, logits = (
        _find_provable_miss_share(requirement, int(counted.sum())),
        direction_sample.logits[counted, requirement.label_index],
    )
    share, method = (missed, "lower") if requirement.is_recall else (1 - missed, "higher")
    return float(np.quantile(logits, share, method=method))  # type: ignore[call-overload]


def _measure_kept_share(requirements: Sequence[Requirement], served: Integers, expected: Integers) -> float:
    """What demands do not give away: others that do not get a label of recall, own texts that get the other labels."""
    shares = [
        ((served == one.label_index) != one.is_recall)[~one.select_counted(expected)].mean()
        for one in requirements
        if not one.select_counted(expected).all()
    ]
    return float(np.mean(shares)) if shares else 0.0


def _find_provable_miss_share(requirement: Requirement, n: int) -> float:
    """The largest share of n independent texts that may be missed where the demand is still proven."""
    from scipy.special import bdtr

    wrong = np.arange(n + 1)
    return float(
        max((bdtr(wrong, max(n, 1), 1 - requirement.min_share) <= 1 - requirement.bound_level).sum() - 1, 0) / max(n, 1)
    )


def _list_steps(direction: ThresholdDirection, sample: ScoredSample) -> Floats:
    """Steps to try, ascending: one between any two at which something that a demand counts changes."""
    points = [part for part in _find_change_steps(direction, sample) if len(part)]
    if not points:
        return np.zeros(1)
    changes = np.unique(np.concatenate(points))
    middles = (changes[1:] + changes[:-1]) / 2
    return np.concatenate([[changes[0] - PATH_MARGIN], middles, [changes[-1] + PATH_MARGIN]])


def _find_change_steps(direction: ThresholdDirection, sample: ScoredSample) -> Iterator[Floats]:
    """For each demand the steps at which texts that count change sides.

    A text gets a label of recall while step <= its lead, and while no label of false positives beats it, which comes
    nearer by two steps at each; and the other way round.
    """
    demands = direction.requirements
    leads = sample.logits[:, [one.label_index for one in demands]] - direction.logits
    recall = np.array([one.is_recall for one in demands])
    best_of_recall = leads[:, recall].max(axis=1, initial=-np.inf)
    best_of_others = leads[:, ~recall].max(axis=1, initial=-np.inf)
    for column, one in enumerate(demands):
        lead, counted = leads[:, column], one.select_counted(sample.expected)
        if one.is_recall:
            step = np.minimum(lead, (lead - best_of_others) / 2)
        else:
            step = np.maximum(-lead, (best_of_recall - lead) / 2)
        yield step[counted & np.isfinite(step)]


def explain_failure(requirement: Requirement, point: OperatingPoint, sample: ScoredSample) -> str:
    """Why a demand is not even held at the safest place, and what to change."""
    counted = requirement.select_counted(sample.expected).astype(float)
    most = estimate_proportion(counted, counted, sample.groups)
    if most.lower_bound(requirement.bound_level) < requirement.min_share:
        needed = math.ceil(math.log(1 - requirement.bound_level) / math.log(requirement.min_share))
        return (
            f"{most.groups} independent texts count, and with none wrong {needed} are needed: "
            "give more calibration examples, or ask for less"
        )
    answering = replace(point, score=None, least=-math.inf)
    if (
        requirement.measure(sample, sample.choose_labels(answering)).lower_bound(requirement.bound_level)
        >= requirement.min_share
    ):
        turned = float(((sample.scores < point.least) & (counted > 0)).sum() / counted.sum())
        return f"abstention turns away {turned:.1%} of the label's texts: raise abstain: keep, or lower recall"
    alone = replace(point, thresholds={requirement.label: point.thresholds[requirement.label]})
    if (
        requirement.measure(sample, sample.choose_labels(alone)).lower_bound(requirement.bound_level)
        >= requirement.min_share
    ):
        rivals = ", ".join(sorted(set(point.thresholds) - {requirement.label}))
        return f"too many of its texts go to {rivals}, whose thresholds have to hold too: ask for less of these labels"
    return "no threshold holds it: ask for less, or give the model more to learn from"


def _logit(shares: Any) -> Any:
    shares = np.clip(shares, MIN_PROBABILITY, MAX_PROBABILITY)
    return np.log(shares) - np.log1p(-shares)


def _expit(logit: float) -> float:
    if logit > 0:
        share = 1 / (1 + math.exp(-logit))
        return share if share < MAX_PROBABILITY else UNREACHABLE_THRESHOLD
    share = math.exp(logit) / (1 + math.exp(logit))
    return share if share > MIN_PROBABILITY else 0.0

"""Whether confidence can be believed: calibration error, risk against coverage, and the mistakes made most surely."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from loratory.evaluation.statistics.bootstrap import Floats, Integers, extract_count, index_groups, sum_by_group
from loratory.evaluation.statistics.proportions import PRIOR_GROUPS
from loratory.protocols import Labelled, ScoredPredictions

DEFAULT_BINS = 15
CHANCE_DRAWS = 1000
CHANCE_SEED = 15


@dataclass(frozen=True)
class ConfidenceSample:
    """Confidence and reward of the examples that were answered, sorted by confidence."""

    confidence: Floats  # float[M], ascending
    correctness: Floats  # float[M] in [0, 1]
    bin_starts: Integers  # where each bin starts
    groups: Integers  # int[M]: the group of each example, counted from 0


def collect_confidences(outcome: ScoredPredictions, bins: int = DEFAULT_BINS) -> ConfidenceSample | None:
    """None where no answer came with probabilities: there is nothing to believe then."""
    rows = zip(outcome.predictions, outcome.counts, index_groups(outcome.examples).tolist(), strict=True)
    known = [
        (prediction.confidence, marks["reward"], group)
        for prediction, marks, group in rows
        if prediction.answer is not None and prediction.probabilities
    ]
    if not known:
        return None
    confidence, right, group = np.array(sorted(known), dtype=np.float64).T
    # Bins of equal mass; equal confidences share a bin, else the order of the file would decide the error.
    edges = confidence[[len(confidence) * i // bins for i in range(1, bins)]]
    starts = np.unique(np.concatenate([[0], np.searchsorted(confidence, edges, side="left")])).astype(np.int64)
    _, groups = np.unique(group, return_inverse=True)
    return ConfidenceSample(confidence, right, starts, groups.astype(np.int64))


def compute_calibration_error(sample: ConfidenceSample) -> float:
    """Expected calibration error (Naeini 2015) over bins of equal mass: mean |confidence - share right|."""
    return float(
        np.abs(np.add.reduceat(sample.correctness - sample.confidence, sample.bin_starts)).sum()
        / len(sample.correctness)
    )


def estimate_chance_error(sample: ConfidenceSample, draws: int = CHANCE_DRAWS) -> tuple[float, float]:
    """Mean and 95th percentile of the error that a perfectly calibrated predictor of the same confidences would show.

    Never 0: in a finite test set each bin's share right differs from its confidence by chance. Examples of a group are
    right and wrong together as often as they are here: each takes its group's draw with the root of that chance.
    """
    generator = np.random.default_rng(CHANCE_SEED)
    joined = math.sqrt(estimate_intraclass_correlation(sample))
    count, errors = int(sample.groups.max()) + 1, np.empty(draws)
    for i in range(draws):
        drawn = generator.random(len(sample.confidence))
        if joined:
            shared = generator.random(len(drawn)) < joined
            drawn = np.where(shared, generator.random(count)[sample.groups], drawn)
        gap = (drawn < sample.confidence) - sample.confidence
        errors[i] = np.abs(np.add.reduceat(gap, sample.bin_starts)).sum() / len(gap)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def estimate_intraclass_correlation(sample: ConfidenceSample) -> float:
    """How far the examples of a group are right and wrong together: 0 each by itself, 1 all by the same draw.

    Over pairs within groups, the covariance of right - confidence by the most that there could be, which is
    c (1 - d) for confidences c <= d. One standard error over groups is added, and PRIOR groups' worth of belief that it
    is 1: the level must not be too low where few groups can tell.
    """
    gap, groups = sample.correctness - sample.confidence, sample.groups
    seen = sum_by_group(gap, groups) ** 2 - sum_by_group(gap**2, groups)
    most = _compute_max_covariance(sample.confidence, groups)
    whole = float(most.sum())
    if whole <= 0:
        return 0.0
    share, count = float(seen.sum()) / whole, np.count_nonzero(most)
    error = math.sqrt(np.square(seen - share * most).sum() * count / max(count - 1, 1)) / whole
    worth = whole**2 / float(np.square(most).sum())  # groups of equal size
    return (worth * min(max(share + error, 0.0), 1.0) + PRIOR_GROUPS) / (worth + PRIOR_GROUPS)


def _compute_max_covariance(confidence: Floats, groups: Integers) -> Floats:
    """float[G]: the sum of c (1 - d) over ordered pairs of a group's examples; confidence is ascending."""
    order = np.argsort(groups, kind="stable")
    surer, of = confidence[order], groups[order]
    before = np.cumsum(surer) - surer
    before -= before[np.searchsorted(of, of)]  # only of the same group
    return 2 * sum_by_group((1 - surer) * before, of)


def build_reliability_curve(sample: ConfidenceSample) -> list[dict[str, float]]:
    """A point for every bin: mean confidence, share right, number of examples."""
    stops = [*sample.bin_starts[1:].tolist(), len(sample.correctness)]
    return [
        {
            "confidence": float(sample.confidence[start:stop].mean()),
            "right": float(sample.correctness[start:stop].mean()),
            "n": int(stop - start),
        }
        for start, stop in zip(sample.bin_starts.tolist(), stops, strict=True)
    ]


def compute_risk_coverage(outcome: ScoredPredictions) -> tuple[Floats, Floats]:
    """Coverage and risk, float[N] each: the share of wrong among the most confident part (El-Yaniv and Wiener 2010).

    Examples of equal confidence share the risk of their whole block, so that the order of the file does not count.
    """
    confidence = np.array([prediction.confidence for prediction in outcome.predictions])
    wrong = 1 - extract_count(outcome.counts, "reward")
    order = np.argsort(-confidence, kind="stable")
    levels, blocks = np.unique(-confidence[order], return_inverse=True)
    share = np.bincount(blocks, weights=wrong[order]) / np.bincount(blocks) if len(levels) else np.zeros(0)
    taken = np.arange(1, len(order) + 1)
    return taken / len(order), np.cumsum(share[blocks]) / taken


def compute_aurc(outcome: ScoredPredictions) -> float:
    """Mean risk over all coverages (AURC); lower is better."""
    return float(compute_risk_coverage(outcome)[1].mean())


def compute_confidence_auroc(outcome: ScoredPredictions) -> float | None:
    """AUROC of confidence for being right: the chance that a right answer is surer than a wrong one."""
    # None where there are only right answers, or only wrong ones
    right = extract_count(outcome.counts, "reward") >= 1 - 1e-9
    confidence = np.array([prediction.confidence for prediction in outcome.predictions])
    positive, negative = confidence[right], confidence[~right]
    return compute_auroc(positive, negative) if len(positive) and len(negative) else None


def compute_auroc(positive: Floats, negative: Floats) -> float:
    """The chance that a positive scores higher than a negative; ties count half (Hanley and McNeil 1982)."""
    ranked = np.sort(negative)
    below = np.searchsorted(ranked, positive, side="left") + np.searchsorted(ranked, positive, side="right")
    return float(below.sum() / 2 / max(len(positive) * len(negative), 1))


def find_confident_mistakes(outcome: ScoredPredictions, max_mistakes: int = 20) -> list[dict[str, Any]]:
    """The wrong answers made most surely: {origin, input, expected, answer, confidence}."""
    rows = [
        (prediction.confidence, place)
        for place, (prediction, marks) in enumerate(zip(outcome.predictions, outcome.counts, strict=True))
        if marks["reward"] < 1 - 1e-9 and prediction.answer is not None
    ]
    chosen = [place for _, place in sorted(rows, key=lambda row: (-row[0], row[1]))[:max_mistakes]]
    return [
        {
            "origin": outcome.examples[i].origin,
            "input": outcome.examples[i].input,
            "expected": outcome.examples[i].answer,
            "answer": outcome.predictions[i].answer,
            "confidence": outcome.predictions[i].confidence,
        }
        for i in chosen
    ]


def build_confusion_matrix(task: Labelled, outcome: ScoredPredictions) -> Floats:
    """Counts float[L, L + 1]: a row for each expected label, a column for each answered one, the last for no answer."""
    labels = task.labels or ()
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1))
    for example, prediction in zip(outcome.examples, outcome.predictions, strict=True):
        answered = None if prediction.answer is None else task.label_of(prediction.answer)
        counts[place[task.label_of(example.answer)], place.get(answered or "", len(labels))] += 1
    return counts


def normalise_rows(counts: Floats) -> Floats:
    """The confusion matrix as shares of each expected label; an absent label's row is 0."""
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def find_confused_pairs(task: Labelled, outcome: ScoredPredictions, max_pairs: int = 15) -> list[dict[str, Any]]:
    """The most frequent confusions: {expected, answer, count, share of the expected label}."""
    labels = task.labels or ()
    place = {label: i for i, label in enumerate(labels)}
    expected = [place[task.label_of(example.answer)] for example in outcome.examples]
    answered = [
        len(labels) if p.answer is None else place.get(task.label_of(p.answer), len(labels))
        for p in outcome.predictions
    ]
    rows, wrong = (
        Counter(expected),
        Counter(pair for pair in zip(expected, answered, strict=True) if pair[0] != pair[1]),
    )
    cells = sorted((-count, *pair) for pair, count in wrong.items())[:max_pairs]
    return [
        {
            "expected": labels[i],
            "answer": labels[j] if j < len(labels) else None,
            "count": -count,
            "share": -count / rows[i],
        }
        for count, i, j in cells
    ]

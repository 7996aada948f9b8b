"""Measures of single-label answers as additive counts, so that any interval or bootstrap is a sum of marks.

Definitions follow scikit-learn's: macro-F1 is the unweighted mean over the labels of the task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loratory.measures.ratios import Ratio, build_f1_ratio, build_ratio

CountValue = Any  # a float, or float[...]: one for each resample

MIN_PROBABILITY = float(np.finfo(np.float64).eps)  # a probability of 0 would make the log-loss of a whole set infinite


def count_outcomes(expected: str, predicted: str | None, probabilities: Mapping[str, float] | None) -> dict[str, float]:
    """Marks of one example: n, reward, answered, log_loss and the confusion counts of its labels."""
    right = expected == predicted
    marks = {"n": 1.0, "reward": float(right), "answered": float(predicted is not None), f"support/{expected}": 1.0}
    if probabilities is not None:
        marks["log_loss"] = log_loss(probabilities.get(expected, 0.0))
        marks["with_odds"] = 1.0
    if right:
        return marks | {f"tp/{expected}": 1.0}
    wrong = {f"fn/{expected}": 1.0}
    return marks | wrong | ({f"fp/{predicted}": 1.0} if predicted is not None else {})


def log_loss(share: float) -> float:
    """Of one example whose expected label has this probability, natural logarithm.

    Clipped to [eps, 1 - eps] of float64, as sklearn.metrics.log_loss (1.9) clips probabilities of that type.
    """
    return -math.log(min(max(share, MIN_PROBABILITY), 1 - MIN_PROBABILITY))


def f1(tp: CountValue, fp: CountValue, fn: CountValue) -> CountValue:
    """F1 from counts; 0 where nothing was there and nothing was found."""
    return ratio(2 * tp, 2 * tp + fp + fn)


def ratio(part: CountValue, whole: CountValue, empty: float = 0.0) -> CountValue:
    """Part / whole, `empty` where the whole is 0."""
    if isinstance(whole, np.ndarray):
        return np.divide(part, whole, out=np.full(whole.shape, empty), where=whole != 0)
    return part / whole if whole else empty


def compute_scores(totals: Mapping[str, CountValue], labels: Sequence[str]) -> dict[str, CountValue]:
    """accuracy, macro_f1, coverage, log_loss and precision/recall/F1 of every label.

    Totals may be arrays of equal shape; so are the scores then, log_loss NaN where no answer came with odds.
    """

    def of(kind: str, label: str) -> CountValue:
        return totals.get(f"{kind}/{label}", 0.0)

    per_label: dict[str, CountValue] = {}
    f1_sum: CountValue = 0.0
    for label in labels:
        tp, fp, fn = of("tp", label), of("fp", label), of("fn", label)
        one = f1(tp, fp, fn)
        f1_sum = f1_sum + one  # not in place: an array would be changed under its name
        per_label[f"precision/{label}"] = ratio(tp, tp + fp)
        per_label[f"recall/{label}"] = ratio(tp, tp + fn)
        per_label[f"f1/{label}"] = one
    n, with_odds = totals.get("n", 0.0), totals.get("with_odds", 0.0)
    summary = {
        "accuracy": ratio(totals.get("reward", 0.0), n),
        "macro_f1": f1_sum / max(len(labels), 1),
        "coverage": ratio(totals.get("answered", 0.0), n),
    }
    if np.any(with_odds):
        summary["log_loss"] = ratio(totals["log_loss"], with_odds, math.nan)
    return summary | per_label


def get_score_ratios(score: str, labels: Sequence[str]) -> tuple[Ratio, ...]:
    """The ratios whose plain mean a score of `scores` is; none of log_loss."""
    if score == "macro_f1":
        return tuple(_build_ratio("f1", label) for label in labels)
    kind, of_label, label = score.partition("/")
    if of_label and kind in ("precision", "recall", "f1"):
        return (_build_ratio(kind, label),)
    shares = {"accuracy": build_ratio("reward", "n"), "coverage": build_ratio("answered", "n")}
    return (shares[score],) if score in shares else ()


def _build_ratio(kind: str, label: str) -> Ratio:
    tp, fp, fn, there = (f"{name}/{label}" for name in ("tp", "fp", "fn", "support"))
    if kind == "precision":
        return Ratio({tp: 1.0}, {tp: 1.0, fp: 1.0}, {tp: 1.0, fp: 1.0})
    return build_ratio(tp, there) if kind == "recall" else build_f1_ratio(tp, fp, fn, {there: 1.0})

"""Measures of single-label answers as additive counts, so that any interval or bootstrap is a sum of marks.

Definitions follow scikit-learn's: macro-F1 is the unweighted mean over the labels of the task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

FLOOR = 1e-15  # a probability of 0 would make the log-loss of a whole set infinite; scikit-learn clips alike


def counts(expected: str, answered: str | None, odds: Mapping[str, float] | None) -> dict[str, float]:
    """Marks of one example: n, reward, answered, log_loss and the confusion counts of its labels."""
    right = expected == answered
    marks = {"n": 1.0, "reward": float(right), "answered": float(answered is not None), f"support/{expected}": 1.0}
    if odds is not None:
        marks["log_loss"] = -math.log(max(odds.get(expected, 0.0), FLOOR))
        marks["with_odds"] = 1.0
    if right:
        return marks | {f"tp/{expected}": 1.0}
    wrong = {f"fn/{expected}": 1.0}
    return marks | wrong | ({f"fp/{answered}": 1.0} if answered is not None else {})


def f1(tp: float, fp: float, fn: float) -> float:
    """F1 from counts; 0 where nothing was there and nothing was found."""
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def ratio(part: float, whole: float) -> float:
    """Part / whole, 0 for an empty whole."""
    return part / whole if whole else 0.0


def scores(totals: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """accuracy, macro_f1, coverage, log_loss and precision/recall/F1 of every label."""

    def of(kind: str, label: str) -> float:
        return totals.get(f"{kind}/{label}", 0.0)

    per_label: dict[str, float] = {}
    f1_sum = 0.0
    for label in labels:
        tp, fp, fn = of("tp", label), of("fp", label), of("fn", label)
        f1_sum += (one := f1(tp, fp, fn))
        per_label[f"precision/{label}"] = ratio(tp, tp + fp)
        per_label[f"recall/{label}"] = ratio(tp, tp + fn)
        per_label[f"f1/{label}"] = one
    n = totals.get("n", 0.0)
    summary = {
        "accuracy": ratio(totals.get("reward", 0.0), n),
        "macro_f1": f1_sum / max(len(labels), 1),
        "coverage": ratio(totals.get("answered", 0.0), n),
    }
    if totals.get("with_odds"):
        summary["log_loss"] = totals["log_loss"] / totals["with_odds"]
    return summary | per_label

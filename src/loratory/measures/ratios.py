"""Ratios of summed counts: what most scores are, or are the mean of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Weights = Mapping[str, float]  # kind of counts -> how much one of them counts


@dataclass(frozen=True)
class Ratio:
    """Part / whole, each a weighted sum of kinds of counts, with 0 <= part <= whole in every example.

    One of `whole` should be one trial (a text, a span), because intervals take it for the sample size. `cases` is what
    has to be there before anything is known of the ratio: texts of a label, not those that were called so.
    """

    part: Weights
    whole: Weights
    cases: Weights


def share(part: str, whole: str) -> Ratio:
    """One kind of counts over another."""
    return Ratio({part: 1.0}, {whole: 1.0}, {whole: 1.0})


def f1_ratio(tp: str, fp: str, fn: str, cases: Weights) -> Ratio:
    """F1 as tp / (tp + (fp + fn) / 2)."""
    return Ratio({tp: 1.0}, {tp: 1.0, fp: 0.5, fn: 0.5}, cases)

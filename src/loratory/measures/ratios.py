"""Ratios of summed counts: what most scores are, or are the mean of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CountWeights = Mapping[str, float]  # kind of counts -> how much one of them counts


@dataclass(frozen=True)
class Ratio:
    """Part / whole, each a weighted sum of kinds of counts, with 0 <= part <= whole in every example.

    A mistake should be worth one of `whole`, which intervals take for the number of trials. `cases` is what
    has to be there before anything is known of the ratio: texts of a label, not those that were called so.
    """

    part: CountWeights
    whole: CountWeights
    cases: CountWeights


def build_ratio(part: str, whole: str) -> Ratio:
    """One kind of counts over another."""
    return Ratio({part: 1.0}, {whole: 1.0}, {whole: 1.0})


def build_f1_ratio(tp: str, fp: str, fn: str, cases: CountWeights) -> Ratio:
    """F1 as 2 tp / (2 tp + fp + fn): a mistake is one trial, so that its variance is about a proportion's."""
    return Ratio({tp: 2.0}, {tp: 2.0, fp: 1.0, fn: 1.0}, cases)

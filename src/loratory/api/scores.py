"""Scores with their confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Score:
    """A score with its confidence interval, in the score's own unit; None where the score has no interval.

    Of a contender with several seeds, `value` is the mean over the seeds.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.4f}" + ("" if self.low is None else f" [{self.low:.4f}, {self.high:.4f}]")


def flatten_scores(scores: Mapping[str, Score]) -> dict[str, float]:
    """name, name_low and name_high of each score; without the bounds where it has no interval."""
    flat: dict[str, float] = {}
    for name, score in scores.items():
        flat[name] = score.value
        if score.low is not None and score.high is not None:
            flat |= {f"{name}_low": score.low, f"{name}_high": score.high}
    return flat


def make_frame(rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Rows as a DataFrame of pandas. Raises MissingExtra without pandas."""
    from loratory.errors import MissingExtra

    try:
        from pandas import DataFrame
    except ImportError:
        raise MissingExtra("pandas is not installed", remedy="pip install pandas") from None
    return DataFrame([dict(row) for row in rows])

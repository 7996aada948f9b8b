"""What a run hands to evaluation: each contender's fits with their answers, their cost and their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loratory.protocols import JSON, ParameterCount, ScoredPredictions, Task

# The statuses of a contender without a fit, in words.
UNFITTED_STATUSES = {"failed": "could not be fitted", "pruned": "could not win, and was not trained to its end"}


@dataclass(frozen=True)
class Fit:
    """One contender with one seed, its answers on validation and on test."""

    seed: int
    validation: ScoredPredictions
    test: ScoredPredictions
    train_seconds: float
    facts: Mapping[str, JSON] = field(default_factory=dict)  # learning_rate; history: [{epoch, loss, score}]


@dataclass(frozen=True)
class ContenderResult:
    """One row of the ladder. A contender that could not be fitted has a `failure` and no fits."""

    name: str
    regime: str
    base: str | None
    is_fine_tuned: bool  # changes the backbone's weights: what "fine-tune" means in a verdict
    fits: tuple[Fit, ...]
    shipped_seed: int  # seed of the fit chosen on validation
    size: ParameterCount
    disk_bytes: int
    latency_ms: Mapping[str, float]  # p50 and p95 of one text, milliseconds
    trials: Sequence[Mapping[str, JSON]] = ()  # {option, value, score} tried on validation
    failure: str | None = None
    is_pruned: bool = False  # the failure is that it could not win: its fit was stopped on validation
    extra_columns: Mapping[str, JSON] = field(
        default_factory=dict
    )  # json_valid of what writes; worth of an operating point
    start: str | None = None  # the contender that it goes on from
    stress_rows: Sequence[Mapping[str, JSON]] = ()  # what each perturbation does to the fit that ships, worst first

    @property
    def shipped_fit(self) -> Fit:
        """The fit that ships, that gates and comparisons speak of."""
        for fit in self.fits:
            if fit.seed == self.shipped_seed:
                return fit
        raise ValueError(f"{self.name} has no fit with seed {self.shipped_seed}")


def compute_validation_headline(task: Task, result: ContenderResult) -> float:
    """The headline score on validation of the fit that ships: every choice goes by it, none by the test set."""
    return float(task.summarise(result.shipped_fit.validation.sum_counts())[task.headline])

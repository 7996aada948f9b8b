"""Every fitted contender on the same test set, resampled alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loratory.evaluation.contender_result import ContenderResult, compute_validation_headline
from loratory.evaluation.statistics.bootstrap import (
    Floats,
    Resampling,
    draw_resamples,
    extract_count,
    index_groups,
    resample_scores,
)
from loratory.protocols import ScoredPredictions, Scores, Task
from loratory.specs.evidence import EvidenceSpec


@dataclass(frozen=True)
class Rank:
    """A fitted contender's test scores by seed, as they are and in every resample."""

    result: ContenderResult
    validation: float  # headline of the shipped fit
    scores: Mapping[int, Scores]
    samples: Mapping[int, Mapping[str, Floats]]  # seed -> score -> float[B]

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def test(self) -> ScoredPredictions:
        """The shipped fit's answers to the test set."""
        return self.result.shipped_fit.test

    @property
    def rewards(self) -> Floats:
        """float[N] in [0, 1] of the shipped fit."""
        return extract_count(self.test.counts, "reward")


@dataclass(frozen=True)
class ComparisonSet:
    """The fitted contenders in ladder order, simplest first."""

    task: Task
    evidence: EvidenceSpec
    resampling: Resampling
    ranks: tuple[Rank, ...]

    def find_rank(self, name: str) -> Rank | None:
        """The fitted contender of that name."""
        return next((standing for standing in self.ranks if standing.name == name), None)


def build_comparison_set(task: Task, results: Sequence[ContenderResult], evidence: EvidenceSpec) -> ComparisonSet:
    """Resample every fit of every fitted contender; raises ValueError where they did not answer the same examples."""
    fitted = [one for one in results if one.fits]
    if not fitted:
        raise ValueError("no contender was fitted")
    examples = fitted[0].shipped_fit.test.examples
    identities = [(example.origin, example.group, example.input) for example in examples]
    for one in fitted:
        for fit in one.fits:
            if [(example.origin, example.group, example.input) for example in fit.test.examples] != identities:
                raise ValueError(f"{one.name}, seed {fit.seed}, answered another test set than {fitted[0].name}")
    resampling = draw_resamples(index_groups(examples), evidence.resamples, evidence.seed)
    return ComparisonSet(task, evidence, resampling, tuple(_build_rank(task, one, resampling) for one in fitted))


def list_overall_scores(scores: Scores) -> list[str]:
    """The names of scores of the whole, without those of a label ("recall/FRAUD")."""
    return [name for name in scores if "/" not in name]


def find_best(ranks: Sequence[Rank]) -> Rank:
    """The best on validation; the simplest of equals."""
    return max(ranks, key=lambda standing: standing.validation)  # max keeps the first of equals


def _build_rank(task: Task, result: ContenderResult, resampling: Resampling) -> Rank:
    scores = {fit.seed: task.summarise(fit.test.sum_counts()) for fit in result.fits}
    samples = {
        fit.seed: resample_scores(resampling, fit.test.counts, task, list_overall_scores(scores[fit.seed]))
        for fit in result.fits
    }
    return Rank(result, compute_validation_headline(task, result), scores, samples)

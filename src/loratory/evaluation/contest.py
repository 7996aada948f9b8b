"""Every fitted contender on the same test set, resampled alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loratory.evaluation.bootstrap import Floats, Resampling, column, draw, group_index, replicate
from loratory.evaluation.measured import Measured, validation_headline
from loratory.protocols import Outcome, Scores, Task
from loratory.specs.evidence import EvidenceSpec


@dataclass(frozen=True)
class Standing:
    """A fitted contender's test scores by seed, as they are and in every resample."""

    measured: Measured
    validation: float  # headline of the shipped fit
    scores: Mapping[int, Scores]
    samples: Mapping[int, Mapping[str, Floats]]  # seed -> score -> float[B]

    @property
    def name(self) -> str:
        return self.measured.name

    @property
    def test(self) -> Outcome:
        """The shipped fit's answers to the test set."""
        return self.measured.ship.test

    @property
    def rewards(self) -> Floats:
        """float[N] in [0, 1] of the shipped fit."""
        return column(self.test.marks, "reward")


@dataclass(frozen=True)
class Contest:
    """The fitted contenders in ladder order, simplest first."""

    task: Task
    evidence: EvidenceSpec
    resampling: Resampling
    standings: tuple[Standing, ...]

    def find(self, name: str) -> Standing | None:
        """The fitted contender of that name."""
        return next((standing for standing in self.standings if standing.name == name), None)


def contest(task: Task, measured: Sequence[Measured], evidence: EvidenceSpec) -> Contest:
    """Resample every fit of every fitted contender; raises ValueError where they did not answer the same examples."""
    fitted = [one for one in measured if one.fits]
    if not fitted:
        raise ValueError("no contender was fitted")
    examples = fitted[0].ship.test.examples
    identities = [(example.origin, example.group, example.input) for example in examples]
    for one in fitted:
        for fit in one.fits:
            if [(example.origin, example.group, example.input) for example in fit.test.examples] != identities:
                raise ValueError(f"{one.name}, seed {fit.seed}, answered another test set than {fitted[0].name}")
    resampling = draw(group_index(examples), evidence.resamples, evidence.seed)
    return Contest(task, evidence, resampling, tuple(_standing(task, one, resampling) for one in fitted))


def flat(scores: Scores) -> list[str]:
    """The names of scores of the whole, without those of a label ("recall/FRAUD")."""
    return [name for name in scores if "/" not in name]


def best(standings: Sequence[Standing]) -> Standing:
    """The best on validation; the simplest of equals."""
    return max(standings, key=lambda standing: standing.validation)  # max keeps the first of equals


def _standing(task: Task, measured: Measured, resampling: Resampling) -> Standing:
    scores = {fit.seed: task.summarise(fit.test.totals()) for fit in measured.fits}
    samples = {fit.seed: replicate(resampling, fit.test.marks, task, flat(scores[fit.seed])) for fit in measured.fits}
    return Standing(measured, validation_headline(task, measured), scores, samples)

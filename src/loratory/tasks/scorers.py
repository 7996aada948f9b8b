"""Scorers that come with the product, and scorers as a spec names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loratory.discovery import NamedSpec, create_named
from loratory.errors import SpecError
from loratory.protocols import Check, Example, Prediction, ScoredPredictions, Scorer, Task

COUNT_PREFIX = "scorer/"  # of the counts that scorers add to an example


class TaskReward(BaseModel):
    """The task's own reward: 1 for a right label, the mean over checks for a written answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def score(self, task: Task, example: Example, prediction: Prediction) -> float:
        return float(task.score_example(example, prediction)["reward"])


class CheckScorer(BaseModel):
    """One check of a written answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("overlap", description="Name of the check, such as overlap, fields or words.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the check.")

    @cached_property
    def check(self) -> Check:
        """The check, ready to be called; raises ValueError."""
        made: Check = create_named("checks", [{self.name: self.options}])[self.name]
        return made

    @model_validator(mode="after")
    def _check_name(self) -> CheckScorer:
        assert self.check
        return self

    def score(self, task: Task, example: Example, prediction: Prediction) -> float:
        """1 where the check asks nothing of this example, 0 without an answer."""
        if prediction.answer is None:
            return 0.0
        value = self.check(example.input, prediction.answer, example.answer)
        return 1.0 if value is None else min(max(float(value), 0.0), 1.0)


def create_scorers(specs: Sequence[NamedSpec]) -> dict[str, Scorer]:
    """Each by its name; raises ValueError for what is not there, twice there, or takes no such option."""
    return create_named("scorers", specs)


def add_scorer_counts(task: Task, outcome: ScoredPredictions, specs: Sequence[NamedSpec]) -> ScoredPredictions:
    """The same rows with a count `scorer/NAME` in [0, 1] for each scorer; raises SpecError for another number."""
    scorers = create_scorers(specs)
    if not scorers:
        return outcome
    counts = [
        {**before, **{f"{COUNT_PREFIX}{name}": _score(name, one, task, *pair) for name, one in scorers.items()}}
        for before, pair in zip(outcome.counts, zip(outcome.examples, outcome.predictions, strict=True), strict=True)
    ]
    return replace(outcome, counts=counts)


def _score(name: str, scorer: Scorer, task: Task, example: Example, prediction: Prediction) -> float:
    """Raises SpecError for what a scorer raises, and for a number that is no reward."""
    try:
        value = float(scorer.score(task, example, prediction))
    except Exception as problem:  # a stranger's code
        raise _make_error(name, f"it failed with {type(problem).__name__}: {problem}", example) from problem
    if not 0 <= value <= 1:
        raise _make_error(name, f"it gave {value}", example)
    return value


def _make_error(name: str, said: str, example: Example) -> SpecError:
    return SpecError(
        f"the scorer {name} cannot be used: {said}, for the example {example.origin}",
        where=f"evidence: scorers: {name}",
        allowed="a number from 0 to 1 for every example",
        remedy="mend it or leave it out, and run again: nothing is fitted anew",
    )

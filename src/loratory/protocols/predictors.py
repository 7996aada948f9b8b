"""A predictor: what answers. A frozen value that asks for tensor work through `run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from loratory.artifacts.verified_files import VerifiedFiles
from loratory.protocols.requests import BackbonePool, InferenceRequest, Network, RequestRunner
from loratory.protocols.tasks import Task
from loratory.protocols.values import Input, Prediction, Scores


@runtime_checkable
class Predictor(Protocol):
    """Answers inputs; holds no training code."""

    @property
    def task(self) -> Task: ...
    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        """One prediction per input, in order; never raises for a bad answer."""

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into a fresh staging folder; `artifacts` makes it durable."""

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        """Read back what `save` wrote, through `artifacts.contents.files_of(source)` alone: bytes that were hashed."""

    def count_parameters(self) -> ParameterCount: ...


@runtime_checkable
class GenerativePredictor(Protocol):
    """A capability of predictors: an answer is written, so it can also be written with nothing to hold it."""

    def generate_unconstrained(self, inputs: Sequence[Input], run: RequestRunner) -> list[str]:
        """What is written for each input when nothing holds it to the contract."""

    def stream(self, input: Input, run: RequestRunner, on_token: Callable[[str], None]) -> Prediction:
        """As `predict`; `on_token` is told the text piece by piece while it is written."""


@dataclass(frozen=True)
class InferencePlan:
    """All that a predictor needs for some inputs, known at once."""

    requests: Sequence[InferenceRequest]
    read_outputs: Callable[[Sequence[Any]], list[Prediction]]  # what came back, in order, to one prediction per input
    score_ood: Callable[[Sequence[Any]], list[Scores]] | None = None  # to what is known of each input beside its answer


@runtime_checkable
class Plannable(Protocol):
    """A capability of predictors: they ask once, so a server can put the requests of many of them together.

    `predict(inputs, run)` is then `plan.read_outputs(run(plan.requests))`.
    """

    def plan(self, inputs: Sequence[Input]) -> InferencePlan | None:
        """The requests for these inputs; None where what is asked depends on what came back."""


@runtime_checkable
class NetworkPredictor(Protocol):
    """A capability of predictors: they stand on one network, whose backbone a server shares among many of them."""

    @property
    def network(self) -> Network: ...


@runtime_checkable
class WrappingPredictor(Protocol):
    """A capability of predictors: they stand around another one, as an operating point does."""

    @property
    def predictor(self) -> Predictor:
        """The predictor inside, of the same task."""

    def with_predictor(self, predictor: Predictor) -> Self:
        """The same around another one."""


@runtime_checkable
class BudgetedPredictor(Protocol):
    """A capability of predictors: their answers are written."""

    @property
    def max_new_tokens(self) -> int:
        """Tokens that may be written behind an input; 0 where nothing is."""


@runtime_checkable
class OodScorer(Protocol):
    """A capability of predictors: what they know of an input beside the answer, such as the energy of its logits."""

    def predict_with_ood_scores(self, inputs: Sequence[Input], run: RequestRunner) -> list[tuple[Prediction, Scores]]:
        """As `predict`, with scores that are higher where an input is more like those that were learnt."""


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a predictor: learnt from the examples, and needed in all to answer."""

    trained: int
    total: int

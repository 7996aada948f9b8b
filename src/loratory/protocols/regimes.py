"""A regime: how a predictor is made. A frozen pydantic model whose fields are its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from loratory.protocols.events import FitEvent, ignore_event
from loratory.protocols.predictors import Predictor
from loratory.protocols.requests import Backbone, RequestRunner
from loratory.protocols.tasks import Task
from loratory.protocols.values import JSON, Example, TokenIds

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TrainSet:
    """What a regime may look at. There is no test set here: it cannot look at what it is not given."""

    train: Sequence[Example]
    validation: Sequence[Example]


@dataclass(frozen=True)
class TrainingState:
    """What crosses a crash: tensors and facts; no RNG: random choices are functions of (seed, purpose, step)."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, JSON]


class CheckpointStore(Protocol):
    """Bound to the identity of one fit; whole or not there."""

    def load_latest(self) -> TrainingState | None: ...
    def save(self, state: TrainingState) -> None: ...


class Activations(Protocol):
    """Outputs of frozen backbones, content-addressed by (backbone, what, ids), shared by contenders, seeds and
    trials.
    """

    def compute_pooled(self, backbone: Backbone, pooling: str, rows: Sequence[TokenIds]) -> Tensor:
        """Pooled final states, float32[N, D], in the order of `rows`."""

    def lookup_layer_inputs(
        self, backbone: Backbone, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Callable[[Sequence[TokenIds]], Sequence[Tensor]]:
        """A look-up of the states that enter layer `first`, [T, D] in `precision`, of these rows."""


@dataclass(frozen=True)
class FitContext:
    """What surrounds a fit."""

    seed: int
    run: RequestRunner
    checkpoints: CheckpointStore
    activations: Activations
    training: Any  # TrainingSpec: epochs, batch tokens, precision
    report: Callable[[FitEvent], None] = ignore_event
    should_stop: Callable[[], bool] = lambda: False
    device: str = "cpu"


Start = Any  # a Backbone, another contender's Predictor, or None


class Regime(Protocol):
    """A way to make a predictor."""

    adapts: ClassVar[bool]  # whether it changes the backbone's weights: what "fine-tune" means in a verdict
    tunable: ClassVar[str | None]  # the option that validation trials vary, by factors
    seeded: ClassVar[bool]  # whether another seed gives another fit

    def check_support(self, task: Task, start: str) -> str | None:
        """Why this task cannot be fulfilled from this kind of start ("nothing", "encoder", ...), or None."""

    def fit(self, task: Any, train_set: TrainSet, start: Start, context: FitContext) -> Predictor: ...


@runtime_checkable
class PreflightChecks(Protocol):
    """A capability of regimes: what `fit` would refuse is told before anything is fitted. Both raise LoratoryError."""

    def check_backbone(self, task: Any, backbone: Any, context: FitContext) -> None:
        """Of the base's architecture and the options. `backbone` is a backbone without weights (models/skeletons.py).

        The task may be one whose labels are not known yet; nothing may be run.
        """

    def check_examples(self, task: Any, train_set: TrainSet, backbone: Any, context: FitContext) -> None:
        """Of the settled task and the examples, such as a prompt that is too long."""

"""A regime: how a predictor is made. A frozen pydantic model whose fields are its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from loratory.protocols.events import FitEvent, ignore_event
from loratory.protocols.predictors import Predictor
from loratory.protocols.requests import Backbone, RequestRunner
from loratory.protocols.tasks import Task, TaskT
from loratory.protocols.values import JSON, Example, TokenIds

if TYPE_CHECKING:
    from torch import Tensor

    from loratory.specs.training import TrainingSpec


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
        """A look-up of the states that enter layer `first_layer`, [T, D] in `precision`, of these rows."""


@dataclass(frozen=True)
class FitContext:
    """What surrounds a fit."""

    seed: int
    run: RequestRunner
    checkpoints: CheckpointStore
    activations: Activations
    training: TrainingSpec  # the budget that all regimes share: epochs, batch tokens, precision
    report: Callable[[FitEvent], None] = ignore_event
    should_stop: Callable[[], bool] = lambda: False
    device: str = "cpu"
    start_kind: StartKind | None = None  # of what the fit starts from, where the run says so
    check_race: Callable[[str, Sequence[float], int], None] = lambda score, scores, epochs_left: None
    """Called after each epoch with the name of the validation score, its value in every epoch so far, and how many
    epochs may follow. Raises ContenderPruned where another contender cannot be reached.
    """


Start = Backbone | Predictor | None
"""What a fit starts from: a base's backbone, the predictor of another contender's fit, or nothing."""

StartKind = str
"""A kind of start, known before anything is loaded: "nothing", the kind of a base's backbone ("encoder", "causal",
"nli"), or "contender:KIND" with the name that the other contender's predictor has in `loratory.predictors`.
"""
NOTHING: StartKind = "nothing"
CONTENDER = "contender"  # in `Regime.starts`: another contender's predictor, whichever it is


def make_contender_kind(predictor_kind: str) -> StartKind:
    """The kind of start that a contender with such a predictor is: "contender:linear"."""
    return f"{CONTENDER}:{predictor_kind}"


def is_contender_kind(start: StartKind) -> bool:
    """Whether the start is another contender's predictor."""
    return start.partition(":")[0] == CONTENDER


def read_predictor_kind(start: StartKind) -> str:
    """The kind of predictor in a kind of start: "linear" of "contender:linear"; empty where it is no contender."""
    return start.partition(":")[2]


class Regime(Protocol[TaskT]):
    """A way to make a predictor: a frozen pydantic model, closed to unknown keys, with a default for each field.

    Its fields are its options: the spec is validated by them, and the docs and the JSON Schema are made from them. To
    read them, and to ask `check_support` and `predictor_kind`, must cost nothing: no torch is imported for it.
    """

    adapts: ClassVar[bool]  # whether it changes the backbone's weights: what "fine-tune" means in a verdict
    tunable: ClassVar[str | None]  # the float option that validation trials vary, by factors; None: no trials
    seeded: ClassVar[bool]  # whether another seed gives another fit; without it one fit is made
    starts: ClassVar[tuple[str, ...]]
    """The kinds of start that any task may use: "nothing", "encoder", "causal", "nli", "contender".

    Without a kind of base among them the spec's `base:` is not for it; with "contender" `start: NAME` is.
    """

    def check_support(self, task: Task, start: StartKind) -> str | None:
        """Why this task cannot be fulfilled from this kind of start, in a sentence that names the regime, or None.

        Asked of any task and of any kind of start, before anything is loaded; the task's open options may be open yet.
        """

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        """The name in `loratory.predictors` of what `fit` returns; asked only where `check_support` gave None."""

    def fit(self, task: TaskT, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        """Make the predictor. `start` is of a kind that `check_support` allows, and is not changed.

        Of another contender it is the predictor of the same seed's fit, without its operating point. All randomness
        comes from `context.seed`. Facts for the ladder are reported as a `PredictorFitted`. Raises LoratoryError.
        """


class RegimeOptions(BaseModel):
    """A base class that an implementer may use: frozen, closed, with the commonest answers.

    What is left to say: the options, `starts` where it is not "nothing", `check_support`, `predictor_kind` and `fit`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    adapts: ClassVar[bool] = False
    tunable: ClassVar[str | None] = None
    seeded: ClassVar[bool] = False
    starts: ClassVar[tuple[str, ...]] = (NOTHING,)


@runtime_checkable
class PreflightChecks(Protocol[TaskT]):
    """A capability of regimes: what `fit` would refuse is told before anything is fitted. Both raise LoratoryError."""

    def check_backbone(self, task: Task, backbone: Backbone | None, context: FitContext) -> None:
        """Of the base's architecture and the options. `backbone` is a backbone without weights, or None; of a start
        that is another contender, the one of the base beneath it.

        The task may be one whose labels are not known yet; nothing may be run.
        """

    def check_examples(self, task: TaskT, train_set: TrainSet, backbone: Backbone | None, context: FitContext) -> None:
        """Of the settled task and the examples, such as a prompt that is too long."""


@runtime_checkable
class FileOptions(Protocol):
    """A capability of regimes: options that name files (or are None). A file's path may be relative to the spec; the
    regime gets the absolute one. What a file holds is part of a fit's identity, where it lies is not.
    """

    file_options: ClassVar[tuple[str, ...]]  # names of fields


@runtime_checkable
class LayerReuse(Protocol):
    """A capability of regimes: layers of the base that a fit leaves alone, so that their states can be kept early."""

    def count_frozen_layers(self, task: Task, depth: int) -> int:
        """How many of the lowest layers of an encoder do not learn on this task, of `depth`."""


def list_files(options: object) -> dict[str, str]:
    """Option -> file, of the options of a regime that name one."""
    names = options.file_options if isinstance(options, FileOptions) else ()
    return {name: str(value) for name in names if (value := getattr(options, name)) is not None}

"""What a run tells while it works: frozen values, which a screen, a tracker or a test subscribes to.

A subscriber is any callable that takes one event; it passes over the classes that it does not know. `match` and
`functools.singledispatchmethod` both do. Regimes report the events of a fit without `contender` and `seed`: the run
fills them in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loratory.protocols.values import JSON, Scores


@dataclass(frozen=True)
class ArtifactReference:
    """An artifact on disk: its folder, and the SHA-256 of its manifest, which holds the digest of each file."""

    folder: Path
    digest: str


@dataclass(frozen=True)
class RunStarted:
    """The spec is checked and the examples are split; nothing is fitted yet."""

    name: str
    folder: Path
    spec: Mapping[str, JSON]  # every value, given or left out, as plain data
    environment: Mapping[str, JSON]  # versions and hardware, as in environment.json


@dataclass(frozen=True)
class StageStarted:
    """A new stage of the work, in words."""

    text: str


@dataclass(frozen=True)
class Message:
    """Something that a person should know, and that ends nothing."""

    text: str
    contender: str = ""
    seed: int = 0


@dataclass(frozen=True)
class ContenderStarted:
    """The fits of a contender begin."""

    contender: str
    number: int  # from 1, in the order of the ladder
    count: int


@dataclass(frozen=True)
class FitStarted:
    """One contender with one seed is fitted from here on."""

    contender: str
    seed: int
    regime: str


@dataclass(frozen=True)
class ExamplePreviewed:
    """What a model that writes is shown, and what it learns to write."""

    prompt: str
    target: str
    contender: str = ""
    seed: int = 0


@dataclass(frozen=True)
class TrainingPlanned:
    """The steps of a fit begin."""

    steps: int  # that it has at most, from here on
    seconds: float | None  # that they take about on this machine; None where its speed was never measured
    contender: str = ""
    seed: int = 0


@dataclass(frozen=True)
class StepFinished:
    """One step of the optimizer."""

    step: int  # from 1
    count: int  # steps that the fit has at most
    loss: float
    epoch: int  # from 1
    contender: str = ""
    seed: int = 0


@dataclass(frozen=True)
class EpochFinished:
    """One pass over train, and its score on validation."""

    epoch: int  # from 1
    loss: float  # the mean over the epoch
    score: float  # the task's headline on validation
    contender: str = ""
    seed: int = 0


@dataclass(frozen=True)
class PredictorFitted:
    """A regime has made its predictor. `facts` are kept in fit.json, so they are JSON."""

    facts: Mapping[str, JSON]
    contender: str = ""
    seed: int = 0


@dataclass(frozen=True)
class FitFinished:
    """A fit is on disk. `metrics` are its scores on validation."""

    contender: str
    seed: int
    metrics: Scores
    seconds: float
    artifact: ArtifactReference


@dataclass(frozen=True)
class FitReused:
    """The same fit was finished before and is kept."""

    contender: str
    seed: int
    artifact: ArtifactReference


@dataclass(frozen=True)
class FitFailed:
    """One seed could not be fitted; the other seeds go on."""

    contender: str
    seed: int
    reason: str


@dataclass(frozen=True)
class TrialFinished:
    """One value of a contender's tunable option was tried; `score` is None where the trial failed."""

    contender: str
    number: int  # from 1
    option: str
    value: float
    score: float | None
    reason: str = ""


@dataclass(frozen=True)
class ContenderPruned:
    """A contender was stopped: by its validation scores it cannot reach another one."""

    contender: str
    reason: str


@dataclass(frozen=True)
class ContenderFailed:
    """A contender could not be fitted or measured; the others go on."""

    contender: str
    reason: str


@dataclass(frozen=True)
class MeasurementStarted:
    """A contender answers the test set."""

    contender: str


@dataclass(frozen=True)
class FitMeasured:
    """A fit has answered the test set. `metrics` are its scores there."""

    contender: str
    seed: int
    metrics: Scores
    artifact: ArtifactReference


@dataclass(frozen=True)
class ArtifactWritten:
    """Files were added to an artifact, or a new one was made, beside the fits: what it is, in a word."""

    kind: str  # "stock" (the layouts of stock libraries beside a fit) | "run" (the ladder and the report)
    artifact: ArtifactReference


@dataclass(frozen=True)
class RunConcluded:
    """The evidence is written. `ladder` is what ladder.json holds."""

    ladder: Mapping[str, JSON] = field(repr=False)
    artifact: ArtifactReference


@dataclass(frozen=True)
class RunEnded:
    """The run ended without a ladder: a person stopped it, or an error did."""

    reason: str


# What a regime may report.
FitEvent = Message | ExamplePreviewed | TrainingPlanned | StepFinished | EpochFinished | PredictorFitted
Event = (
    FitEvent
    | RunStarted
    | StageStarted
    | ContenderStarted
    | FitStarted
    | FitFinished
    | FitReused
    | FitFailed
    | TrialFinished
    | ContenderFailed
    | ContenderPruned
    | MeasurementStarted
    | FitMeasured
    | ArtifactWritten
    | RunConcluded
    | RunEnded
)
EventListener = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """Tell nobody."""

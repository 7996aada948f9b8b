"""What every tracker promises, as a check that a package of your own can call; AssertionError says what is broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.protocols.events import (
    ArtifactReference,
    ArtifactWritten,
    ContenderFailed,
    ContenderPruned,
    ContenderStarted,
    EpochFinished,
    Event,
    ExamplePreviewed,
    FitFailed,
    FitFinished,
    FitMeasured,
    FitReused,
    FitStarted,
    MeasurementStarted,
    Message,
    PredictorFitted,
    RunConcluded,
    RunEnded,
    RunStarted,
    StageStarted,
    StepFinished,
    TrainingPlanned,
    TrialFinished,
)
from loratory.protocols.trackers import Tracker
from loratory.specs.option_parsing import verify_options


@dataclass(frozen=True)
class UnknownEvent:
    """An event of a later version."""

    text: str


SCORES = {"accuracy": 0.5, "recall/card": 1.0}


def make_events(folder: Path) -> list[Event]:
    """One event of every class, in an order that a run might have."""
    artifact = ArtifactReference(folder / "contenders/lora/seed-1", "0" * 64)
    return [
        RunStarted("toy", folder, {"name": "toy"}, {"python": "3"}),
        StageStarted("x"),
        Message("x"),
        ContenderStarted("lora", 1, 1),
        FitStarted("lora", 1, "lora"),
        ExamplePreviewed("a", "b", "lora", 1),
        TrainingPlanned(2, 1.5, "lora", 1),
        StepFinished(1, 2, 0.5, 1, "lora", 1),
        EpochFinished(1, 0.5, 0.5, "lora", 1),
        PredictorFitted({"best": 0.5}, "lora", 1),
        FitFinished("lora", 1, SCORES, 1.0, artifact),
        FitReused("lora", 1, artifact),
        FitFailed("lora", 2, "x"),
        TrialFinished("lora", 1, "learning_rate", 0.1, None, "x"),
        ContenderFailed("full", "x"),
        ContenderPruned("head", "it cannot reach lora"),
        MeasurementStarted("lora"),
        FitMeasured("lora", 1, SCORES, artifact),
        ArtifactWritten("stock", artifact),
        RunConcluded({"verdict": {"recommended": "lora"}, "contenders": []}, ArtifactReference(folder, "1" * 64)),
        RunEnded("x"),
    ]


def verify_tracker(tracker: Tracker[Any], folder: Path, options: Mapping[str, Any] | None = None) -> None:
    """Track a run in `folder` twice, with every class of event and one that is not known; what it raises is broken."""
    assert tracker.summary, "the summary is empty"
    assert "\n" not in tracker.summary, "the summary has more than one line"
    verify_options(tracker.Options)
    given = tracker.Options.model_validate(options or {})
    events = make_events(folder)
    for _ in range(2):  # a run that is resumed
        session = tracker.open(RunStarted("toy", folder, {"name": "toy"}, {"python": "3"}), given)
        for event in events:
            session.on_event(event)
        unknown: Any = UnknownEvent("x")
        session.on_event(unknown)
        session.close()

"""What a server answers for: tasks by name, each with those who answer in turn. Values; replaced, never changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from loratory.errors import SpecError, suggest_nearest
from loratory.protocols import JSON, GenerativePredictor, Labelled, Predictor, Task, list_labels
from loratory.serving.engine.input_validation import InputValidator
from loratory.serving.engine.moving_average import update_moving_average
from loratory.serving.engine.predictor_process import PredictorSource
from loratory.specs.serve import ServedTaskSpec

INITIAL_STAGE_SECONDS = 0.005  # seconds, until a stage was timed


@dataclass(eq=False)
class FallbackStage:
    """One who answers: a contender's predictor, and the digest of the artifact that it was read from."""

    name: str
    predictor: Predictor
    release: str  # SHA-256 of the artifact's manifest
    seconds: float = INITIAL_STAGE_SECONDS  # of one call, a running mean
    source: PredictorSource | None = None  # the artifact, where another process can answer from it

    def record_duration(self, seconds: float) -> None:
        """Remember how long a call was."""
        self.seconds = update_moving_average(self.seconds, seconds)


@dataclass(frozen=True, eq=False)
class Service:
    """A task, and who answers it: the first stage, and those after it where the one before cannot."""

    name: str
    stages: tuple[FallbackStage, ...]
    deadline: float | None = None  # seconds
    folder: Path | None = None
    evidence: Mapping[str, JSON] = field(default_factory=dict)  # the run's ladder.json; empty where there is none
    task_spec: ServedTaskSpec | None = None

    @property
    def task(self) -> Task:
        """The contract."""
        return self.stages[0].predictor.task

    @cached_property
    def input_validator(self) -> InputValidator:
        """How its inputs are read."""
        return InputValidator(self.task)

    @property
    def release(self) -> str:
        """Of the one that answers first."""
        return self.stages[0].release

    @property
    def generates(self) -> bool:
        """Whether its answers are written, so that they can be streamed."""
        return isinstance(self.stages[0].predictor, GenerativePredictor)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of texts or of spans; none where the answer is written."""
        return list_labels(self.task)


class ServiceRegistry:
    """The services of a process by name. Whoever has taken one keeps it; a change is seen by the next request."""

    def __init__(self, services: Mapping[str, Service], roles: Mapping[str, str], default: str | None = None) -> None:
        self._services = dict(services)
        self.roles = dict(roles)
        self._default = default
        self._lock = threading.Lock()
        for role, name in {**self.roles, **({"default": default} if default else {})}.items():
            if name not in self._services:
                raise SpecError(
                    f"{name!r} is no task{suggest_nearest(name, self._services)}",
                    where=f"server: {role}",
                    allowed=", ".join(self._services),
                )

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    def get(self, name: str) -> Service | None:
        """The service of that name now."""
        return self._services.get(name)

    def service_for_role(self, role: str) -> Service | None:
        """Who plays a role of the router's interface."""
        return self._services.get(self.roles.get(role, ""))

    @property
    def default(self) -> Service | None:
        """Who answers where a client names no task."""
        if self._default is not None:
            return self._services.get(self._default)
        return next((one for one in self if isinstance(one.task, Labelled)), None)

    def register(self, service: Service) -> Service | None:
        """Add or replace one; the one that it replaces, if any."""
        with self._lock:
            before = self._services.get(service.name)
            self._services = {**self._services, service.name: service}
            return before

    def unregister(self, name: str) -> Service | None:
        """Remove one, if it is there."""
        with self._lock:
            found = self._services.get(name)
            self._services = {key: one for key, one in self._services.items() if key != name}
            return found

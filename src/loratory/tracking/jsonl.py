"""The tracker `jsonl`: a line of JSON for each event, appended to a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from loratory.artifacts.durable_files import append_line
from loratory.protocols.events import Event, RunStarted, StepFinished

MAX_WAITING_STEPS = 100  # lines that are made durable together: a step is short, and a disk is slow


class JsonlOptions(BaseModel):
    """The event file and how much it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        "events.jsonl",
        min_length=1,
        description="File for the events. A relative path starts in the folder of the run.",
    )
    steps: int = Field(1, ge=0, description="Write every n-th training step. 0: no steps.")


@dataclass(frozen=True)
class JsonlSession:
    """Appends to a file. A line holds `time` (UTC, ISO 8601), `event` (the class) and the fields of the event."""

    file: Path
    options: JsonlOptions
    waiting: list[str] = field(default_factory=list)  # steps that have no line on disk yet

    def on_event(self, event: Event) -> None:
        if isinstance(event, StepFinished) and (self.options.steps == 0 or event.step % self.options.steps):
            return
        line = {"time": datetime.now(UTC).isoformat(), "event": type(event).__name__, **asdict(event)}
        self.waiting.append(json.dumps(line, ensure_ascii=False, default=str))
        if not isinstance(event, StepFinished) or len(self.waiting) >= MAX_WAITING_STEPS:
            self.close()

    def close(self) -> None:
        """Write what waits; the file is not kept open."""
        if self.waiting:
            append_line(self.file, "\n".join(self.waiting))
            self.waiting.clear()


class JsonlTracker:
    """Appends to one file: a run that is resumed goes on in it."""

    summary: ClassVar[str] = "a line of JSON for each event, in a file of the run's folder"
    Options: ClassVar[type[BaseModel]] = JsonlOptions

    def open(self, run: RunStarted, options: JsonlOptions) -> JsonlSession:
        return JsonlSession(run.folder / Path(options.path).expanduser(), options)

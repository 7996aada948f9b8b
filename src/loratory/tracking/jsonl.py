"""The tracker `jsonl`: a line of JSON for each event, appended to a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, TextIO

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols.events import Event, RunStarted, StepFinished


class JsonlOptions(BaseModel):
    """Where the lines go, and how many of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field("events.jsonl", min_length=1, description="the file; a relative path starts in the run's folder")
    steps: int = Field(1, ge=0, description="every so many steps of training have a line; 0: none has")


@dataclass(frozen=True)
class JsonlSession:
    """An open file. A line holds `time` (UTC, ISO 8601), `event` (the class) and the fields of the event."""

    file: TextIO
    options: JsonlOptions

    def on_event(self, event: Event) -> None:
        if isinstance(event, StepFinished) and (self.options.steps == 0 or event.step % self.options.steps):
            return
        line = {"time": datetime.now(UTC).isoformat(), "event": type(event).__name__, **asdict(event)}
        self.file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        self.file.flush()  # a run that is killed leaves whole lines

    def close(self) -> None:
        self.file.close()


class JsonlTracker:
    """Appends to one file: a run that is resumed goes on in it."""

    summary: ClassVar[str] = "a line of JSON for each event, in a file of the run's folder"
    Options: ClassVar[type[BaseModel]] = JsonlOptions

    def open(self, run: RunStarted, options: JsonlOptions) -> JsonlSession:
        file = run.folder / Path(options.path).expanduser()
        file.parent.mkdir(parents=True, exist_ok=True)
        is_torn = file.is_file() and file.stat().st_size > 0 and not file.read_bytes().endswith(b"\n")
        handle = file.open("a", encoding="utf-8")
        if is_torn:  # the last line of a run that was killed
            handle.write("\n")
        return JsonlSession(handle, options)

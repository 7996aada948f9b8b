"""A tracker: one line for each fit, as `contender seed score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TextIO

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols.events import Event, FitMeasured, RunConcluded, RunStarted


class ScoreFileOptions(BaseModel):
    """The file and the score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="file for the scores; a relative path starts in the folder of the run")
    score: str = Field("accuracy", description="score of the test set to write")


@dataclass(frozen=True)
class ScoreFileSession:
    """One run."""

    file: TextIO
    options: ScoreFileOptions

    def on_event(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.file.write(f"run {event.name}\n")
            case FitMeasured():
                self.file.write(f"{event.contender} {event.seed} {event.metrics[self.options.score]:.4f}\n")
            case RunConcluded():
                self.file.write(f"recommended {event.ladder['verdict']['recommended']}\n")

    def close(self) -> None:
        self.file.close()


class ScoreFileTracker:
    """Writes a new file for each run."""

    summary: ClassVar[str] = "the scores of each fit in a text file"
    Options: ClassVar[type[BaseModel]] = ScoreFileOptions

    def open(self, run: RunStarted, options: ScoreFileOptions) -> ScoreFileSession:
        return ScoreFileSession((run.folder / Path(options.path)).open("w", encoding="utf-8"), options)

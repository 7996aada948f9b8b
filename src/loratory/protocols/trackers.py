"""A tracker: where the events of a run are kept, beside the run's own folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from loratory.protocols.events import Event, RunStarted
from loratory.protocols.values import OptionsT

if TYPE_CHECKING:
    from pydantic import BaseModel


class TrackerSession(Protocol):
    """One run that is tracked."""

    def on_event(self, event: Event) -> None:
        """Keep what matters of one event; an event of a class that is not known is passed over."""

    def close(self) -> None:
        """Finish writing; nothing is told afterwards."""


class Tracker(Protocol[OptionsT]):
    """A place that runs are tracked in. One instance, made without arguments, serves every run.

    Its methods are called in a thread of its own, one after another. What it raises becomes one warning: the tracker is
    told no more, and the run goes on.
    """

    summary: ClassVar[str]  # one line for lists: where the events go
    Options: ClassVar[type[BaseModel]]  # a frozen model that forbids other keys: what stands beside `to:` in the spec

    def open(self, run: RunStarted, options: OptionsT) -> TrackerSession:
        """Begin to track a run, or go on with it. The first event of the session is `run` itself."""

"""The trackers of a run: each in a thread of its own, so that none breaks or slows the run."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from loratory.discovery import load_named
from loratory.errors import first_line
from loratory.experiment.events import EventBus
from loratory.protocols.events import Event, EventListener, Message, RunEnded, RunStarted
from loratory.protocols.trackers import Tracker
from loratory.specs.track import TrackSpec

MAX_WAITING_EVENTS = 10_000  # of one tracker; what comes on top is dropped
MAX_CLOSING_SECONDS = 10.0  # that a run waits at its end for one tracker


class TrackerThread:
    """A tracker as a listener that returns at once. It is told everything from RunStarted on."""

    def __init__(self, spec: TrackSpec, warn: EventListener) -> None:
        self._spec, self._warn = spec, warn
        self._waiting: queue.Queue[Event | None] = queue.Queue(MAX_WAITING_EVENTS)
        self._thread: threading.Thread | None = None
        self._failure, self._is_silent = "", False  # silent: it is told no more

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted) and self._thread is None:
            self._thread = threading.Thread(
                target=self._track, args=(event,), name=f"tracker-{self._spec.to}", daemon=True
            )
            self._thread.start()
        self._warn_of_failure()
        if self._thread is None or self._is_silent:
            return
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._failure = f"it is {MAX_WAITING_EVENTS:,} events behind"
            self._warn_of_failure()

    def close(self, max_seconds: float = MAX_CLOSING_SECONDS) -> None:
        """Wait for what is still to be written, so long at most."""
        if self._thread is None:
            return
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            self._failure = self._failure or f"it is {MAX_WAITING_EVENTS:,} events behind"
        self._thread.join(0.0 if self._is_silent else max_seconds)
        if self._thread.is_alive():
            self._failure = self._failure or f"it has not ended after {max_seconds:.0f} s"
        self._warn_of_failure()

    def _warn_of_failure(self) -> None:
        """One message, in the run's own thread."""
        if self._failure and not self._is_silent:
            self._is_silent = True
            self._warn(Message(f"warning: the tracker {self._spec.to} failed and gets no more events: {self._failure}"))

    def _track(self, run: RunStarted) -> None:
        """The life of the thread: open, the events in their order, close."""
        try:
            tracker: Tracker[Any] = load_named("trackers", self._spec.to)()
            session = tracker.open(run, self._spec.options)
            while (event := self._waiting.get()) is not None:
                session.on_event(event)
            session.close()
        except BaseException as problem:  # whatever a library of somebody else raises
            self._failure = f"{type(problem).__name__}: {first_line(problem)}"


@contextmanager
def open_event_bus(trackers: Sequence[TrackSpec], on_event: EventListener) -> Iterator[EventListener]:
    """A listener that tells `on_event` and every tracker; the end of the run reaches the trackers too."""
    threads = [TrackerThread(spec, on_event) for spec in trackers]
    bus = EventBus((on_event, *threads))
    patience = MAX_CLOSING_SECONDS
    try:
        yield bus
    except BaseException as problem:
        patience = patience if isinstance(problem, Exception) else 0.0  # Ctrl-C for the second time: at once
        bus(RunEnded(first_line(problem)))
        raise
    finally:
        for thread in threads:
            thread.close(patience)

"""The events of a run in a notebook: one line of HTML with a bar, updated in place."""

from __future__ import annotations

import html
import importlib
import time
from typing import Any

from loratory.display.step_clock import StepClock
from loratory.protocols.events import (
    ContenderFailed,
    ContenderStarted,
    Event,
    FitStarted,
    MeasurementStarted,
    StageStarted,
    StepFinished,
)

UPDATE_SECONDS = 0.25  # between two updates of the bar: a front end that is updated more often falls behind


class NotebookProgress:
    """Shows what a run is at, and how far it is; takes itself away when the run is over, except for failures."""

    def __init__(self) -> None:
        self._display: Any = None
        self._heading, self._failures = "", list[str]()
        self._shown_at, self._clock = 0.0, StepClock()

    def __enter__(self) -> NotebookProgress:
        display: Any = importlib.import_module("IPython.display")
        self._display = display.display(display.HTML(""), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._show("")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StageStarted):
            self._head(event.text)
        elif isinstance(event, ContenderStarted):
            self._head(f"contender {event.number} of {event.count}: {event.contender}")
        elif isinstance(event, MeasurementStarted):
            self._head(f"answering the test set: {event.contender}")
        elif isinstance(event, ContenderFailed):
            self._failures.append(event.reason)
            self._head(self._heading)
        elif isinstance(event, FitStarted):
            self._clock = StepClock()
        elif isinstance(event, StepFinished):
            self._show_step(event)

    def _head(self, text: str) -> None:
        self._heading = text
        self._show(html.escape(text))

    def _show_step(self, event: StepFinished) -> None:
        self._clock.record_step(event.step, event.epoch)
        now = time.monotonic()
        if now - self._shown_at < UPDATE_SECONDS:
            return
        self._shown_at = now
        left = self._clock.format_time_left(event.count)
        text = html.escape(f"{self._heading}: epoch {event.epoch}, loss {event.loss:.3f}{left}")
        self._show(f'<progress value="{event.step}" max="{event.count}"></progress> {text}')

    def _show(self, body: str) -> None:
        failed = "".join(f"<div>failed: {html.escape(one)}</div>" for one in self._failures)
        display: Any = importlib.import_module("IPython.display")
        self._display.update(display.HTML(f"<div>{body}</div>{failed}" if body or failed else ""))

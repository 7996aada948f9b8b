"""The events of a run on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from functools import singledispatchmethod

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from loratory.display.console import MAX_LINE_CHARACTERS, make_console
from loratory.display.step_clock import StepClock, format_duration
from loratory.errors import shorten
from loratory.protocols.events import (
    ContenderFailed,
    ContenderPruned,
    ContenderStarted,
    EpochFinished,
    Event,
    ExamplePreviewed,
    FitFailed,
    FitReused,
    FitStarted,
    MeasurementStarted,
    Message,
    PredictorFitted,
    StageStarted,
    StepFinished,
    TrainingPlanned,
)

PLAIN_PROGRESS_SECONDS = 20.0  # without a terminal, a line about a running fit at most this often


class ProgressScreen:
    """Shows the events of a run: a bar with the remaining time on a terminal, plain lines elsewhere; quiet: nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = make_console(quiet=quiet)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title, self._score, self._printed_at, self._clock = "", "", 0.0, StepClock()
        self._previewed_fits: dict[str, str] = {}  # contender -> the fit whose first examples were shown

    def __enter__(self) -> ProgressScreen:
        if self.console.is_terminal and not self.console.quiet:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(24),
                TextColumn("{task.percentage:>3.0f} %{task.fields[left]}"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        self._show(event)

    @singledispatchmethod
    def _show(self, event: Event) -> None:
        """What has no method of its own is passed over."""

    @_show.register
    def _(self, event: StageStarted) -> None:
        self._print_heading(event.text)

    @_show.register
    def _(self, event: ContenderStarted) -> None:
        self._print_heading(f"training contender {event.number} of {event.count}: {event.contender}")

    @_show.register
    def _(self, event: MeasurementStarted) -> None:
        self._print_heading(f"measuring on the test set: {event.contender}")

    @_show.register
    def _(self, event: Message) -> None:
        self._print_line(event.text)

    @_show.register
    def _(self, event: FitReused) -> None:
        self._print_line(f"seed {event.seed}: already fitted, reused")

    @_show.register
    def _(self, event: FitFailed) -> None:
        self._print_line(f"{event.contender} seed {event.seed}: {event.reason}")

    @_show.register
    def _(self, event: ContenderFailed) -> None:
        self._print_line(f"failed: {shorten(event.reason, MAX_LINE_CHARACTERS)}")

    @_show.register
    def _(self, event: ContenderPruned) -> None:
        self._print_line(f"stopped early: {shorten(event.reason, MAX_LINE_CHARACTERS)}")

    @_show.register
    def _(self, event: FitStarted) -> None:
        self._remove_progress_bar()
        self._title, self._score = f"{event.contender} seed {event.seed}", ""
        self._printed_at, self._clock = time.monotonic(), StepClock()

    @_show.register
    def _(self, event: ExamplePreviewed) -> None:
        """What a model that writes is shown, and below it what it learns to write: once for each contender."""
        if self._previewed_fits.setdefault(event.contender, self._title) != self._title:
            return
        for line in event.prompt.splitlines():
            self.console.print(f"  | {line}", markup=False)
        self.console.print(f"  > {event.target}", markup=False)

    @_show.register
    def _(self, event: TrainingPlanned) -> None:
        if event.seconds is not None and event.steps:
            self._print_line(f"{self._title}: {event.steps:,} steps, about {format_duration(event.seconds)}")

    @_show.register
    def _(self, event: StepFinished) -> None:
        step, count = event.step, event.count
        self._clock.record_step(step, event.epoch)
        text = f"{self._title}  epoch {event.epoch}  loss {event.loss:.3f}{self._score}"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=count, left="")
            self._bar.update(self._task, completed=step, description=text, left=self._clock.format_time_left(count))
        elif time.monotonic() - self._printed_at > PLAIN_PROGRESS_SECONDS:
            self._printed_at = time.monotonic()
            self.console.print(f"  {text}  step {step} of {count}{self._clock.format_time_left(count)}", markup=False)

    @_show.register
    def _(self, event: EpochFinished) -> None:
        self._score = f"  validation {event.score:.4f}"

    @_show.register
    def _(self, event: PredictorFitted) -> None:
        self._remove_progress_bar()
        facts = event.facts
        if "best" in facts:
            seconds, precision = facts["seconds"], facts["precision"]
            self._print_line(f"{self._title}: validation {facts['best']:.4f} after {seconds:.0f} s ({precision})")

    def _print_heading(self, text: str) -> None:
        self._remove_progress_bar()
        self.console.print(f"- {shorten(text, MAX_LINE_CHARACTERS)}", markup=False)

    def _print_line(self, text: str) -> None:
        self.console.print(f"  {shorten(text, MAX_LINE_CHARACTERS)}", markup=False)

    def _remove_progress_bar(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
        self._task = None

"""Screens: progress and messages on stderr, data on stdout."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from loratory.errors import LoratoryError, shorten

MIN_PLAIN_COLUMNS = 110  # without a terminal, lines are at least that wide
LONGEST = 2000  # characters of a line
PLAIN_PROGRESS_SECONDS = 20.0  # without a terminal, a line about a running fit at most this often


def make_console() -> Console:
    """stderr; rich looks at NO_COLOR and at whether it is a terminal. A file or a pipe is wide enough for a ladder."""
    if sys.stderr.isatty():
        return Console(stderr=True, highlight=False)
    columns = shutil.get_terminal_size((MIN_PLAIN_COLUMNS, 25)).columns
    return Console(stderr=True, highlight=False, soft_wrap=True, width=max(MIN_PLAIN_COLUMNS, columns))


def print_json(value: Any) -> None:
    """JSON on stdout, at once."""
    write_stdout(json.dumps(value, ensure_ascii=False) + "\n")


def write_stdout(text: str) -> None:
    """Text on stdout, at once; whoever reads it may have seen enough (`| head`), which is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def print_error(problem: LoratoryError) -> None:
    """An error a person can act on."""
    sys.stderr.write(f"loratory: {problem}\n")


class ProgressScreen:
    """Shows what a flow tells: a bar with the remaining time on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = make_console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title, self._score, self._printed_at, self._started_at, self._first_step = "", "", 0.0, 0.0, 0
        self._previewed_fits: dict[str, str] = {}  # contender -> the fit whose first examples were shown

    def __enter__(self) -> ProgressScreen:
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(24),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: str, values: Mapping[str, Any]) -> None:
        handler = getattr(self, f"_on_{event}", None)
        if handler is not None:
            handler(values)

    def _on_stage(self, values: Mapping[str, Any]) -> None:
        self._remove_progress_bar()
        self.console.print(f"- {shorten(values['text'], LONGEST)}", markup=False)

    def _on_said(self, values: Mapping[str, Any]) -> None:
        self.console.print(f"  {shorten(values['text'], LONGEST)}", markup=False)

    def _on_contender(self, values: Mapping[str, Any]) -> None:
        self._remove_progress_bar()
        self.console.print(f"- contender {values['number']} of {values['of']}: {values['contender']}", markup=False)

    def _on_kept(self, values: Mapping[str, Any]) -> None:
        self.console.print(f"  seed {values['seed']}: finished before, kept", markup=False)

    def _on_measure(self, values: Mapping[str, Any]) -> None:
        self._remove_progress_bar()
        self.console.print(f"- answering the test set: {values['contender']}", markup=False)

    def _on_failed(self, values: Mapping[str, Any]) -> None:
        self.console.print(f"  failed: {shorten(values['text'], LONGEST)}", markup=False)

    def _on_fit(self, values: Mapping[str, Any]) -> None:
        self._remove_progress_bar()
        self._title, self._score = f"{values['contender']} seed {values['seed']}", ""
        self._started_at, self._printed_at, self._first_step = time.monotonic(), time.monotonic(), -1

    def _on_preflight(self, values: Mapping[str, Any]) -> None:
        """What a model that writes is shown, and below it what it learns to write: once for each contender."""
        contender = self._title.rpartition(" seed ")[0]
        if self._previewed_fits.setdefault(contender, self._title) != self._title:
            return
        for line in values["prompt"].splitlines():
            self.console.print(f"  | {line}", markup=False)
        self.console.print(f"  > {values['learnt']}", markup=False)

    def _on_step(self, values: Mapping[str, Any]) -> None:
        step, of = values["step"], values["of"]
        if self._first_step < 0:  # of this process: a fit that goes on begins somewhere in the middle
            self._first_step, self._started_at = step, time.monotonic()
        text = f"{self._title}  epoch {values['epoch']}  loss {values['loss']:.3f}{self._score}"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=of)
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() - self._printed_at > PLAIN_PROGRESS_SECONDS:
            self._printed_at = time.monotonic()
            self.console.print(f"  {text}  step {step} of {of}{self._format_time_left(step, of)}", markup=False)

    def _format_time_left(self, step: int, of: int) -> str:
        """Nothing until two steps were seen: the first one says when the clock began, not how fast it runs."""
        if step <= self._first_step:
            return ""
        return f", about {(time.monotonic() - self._started_at) / (step - self._first_step) * (of - step):.0f} s left"

    def _on_epoch(self, values: Mapping[str, Any]) -> None:
        self._score = f"  validation {values['score']:.4f}"

    def _on_fitted(self, values: Mapping[str, Any]) -> None:
        self._remove_progress_bar()
        if "best" in values:
            self.console.print(
                f"  {self._title}: validation {values['best']:.4f} after {values['seconds']:.0f} s "
                f"({values['precision']})",
                markup=False,
            )

    def _remove_progress_bar(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
        self._task = None

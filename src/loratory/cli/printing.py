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

PLAIN_COLUMNS = 110  # without a terminal, lines are at least that wide
LONGEST = 2000  # characters of a line
PLAIN_SECONDS = 20.0  # without a terminal, a line about a running fit at most this often


def console() -> Console:
    """stderr; rich looks at NO_COLOR and at whether it is a terminal. A file or a pipe is wide enough for a ladder."""
    if sys.stderr.isatty():
        return Console(stderr=True, highlight=False)
    columns = shutil.get_terminal_size((PLAIN_COLUMNS, 25)).columns
    return Console(stderr=True, highlight=False, soft_wrap=True, width=max(PLAIN_COLUMNS, columns))


def data(value: Any) -> None:
    """JSON on stdout, at once."""
    write(json.dumps(value, ensure_ascii=False) + "\n")


def write(text: str) -> None:
    """Text on stdout, at once; whoever reads it may have seen enough (`| head`), which is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def complain(problem: LoratoryError) -> None:
    """An error a person can act on."""
    sys.stderr.write(f"loratory: {problem}\n")


class Screen:
    """Shows what a flow tells: a bar with the remaining time on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title, self._score, self._said, self._started, self._first = "", "", 0.0, 0.0, 0
        self._looked: dict[str, str] = {}  # contender -> the fit whose first examples were shown

    def __enter__(self) -> Screen:
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
        self._clear()
        self.console.print(f"- {shorten(values['text'], LONGEST)}", markup=False)

    def _on_said(self, values: Mapping[str, Any]) -> None:
        self.console.print(f"  {shorten(values['text'], LONGEST)}", markup=False)

    def _on_contender(self, values: Mapping[str, Any]) -> None:
        self._clear()
        self.console.print(f"- contender {values['number']} of {values['of']}: {values['contender']}", markup=False)

    def _on_kept(self, values: Mapping[str, Any]) -> None:
        self.console.print(f"  seed {values['seed']}: finished before, kept", markup=False)

    def _on_measure(self, values: Mapping[str, Any]) -> None:
        self._clear()
        self.console.print(f"- answering the test set: {values['contender']}", markup=False)

    def _on_failed(self, values: Mapping[str, Any]) -> None:
        self.console.print(f"  failed: {shorten(values['text'], LONGEST)}", markup=False)

    def _on_fit(self, values: Mapping[str, Any]) -> None:
        self._clear()
        self._title, self._score = f"{values['contender']} seed {values['seed']}", ""
        self._started, self._said, self._first = time.monotonic(), time.monotonic(), -1

    def _on_preflight(self, values: Mapping[str, Any]) -> None:
        """What a model that writes is shown, and below it what it learns to write: once for each contender."""
        contender = self._title.rpartition(" seed ")[0]
        if self._looked.setdefault(contender, self._title) != self._title:
            return
        for line in values["prompt"].splitlines():
            self.console.print(f"  | {line}", markup=False)
        self.console.print(f"  > {values['learnt']}", markup=False)

    def _on_step(self, values: Mapping[str, Any]) -> None:
        step, of = values["step"], values["of"]
        if self._first < 0:  # of this process: a fit that goes on begins somewhere in the middle
            self._first, self._started = step, time.monotonic()
        text = f"{self._title}  epoch {values['epoch']}  loss {values['loss']:.3f}{self._score}"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=of)
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            self.console.print(f"  {text}  step {step} of {of}{self._left(step, of)}", markup=False)

    def _left(self, step: int, of: int) -> str:
        """Nothing until two steps were seen: the first one says when the clock began, not how fast it runs."""
        if step <= self._first:
            return ""
        return f", about {(time.monotonic() - self._started) / (step - self._first) * (of - step):.0f} s left"

    def _on_epoch(self, values: Mapping[str, Any]) -> None:
        self._score = f"  validation {values['score']:.4f}"

    def _on_fitted(self, values: Mapping[str, Any]) -> None:
        self._clear()
        if "best" in values:
            self.console.print(
                f"  {self._title}: validation {values['best']:.4f} after {values['seconds']:.0f} s "
                f"({values['precision']})",
                markup=False,
            )

    def _clear(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
        self._task = None

"""Progress through many texts on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loratory.display.console import make_console

PLAIN_COUNT_SECONDS = 20.0  # without a terminal, a line at most this often


class CountScreen:
    """Shows how many of the texts are done; quiet: nothing. `total` is None where nobody knows it."""

    def __init__(self, what: str, total: int | None, *, quiet: bool = False) -> None:
        self._console = make_console(quiet=quiet)
        self._what, self._total, self._count, self._printed_at = what, total, 0, time.monotonic()
        columns = (TextColumn("  {task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
        on_terminal = self._console.is_terminal and not quiet
        self._bar = Progress(*columns, console=self._console, transient=True) if on_terminal else None
        self._task = self._bar.add_task(what, total=total) if self._bar else None

    def __enter__(self) -> CountScreen:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """One text more is done."""
        self._count += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._count)
        elif time.monotonic() - self._printed_at > PLAIN_COUNT_SECONDS:
            self._printed_at = time.monotonic()
            of = f" of {self._total:,}" if self._total is not None else ""
            self._console.print(f"  {self._what}: {self._count:,}{of}", markup=False)

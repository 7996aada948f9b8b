"""Where the words of a verb go: results on stdout, notes and progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loratory.errors import LoratoryError, shorten

if TYPE_CHECKING:
    from rich.console import RenderableType

    from loratory.display.count_screen import CountScreen
    from loratory.display.progress_screen import ProgressScreen

SLOW_SECONDS = 2.0  # a step that takes longer says what it does


@dataclass(frozen=True)
class Output:
    """What a verb prints, and where. Each verb makes one from its --json and --quiet.

    Results go to stdout: lines and tables for a person, or JSON alone. Notes and progress go to stderr, unless quiet.
    """

    as_json: bool = False
    quiet: bool = False

    def print(self, *results: RenderableType) -> None:
        """Results for a person, each on a line of its own; nothing with --json."""
        if not self.as_json:
            for result in results:
                write_stdout(_render_result(result))

    def json(self, value: Any) -> None:
        """The result for a program; nothing without --json."""
        if self.as_json:
            print_json(value)

    def note(self, text: str) -> None:
        """Something to know that is no result; nothing with --quiet."""
        if not self.quiet:
            from loratory.display.console import MAX_LINE_CHARACTERS, make_console

            make_console().print(shorten(text, MAX_LINE_CHARACTERS), markup=False)

    def next(self, *commands: str) -> None:
        """The commands that come next, as notes to a person."""
        for number, command in enumerate(() if self.as_json else commands):
            self.note(f"{'next:' if number == 0 else '':<6}{command}")

    def progress(self) -> ProgressScreen:
        """A listener for the events of a run."""
        from loratory.display.progress_screen import ProgressScreen

        return ProgressScreen(quiet=self.quiet)

    def count(self, what: str, total: int | None) -> CountScreen:
        """Progress through many texts."""
        from loratory.display.count_screen import CountScreen

        return CountScreen(what, total, quiet=self.quiet)

    @contextmanager
    def note_when_slow(self, text: str, seconds: float = SLOW_SECONDS) -> Iterator[None]:
        """A note where the work inside takes longer than so many seconds."""
        timer = threading.Timer(seconds, self.note, (text,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _render_result(result: RenderableType) -> str:
    """The text of a result: a terminal gets it in colour and wrapped between words, a file or a pipe as it is."""
    if isinstance(result, str) and not sys.stdout.isatty():
        return f"{result}\n"
    from loratory.display.console import make_console

    console = make_console(stderr=False)
    with console.capture() as captured:
        console.print(result, markup=False)
    return captured.get()


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

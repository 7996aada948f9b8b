"""Consoles of rich: stderr for progress and notes, stdout for results."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console

MIN_PLAIN_COLUMNS = 110  # without a terminal, lines are at least that wide
MAX_LINE_CHARACTERS = 2000  # characters of a line


def make_console(*, stderr: bool = True, quiet: bool = False) -> Console:
    """A console on stderr, or on stdout; a quiet one prints nothing.

    rich looks at NO_COLOR and at whether it is a terminal. A file or a pipe is wide enough for a ladder.
    """
    if (sys.stderr if stderr else sys.stdout).isatty():
        return Console(stderr=stderr, quiet=quiet, highlight=False, emoji=False)
    columns = max(MIN_PLAIN_COLUMNS, shutil.get_terminal_size((MIN_PLAIN_COLUMNS, 25)).columns)
    return Console(stderr=stderr, quiet=quiet, highlight=False, emoji=False, soft_wrap=True, width=columns)

"""The console on stderr, for progress and notes."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console

MIN_PLAIN_COLUMNS = 110  # without a terminal, lines are at least that wide
MAX_LINE_CHARACTERS = 2000  # characters of a line


def make_console() -> Console:
    """stderr; rich looks at NO_COLOR and at whether it is a terminal. A file or a pipe is wide enough for a ladder."""
    if sys.stderr.isatty():
        return Console(stderr=True, highlight=False)
    columns = shutil.get_terminal_size((MIN_PLAIN_COLUMNS, 25)).columns
    return Console(stderr=True, highlight=False, soft_wrap=True, width=max(MIN_PLAIN_COLUMNS, columns))

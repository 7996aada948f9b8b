"""Screens: progress and messages on stderr, data on stdout."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

from rich.console import Console

from loratory.errors import LoratoryError

MIN_PLAIN_COLUMNS = 110  # without a terminal, lines are at least that wide
MAX_LINE_CHARACTERS = 2000  # characters of a line


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

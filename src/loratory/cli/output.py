"""Screens: progress and messages on stderr, data on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from loratory.display.console import MAX_LINE_CHARACTERS as MAX_LINE_CHARACTERS
from loratory.display.console import make_console as make_console
from loratory.errors import LoratoryError


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

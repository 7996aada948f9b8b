"""`loratory report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "report"


def command(where: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)]) -> None:
    """Write ladder.json, verdict.json and report.html again from the rows on disk; the test set is not read again."""
    from loratory.cli.printing import Screen
    from loratory.flows.again import rebuild

    with Screen() as screen:
        file = rebuild(where, screen)
    screen.console.print(f"report: {file}", markup=False)

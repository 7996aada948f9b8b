"""`loratory report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "report"


def command(where: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]) -> None:
    """Write a run's ladder, verdict and report again from its rows.

    The test set is not read again, and nothing is fitted.
    """
    from loratory.cli.printing import Screen
    from loratory.flows.opening import unsealed_ladder

    unsealed_ladder(where)  # a mistake is told before the libraries are loaded
    from loratory.flows.again import rebuild

    with Screen() as screen:
        file = rebuild(where, screen)
    screen.console.print(f"report: {file}", markup=False)

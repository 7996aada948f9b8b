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
    from loratory.display.progress_screen import ProgressScreen
    from loratory.experiment.artifact_lookup import read_unsealed_ladder

    read_unsealed_ladder(where)  # a mistake is told before the libraries are loaded
    from loratory.experiment.rebuild_report import rebuild_report

    with ProgressScreen() as screen:
        file = rebuild_report(where, screen)
    screen.console.print(f"report: {file}", markup=False)

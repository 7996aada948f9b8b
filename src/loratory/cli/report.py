"""`loratory report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.completion import complete_where
from loratory.cli.options import JsonOption, QuietOption

NAME = "report"
EXAMPLES = ("loratory report runs/tickets",)


def command(
    where: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False, autocompletion=complete_where),
    ],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the report of a run again.

    It makes ladder.json, verdict.json and report.html again from the stored answers. It trains nothing, and it does
    not read the test set again.
    """
    from loratory.cli.output import Output
    from loratory.experiment.artifact_lookup import read_unsealed_ladder

    out = Output(as_json, quiet)
    read_unsealed_ladder(where)  # a mistake is told before the libraries are loaded
    from loratory.experiment.rebuild_report import rebuild_report

    with out.progress() as screen:
        file = rebuild_report(where, screen)
    out.print(f"report: {file}")
    out.json({"report": str(file)})

"""`loratory export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import ContenderOption, JsonOption, WhereArgument

NAME = "export"


def command(
    where: WhereArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write.", show_default=False)
    ],
    contender: ContenderOption = None,
    layout: Annotated[
        str, typer.Option("--layout", metavar="LAYOUT", help="stock: adapter/, base_<L>/, merged/; or router.")
    ] = "stock",
    task_name: Annotated[
        str | None, typer.Option("--task-name", metavar="TASK", help="The router's: intent, pii or jailbreak.")
    ] = None,
    with_adapter: Annotated[
        bool, typer.Option("--adapter/--merged-only", help="Of the router's layout: the adapter's folder too.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write a fit as folders that other programs open.

    A folder that is there is written over only where the same command made it, by its manifest.
    """
    from loratory.cli.output import make_console, print_json
    from loratory.experiment.export_fit import ExportRequest, export_fit

    done = export_fit(ExportRequest(where, contender, layout, output, task_name, with_adapter))
    if as_json:
        print_json({"folders": [str(folder) for folder in done.folders], "notes": done.notes})
        return
    for folder in done.folders:
        make_console().print(f"exported: {folder}", markup=False)
    for note in done.notes:
        make_console().print(f"note: {note}", markup=False)

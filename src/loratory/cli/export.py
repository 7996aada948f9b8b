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
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write.", show_default=False)
    ] = None,
    contender: ContenderOption = None,
    layout: Annotated[
        str, typer.Option("--layout", metavar="NAME", help="The form; without --output every form is listed.")
    ] = "stock",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the form: --set task_name=pii (repeatable)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a fit in a form that other programs open.

    Without --output it lists the forms, what they are, their options, and why a form does not suit this fit. A
    folder that is there is written over only where the same command made it, by its manifest.
    """
    if output is None:
        _print_exporters(where, contender, as_json)
        return
    from loratory.cli.output import make_console, print_json
    from loratory.experiment.export_fit import ExportRequest, export_fit
    from loratory.specs.option_parsing import parse_assignments

    done = export_fit(ExportRequest(where, contender, layout, output, parse_assignments(change or ())))
    if as_json:
        print_json({"folders": [str(folder) for folder in done.folders], "notes": done.notes})
        return
    for folder in done.folders:
        make_console().print(f"exported: {folder}", markup=False)
    for note in done.notes:
        make_console().print(f"note: {note}", markup=False)


def _print_exporters(where: Path, contender: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from loratory.cli.output import make_console, print_json
    from loratory.experiment.export_fit import list_exporters

    rows = list_exporters(where, contender)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    screen = make_console()
    for row in rows:
        screen.print(f"{row.name:<10} {row.summary}", markup=False)
        for option in row.options:
            screen.print(f"{'':<10} --set {option['name']}=...: {option['help']} ({option['allowed']})", markup=False)
        screen.print(f"{'':<10} {'suits this fit' if row.suits else 'not this fit: ' + row.problem}", markup=False)
    screen.print("\nloratory export WHERE --layout NAME --output FOLDER writes one.", markup=False)

"""`loratory export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loratory.cli.completion import complete_layout
from loratory.cli.options import ContenderOption, JsonOption, QuietOption, WhereArgument

if TYPE_CHECKING:
    from loratory.cli.output import Output

NAME = "export"
EXAMPLES = ("loratory export runs/tickets", "loratory export runs/tickets -c lora --layout stock -o exported")


def command(
    where: WhereArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write.", show_default=False)
    ] = None,
    contender: ContenderOption = None,
    layout: Annotated[
        str,
        typer.Option("--layout", metavar="NAME", help="The format to write.", autocompletion=complete_layout),
    ] = "stock",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the format: --set task_name=pii (repeatable)."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export a model in a format that other programs open.

    Without --output it lists the formats, their options, and why a format does not support this model. It replaces an
    existing folder only where an export of the same model wrote it.
    """
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    if output is None:
        _print_exporters(where, contender, out)
        return
    from loratory.experiment.export_fit import ExportRequest, export_fit
    from loratory.specs.option_parsing import parse_assignments

    with out.note_when_slow(f"exporting {where} ..."):
        done = export_fit(ExportRequest(where, contender, layout, output, parse_assignments(change or ())))
    for note in done.notes:
        out.note(f"note: {note}")
    out.print(*(f"exported: {folder}" for folder in done.folders))
    out.json({"folders": [str(folder) for folder in done.folders], "notes": done.notes})


def _print_exporters(where: Path, contender: str | None, out: Output) -> None:
    from dataclasses import asdict

    from loratory.experiment.export_fit import list_exporters

    rows = list_exporters(where, contender)
    for row in rows:
        out.print(
            f"{row.name:<10} {row.summary}",
            *(f"{'':<10} --set {one['name']}=...: {one['help']} ({one['allowed']})" for one in row.options),
            f"{'':<10} {'supports this model' if row.suits else f'does not support this model: {row.problem}'}",
        )
    out.json([asdict(row) for row in rows])
    out.next(f"loratory export {where} --layout NAME --output FOLDER")

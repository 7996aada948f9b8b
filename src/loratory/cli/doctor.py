"""`loratory doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from loratory.cli.options import JsonOption

NAME = "doctor"


def command(
    again: Annotated[bool, typer.Option("--again", help="Measure even where a measurement is kept.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what this machine does fast, and what "auto" in a spec means on it."""
    from loratory.cli.output import make_console, print_json
    from loratory.experiment.hardware_report import examine_machine, explain_findings

    found = examine_machine(again)
    if as_json:
        print_json(found)
        return
    screen = make_console()
    for name, value in explain_findings(found):
        screen.print(f"{name:<16} {value}", markup=False, highlight=False)

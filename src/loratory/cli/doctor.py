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
    from loratory.cli.printing import console, data
    from loratory.flows.doctor import examine, explained

    found = examine(again)
    if as_json:
        data(found)
        return
    screen = console()
    for name, value in explained(found):
        screen.print(f"{name:<16} {value}", markup=False, highlight=False)

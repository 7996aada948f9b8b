"""`loratory discover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption

NAME = "discover"


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the models lie.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Show what vLLM's semantic router would take of a folder, and what is broken.

    It ends with exit code 2 where the router would not get three models that are in order.
    """
    from loratory.cli.printing import console, data
    from loratory.flows.discover import judge, lines, looked

    found = looked(folder)
    if as_json:
        data(found)
    else:
        screen = console()
        for line in lines(found):
            screen.print(line, markup=False, highlight=False)
    judge(found, folder)

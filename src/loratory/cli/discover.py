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
    from loratory.cli.output import make_console, print_json
    from loratory.integrations.semantic_router.discovery_report import check_discovery, format_discovery, inspect_models

    found = inspect_models(folder)
    if as_json:
        print_json(found)
    else:
        screen = make_console()
        for line in format_discovery(found):
            screen.print(line, markup=False, highlight=False)
    check_discovery(found, folder)

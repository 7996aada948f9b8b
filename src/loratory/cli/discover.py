"""`loratory discover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption

NAME = "discover"
EXAMPLES = ("loratory discover models",)


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the models.", show_default=False)],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show which models vLLM's semantic router would load.

    It lists the models in a folder, which of them the router would choose, and which are broken. The exit code is 2
    where the router would not find three working models.
    """
    from loratory.cli.output import Output
    from loratory.integrations.semantic_router.discovery_report import check_discovery, format_discovery, inspect_models

    out = Output(as_json, quiet)
    found = inspect_models(folder)
    out.print(*format_discovery(found))
    out.json(found)
    check_discovery(found, folder)

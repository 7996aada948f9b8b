"""Arguments and options of the verbs of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RegistryOption = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        metavar="FOLDER",
        help="The registry. Default: $LORATORY_REGISTRY, else loratory/registry in your data folder.",
        show_default=False,
    ),
]
ReleaseArgument = Annotated[
    str,
    typer.Argument(metavar="RELEASE", help="NAME@VERSION or NAME@ALIAS, as tickets@3.", show_default=False),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the releases.", show_default=False)]
ByOption = Annotated[str | None, typer.Option("--by", metavar="WHO", help="Who does this. Default: your user name.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the history.")]

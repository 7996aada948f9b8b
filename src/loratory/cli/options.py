"""Arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SpecArgument = Annotated[
    str, typer.Argument(help="A YAML file, a folder with spec.yaml, or a recipe's name.", show_default=False)
]
DataOption = Annotated[str | None, typer.Option("--data", help="Other examples: a file, a folder or a hub id.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<name> when left out.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change one key, such as --set training.seeds=3 (repeatable).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

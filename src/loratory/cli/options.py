"""Arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC", help="A YAML file, a folder with spec.yaml, or a recipe's name.", show_default=False
    ),
]
DataOption = Annotated[
    str | None, typer.Option("--data", metavar="DATA", help="Other examples: a file, a folder or a hub id.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the run; runs/<name> when left out.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key: --set training.seeds=3 (repeatable)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
WhereArgument = Annotated[
    Path, typer.Argument(metavar="WHERE", help="A run, a fit's folder, or an imported folder.", show_default=False)
]
OptionalWhereArgument = Annotated[
    Path | None,
    typer.Argument(metavar="WHERE", help="A run, a fit's folder, or an imported folder; left out with --url."),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="A running server in the place of WHERE; its key is read from LORATORY_KEY."
    ),
]
TaskOption = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="Of a server: its task; left out where it has only one.")
]
ContenderOption = Annotated[
    str | None, typer.Option("--contender", "-c", metavar="NAME", help="Of a run: this one, not the recommended.")
]
TextsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="Texts; stdin (one a line) when there is neither text nor --file."),
]

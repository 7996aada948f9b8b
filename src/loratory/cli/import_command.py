"""`loratory import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "import"


def command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A Hugging Face folder or a PEFT checkpoint.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="The artifact's folder; imported/<name> when left out."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="NAME", help="An adapter's base; what adapter_config.json names when left out."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B,C", help="Names of the outputs; labels.json or id2label when left out."),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option("--scheme", metavar="NAME", help="Of tags: bio, iob1, io, bioes, bilou, plain."),
    ] = None,
) -> None:
    """Make an artifact of a foreign classifier of texts or tokens.

    The folder's merged/ is taken when there is one, else an adapter (adapter/, or the folder itself) on its base,
    else the folder itself.
    """
    from loratory.cli.output import make_console
    from loratory.importing.import_folder import import_in_sandbox

    target = output or Path("imported") / folder.resolve().name
    named = [label.strip() for label in labels.split(",")] if labels else ()
    order = import_in_sandbox(folder, target, base, named, scheme)
    make_console().print(f"took in the {order} weights of {folder}: {target}", markup=False)

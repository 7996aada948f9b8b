"""`loratory import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "import"


def command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A Hugging Face or PEFT folder with labels.json or id2label.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="The artifact's folder; imported/<name> when left out."),
    ] = None,
) -> None:
    """Make an artifact of a foreign Hugging Face or PEFT folder.

    Its merged/ is taken when there is one, else base_<L>/ with adapter/, else the folder itself.
    """
    from loratory.cli.printing import console
    from loratory.flows.importing import import_folder

    target = output or Path("imported") / folder.resolve().name
    order = import_folder(folder, target)
    console().print(f"took in the {order} weights of {folder}: {target}", markup=False)

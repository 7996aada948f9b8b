"""`loratory init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "init"


def command(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Your examples: a file, a folder or a hub id.", show_default=False),
    ] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="NAME", help="Start from a recipe instead.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The spec to write.")] = Path(
        "spec.yaml"
    ),
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the run; from the file's name when left out.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing spec.")] = False,
) -> None:
    """Write a commented spec for your examples, or a copy of a recipe's."""
    from loratory.cli.printing import console
    from loratory.errors import SpecError
    from loratory.flows.init import from_data, from_recipe

    if (data is None) == (recipe is None):
        raise SpecError(
            "give either your examples or --recipe",
            remedy="loratory init examples.csv, or loratory init --recipe risk-triage",
        )
    if output.is_dir():
        raise SpecError("this is a folder", where=str(output), remedy=f"--output {output / 'spec.yaml'}")
    if output.exists() and not force:
        raise SpecError("this spec exists", where=str(output), remedy="give another --output, or --force")
    said = from_recipe(recipe, output) if recipe else from_data(str(data), output, name)
    screen = console()
    for line in said:
        screen.print(line, markup=False)
    screen.print(f"wrote {output}; next: loratory check {output}, then loratory run {output}", markup=False)

"""`loratory init`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

NAME = "init"


def ask_choice(question: str, answers: Sequence[str]) -> str:
    """Ask the person at the terminal to choose one of the answers, by its number or in words."""
    for number, answer in enumerate(answers, 1):
        typer.echo(f"  {number}. {answer}", err=True)
    while True:
        said = str(typer.prompt(question, err=True)).strip()
        if said.isdecimal() and 0 < int(said) <= len(answers):
            return answers[int(said) - 1]
        if said in answers:
            return said
        typer.echo(f"answer with a number from 1 to {len(answers)}, or with the name", err=True)


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
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="KIND", help="classify, tag or generate; guessed from the data when left out."),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="COLUMN", help="The column of the text, or of what is asked.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="The column of the label, spans or answer.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="COLUMN", help="The column of groups that no split cuts.")
    ] = None,
    tag_names: Annotated[
        str | None,
        typer.Option("--tag-names", metavar="NAMES", help="Names of tags that are numbers, in order: O,B-PER,I-PER."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="Encoding of text files; utf-8 when left out.")
    ] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", metavar="NAME", help="Sheet of an Excel workbook.")] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="NAME", help="Configuration of a data set of the hub.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="NAME", help="Branch, tag or commit of a data set of the hub.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing spec.")] = False,
) -> None:
    """Write a commented spec for your examples, or a copy of a recipe's."""
    from loratory.cli.output import MAX_LINE_CHARACTERS, make_console
    from loratory.errors import SpecError, shorten
    from loratory.experiment.init.spec_writer import copy_recipe_spec, write_spec_for_data
    from loratory.experiment.init.task_inference import InitOptions

    if (data is None) == (recipe is None):
        raise SpecError(
            "give either your examples or --recipe",
            remedy="loratory init examples.csv, or loratory init --recipe risk-triage",
        )
    if output.is_dir():
        raise SpecError("this is a folder", where=str(output), remedy=f"--output {output / 'spec.yaml'}")
    if output.exists() and not force:
        raise SpecError("this spec exists", where=str(output), remedy="give another --output, or --force")
    wishes = InitOptions(task, text, label, group, tag_names, encoding, config, revision, sheet)
    if recipe and wishes != InitOptions():
        raise SpecError("a recipe brings its own data and columns", remedy="leave the options out, or give DATA")
    asker = ask_choice if sys.stdin.isatty() and sys.stderr.isatty() else None
    said = copy_recipe_spec(recipe, output) if recipe else write_spec_for_data(str(data), output, name, wishes, asker)
    screen = make_console()
    for line in said:
        screen.print(shorten(line, MAX_LINE_CHARACTERS), markup=False)
    screen.print(f"wrote {output}; next: loratory check {output}, then loratory run {output}", markup=False)

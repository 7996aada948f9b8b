"""`loratory init`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.completion import complete_data, complete_recipe, complete_task_kind
from loratory.cli.options import JsonOption, QuietOption

NAME = "init"
EXAMPLES = ("loratory init messages.csv", "loratory init --recipe risk-triage -o triage.yaml")


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
        typer.echo(f"type a number from 1 to {len(answers)}, or the name", err=True)


def command(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Your labelled examples: a file, a folder or a hub id.",
            show_default=False,
            autocompletion=complete_data,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Copy the spec of a recipe instead.", autocompletion=complete_recipe
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The spec to write.")] = Path(
        "spec.yaml"
    ),
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the run. Default: the name of the file.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="KIND",
            help="classify, tag or generate. Default: guessed from the data.",
            autocompletion=complete_task_kind,
        ),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="The column of the text.")] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="The column of the label, spans or answer.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="COLUMN", help="The column of the group. A group stays in one part."),
    ] = None,
    tag_names: Annotated[
        str | None,
        typer.Option("--tag-names", metavar="NAMES", help="Names of numbered tags, in order: O,B-PER,I-PER."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", metavar="NAME", help="Encoding of text files. Default: utf-8.")
    ] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", metavar="NAME", help="Sheet of an Excel workbook.")] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="NAME", help="Configuration of a hub data set.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="NAME", help="Branch, tag or commit of a hub data set.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing spec.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a commented spec for your examples.

    It reads the examples, guesses the task and the columns, and says what it guessed. On a terminal it asks where two
    columns are possible.
    """
    from loratory.api.runs import init
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    made = init(
        data,
        output,
        recipe=recipe,
        name=name,
        force=force,
        ask=ask_choice if sys.stdin.isatty() and sys.stderr.isatty() else None,
        task=task,
        text=text,
        label=label,
        group=group,
        tag_names=tag_names,
        encoding=encoding,
        config=config,
        revision=revision,
        sheet=sheet,
    )
    for line in made.notes:
        out.note(line)
    out.print(f"wrote {output}")
    out.json({"spec": str(output), "notes": list(made.notes)})
    out.next(f"loratory check {output}", f"loratory run {output}")

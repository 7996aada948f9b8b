"""`loratory register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.completion import complete_where
from loratory.cli.options import ContenderOption, JsonOption, QuietOption
from loratory.cli.registry_options import ByOption, RegistryOption

NAME = "register"
EXAMPLES = ("loratory register runs/tickets", "loratory register runs/tickets -c tfidf --name tickets")


def command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="The folder of a finished run.", show_default=False, autocompletion=complete_where
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The name of the release. Default: the run's name.")
    ] = None,
    contender: ContenderOption = None,
    registry: RegistryOption = None,
    by: ByOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Register a run's model as a release, with its evidence.

    A release keeps the model, the spec, the digests of the data and the answers to every test text without the texts.
    The same run registered again is the same release.
    """
    from loratory.api.registry import register
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    with out.note_when_slow(f"registering {run} ..."):
        made = register(run, name, contender=contender, registry=registry, by=by)
    facts = made.contents.facts
    out.print(f"{made.reference}  {facts['contender']}  sha256 {made.digest[:16]}")
    out.json(made.to_json())
    out.next(f"loratory promote {made.reference} --to staging")

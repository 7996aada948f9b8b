"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.completion import (
    complete_contender,
    complete_data,
    complete_spec,
    complete_spec_contender,
    complete_where,
)

SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A YAML file, a folder with spec.yaml, or the name of a recipe.",
        show_default=False,
        autocompletion=complete_spec,
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Use these examples, not those of the spec: a file, a folder or a hub id.",
        autocompletion=complete_data,
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the run. Default: runs/<name>.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the spec: --set training.seeds=3 (repeatable)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress and no notes on stderr, only errors.")
]
WhereArgument = Annotated[
    Path,
    typer.Argument(
        metavar="WHERE",
        help="A run, the folder of a fit, or an exported or imported folder.",
        show_default=False,
        autocompletion=complete_where,
    ),
]
OptionalWhereArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="WHERE",
        help="A run, the folder of a fit, or an exported or imported folder. Not with --url.",
        show_default=False,
        autocompletion=complete_where,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Ask a running server. LORATORY_KEY holds its API key."),
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help="With --url: the task, where the server has several."),
]
ContenderOption = Annotated[
    str | None,
    typer.Option(
        "--contender",
        "-c",
        metavar="NAME",
        help="Use this contender of the run. Default: the recommended one.",
        autocompletion=complete_contender,
    ),
]
SpecContendersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--contender",
        "-c",
        metavar="NAME",
        help="Fit only this contender (repeatable). Default: all.",
        autocompletion=complete_spec_contender,
    ),
]
LabelledDataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Labelled examples. Default: the test set of the run.",
        autocompletion=complete_data,
    ),
]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="NAME=COLUMN", help="Which column holds a field: --column label=team (repeatable)."
    ),
]
TextsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TEXT", help="Texts. Without TEXT and --file: the lines of stdin, one text a line.", show_default=False
    ),
]

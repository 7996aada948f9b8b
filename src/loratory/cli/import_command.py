"""`loratory import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption

NAME = "import"
EXAMPLES = ("loratory import my-bert-folder -o imported/my-bert",)


def command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A Hugging Face folder or a PEFT checkpoint.", show_default=False),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write. Default: imported/<name>.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="NAME", help="The base of an adapter. Default: the one in adapter_config.json."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B,C", help="Names of the outputs. Default: labels.json or id2label."),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option("--scheme", metavar="NAME", help="The tag scheme: bio, iob1, io, bioes, bilou or plain."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import a classifier that other tools trained.

    It reads a text or token classifier and writes a folder that predict, serve and export can use. The weights come
    from merged/ where it exists, else from an adapter (adapter/ or the folder itself), else from the folder itself.
    """
    from loratory.cli.output import Output
    from loratory.importing.import_folder import import_in_sandbox

    out = Output(as_json, quiet)
    target = output or Path("imported") / folder.resolve().name
    named = [label.strip() for label in labels.split(",")] if labels else ()
    with out.note_when_slow(f"reading {folder} ..."):
        order = import_in_sandbox(folder, target, base, named, scheme)
    out.print(f"imported the {order} weights of {folder}: {target}")
    out.json({"folder": str(target), "weights": order})

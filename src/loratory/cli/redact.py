"""`loratory redact`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from loratory.cli.options import ContenderOption, JsonOption, TextsArgument, WhereArgument

NAME = "redact"


def command(
    where: WhereArgument,
    text: TextsArgument = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="A text file, or a data file (JSON lines out).")
    ] = None,
    how: Annotated[
        str,
        typer.Option("--how", help="type: [LABEL]; mask: as many signs; hash: [LABEL:code]; fake: made-up values."),
    ] = "type",
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="LABEL", help="Only spans of this label (repeatable).")
    ] = None,
    contender: ContenderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take spans such as names and card numbers out of texts.

    hash and fake give the same value for the same words under one key, from LORATORY_REDACT_KEY. A .txt is read as one
    text; of a data file the text column alone goes out, as JSON lines.
    """
    from loratory.cli.printing import console, data, write
    from loratory.errors import DataError
    from loratory.flows.opening import fit_folder, open_predictor
    from loratory.flows.redact import redact, way_of

    if text and file:
        raise DataError("give either texts or --file, not both", remedy="two commands, or one file with all texts")
    way, said = way_of(how)
    fit_folder(where, contender)  # a mistake is told before the libraries are loaded
    predictor, _ = open_predictor(where, contender)
    if said:
        console().print(said, markup=False)
    plain = file is not None and file.suffix == ".txt"
    for made in redact(predictor, _inputs(predictor.task, text, file), way, label or ()):
        if as_json or (file and not plain):
            data(made.as_json())
        else:
            write(made.text if plain else f"{made.text}\n")


def _inputs(task: Any, text: list[str] | None, file: Path | None) -> Iterable[Any]:
    from loratory.cli.predict import stdin
    from loratory.flows import predict as flow

    if text:
        return flow.given_inputs(task, text)
    if file and file.suffix == ".txt":
        return [flow.whole_file(task, file)]
    return flow.inputs_of_file(task, file, ()) if file else flow.inputs_of_lines(task, stdin())

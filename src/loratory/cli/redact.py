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
    from loratory.cli.output import make_console, print_json, write_stdout
    from loratory.cli.predict import open_stdin
    from loratory.errors import DataError
    from loratory.experiment.artifact_lookup import find_fit_folder, open_predictor
    from loratory.experiment.inference.text_redaction import make_replacement, redact_inputs

    if text and file:
        raise DataError("give either texts or --file, not both", remedy="two commands, or one file with all texts")
    way, said = make_replacement(how)
    find_fit_folder(where, contender)  # a mistake is told before the libraries are loaded
    lines = () if text or file else open_stdin()
    from loratory.experiment.inference import local_prediction as flow

    predictor, _ = open_predictor(where, contender)
    if said:
        make_console().print(said, markup=False)
    plain = file is not None and file.suffix == ".txt"
    if plain and file:
        inputs: Iterable[Any] = [flow.read_text_file(predictor.task, file)]
    else:
        inputs = flow.read_inputs(predictor.task, flow.InputSource(text or (), file, (), lines))
    for made in redact_inputs(predictor, inputs, way, label or ()):
        if as_json or (file and not plain):
            print_json(made.as_json())
        else:
            write_stdout(made.text if plain else f"{made.text}\n")

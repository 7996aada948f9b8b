"""`loratory predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import ContenderOption, JsonOption, TextsArgument, WhereArgument

NAME = "predict"


def command(
    where: WhereArgument,
    text: TextsArgument = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="A data file with a text column, or a .txt of lines."),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="COLUMN", help="The text column of --file; or FIELD=COLUMN.")
    ] = None,
    contender: ContenderOption = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show the answer to one text while it is written (bases that write).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer one text, a file, or stdin; one JSON answer a line."""
    from loratory.cli.printing import data, write
    from loratory.errors import DataError
    from loratory.flows.opening import fit_folder, open_predictor

    if text and file:
        raise DataError("give either texts or --file, not both", remedy="two commands, or one file with all texts")
    if stream and (len(text or ()) != 1 or as_json):
        raise DataError("--stream shows the answer to one text", allowed="one TEXT, without --json")
    fit_folder(where, contender)  # a mistake is told before the libraries are loaded
    lines = () if text or file else stdin()
    from loratory.flows import predict as flow

    predictor, _ = open_predictor(where, contender)
    if stream:
        flow.aloud(predictor, flow.given_inputs(predictor.task, text or ())[0], write)
        return
    inputs = flow.inputs(predictor.task, flow.Source(text or (), file, column or (), lines))
    alone = len(text or ()) == 1
    for asked, prediction in flow.predict(predictor, inputs):
        data(flow.as_json(None if alone else asked, prediction) if as_json else prediction.answer)


def stdin() -> Iterable[bytes]:
    """Lines as bytes, so that one which is not UTF-8 can be named. Raises DataError where there is no stdin."""
    from loratory.cli.printing import console
    from loratory.errors import DataError

    if sys.stdin is None or sys.stdin.closed:
        raise DataError("there is no text, no --file, and stdin is closed", remedy='loratory predict RUN "a text"')
    if sys.stdin.isatty():
        console().print("one text a line; Ctrl-D ends", markup=False)
    return sys.stdin.buffer

"""`loratory predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption

NAME = "predict"


def command(
    where: Annotated[Path, typer.Argument(help="A run, a fit's folder, or an imported folder.", show_default=False)],
    text: Annotated[
        list[str] | None, typer.Argument(help="Texts; stdin (one a line) when there is neither text nor --file.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A data file with a text column, or a .txt of lines.")
    ] = None,
    column: Annotated[str | None, typer.Option("--column", help="The text column of --file.")] = None,
    contender: Annotated[
        str | None, typer.Option("--contender", "-c", help="Of a run: this one, not the recommended.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one text, a file, or stdin; one JSON answer a line."""
    from loratory.cli.printing import data
    from loratory.flows import predict as flow
    from loratory.flows.opening import open_predictor

    predictor, _ = open_predictor(where, contender)
    texts = text or (flow.texts_of_file(predictor, file, column) if file else flow.lines_of(sys.stdin))
    for one, prediction in flow.predict(predictor, texts):
        data(flow.as_json(one if len(text or ()) != 1 else None, prediction) if as_json else prediction.answer)
        sys.stdout.flush()

"""`loratory predict`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import ContenderOption, JsonOption, TaskOption, TextsArgument, UrlOption

NAME = "predict"


def command(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="WHERE", help="A run, a fit's folder, or an imported folder; with --url the first text instead."
        ),
    ] = None,
    text: TextsArgument = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="A data file with a text column, or a .txt of lines."),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="COLUMN", help="The text column of --file; or FIELD=COLUMN.")
    ] = None,
    contender: ContenderOption = None,
    url: UrlOption = None,
    task: TaskOption = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show the answer to one text while it is written (bases that write).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer one text, a file, or stdin; one JSON answer a line."""
    from loratory.cli.printing import data, write
    from loratory.errors import DataError
    from loratory.flows import by_url
    from loratory.flows import predict as flow
    from loratory.flows.opening import fit_folder

    if url is not None and where is not None and not _is_folder(where):
        text, where = [where, *(text or ())], None
    by_url.refuse_mixed(where, url, contender, task)
    if where is not None:
        fit_folder(Path(where), contender)  # a mistake is told before the libraries are loaded
    texts = text or ()
    if texts and file:
        raise DataError("give either texts or --file, not both", remedy="two commands, or one file with all texts")
    if stream and (len(texts) != 1 or as_json):
        raise DataError("--stream shows the answer to one text", allowed="one TEXT, without --json")
    source = flow.Source(texts, file, column or (), () if texts or file else stdin())
    with by_url.opened(url, task) if url is not None else flow.here(Path(str(where)), contender) as answerer:
        if stream:
            answerer.aloud(flow.given_inputs(answerer.task, texts)[0], write)
            return
        for asked, made, facts in answerer.rows(flow.inputs(answerer.task, source)):
            shown = None if len(texts) == 1 else asked
            data({**flow.as_json(shown, made), **facts} if as_json else made.answer)


def _is_folder(word: str) -> bool:
    """Whether the first word names a run or an artifact: beside --url any other is a text."""
    return any(os.path.isfile(os.path.join(word, name)) for name in ("ladder.json", "predictor.json"))


def stdin() -> Iterable[bytes]:
    """Lines as bytes, so that one which is not UTF-8 can be named. Raises DataError where there is no stdin."""
    from loratory.cli.printing import console
    from loratory.errors import DataError

    if sys.stdin is None or sys.stdin.closed:
        raise DataError("there is no text, no --file, and stdin is closed", remedy='loratory predict RUN "a text"')
    if sys.stdin.isatty():
        console().print("one text a line; Ctrl-D ends", markup=False)
    return sys.stdin.buffer

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
    from loratory.cli.output import print_json, write_stdout
    from loratory.errors import DataError
    from loratory.experiment.artifact_lookup import find_fit_folder
    from loratory.experiment.inference import local_prediction as flow
    from loratory.experiment.inference import remote

    if url is not None and where is not None and not _is_artifact_folder(where):
        text, where = [where, *(text or ())], None
    remote.check_source_options(where, url, contender, task)
    if where is not None:
        find_fit_folder(Path(where), contender)  # a mistake is told before the libraries are loaded
    texts = text or ()
    if texts and file:
        raise DataError("give either texts or --file, not both", remedy="two commands, or one file with all texts")
    if stream and (len(texts) != 1 or as_json):
        raise DataError("--stream shows the answer to one text", allowed="one TEXT, without --json")
    source = flow.InputSource(texts, file, column or (), () if texts or file else open_stdin())
    with remote.open_remote(url, task) if url is not None else flow.open_local(Path(str(where)), contender) as answerer:
        if stream:
            answerer.stream(flow.parse_typed_inputs(answerer.task, texts)[0], write_stdout)
            return
        for asked, made, facts in answerer.answer_all(flow.read_inputs(answerer.task, source)):
            shown = None if len(texts) == 1 else asked
            print_json({**flow.prediction_to_json(shown, made), **facts} if as_json else made.answer)


def _is_artifact_folder(word: str) -> bool:
    """Whether the first word names a run or an artifact: beside --url any other is a text."""
    return any(os.path.isfile(os.path.join(word, name)) for name in ("ladder.json", "predictor.json"))


def open_stdin() -> Iterable[bytes]:
    """Lines as bytes, so that one which is not UTF-8 can be named. Raises DataError where there is no stdin."""
    from loratory.cli.output import make_console
    from loratory.errors import DataError

    if sys.stdin is None or sys.stdin.closed:
        raise DataError("there is no text, no --file, and stdin is closed", remedy='loratory predict RUN "a text"')
    if sys.stdin.isatty():
        make_console().print("one text a line; Ctrl-D ends", markup=False)
    return sys.stdin.buffer

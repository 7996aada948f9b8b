"""`loratory predict`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from loratory.cli.completion import complete_data, complete_where
from loratory.cli.options import ContenderOption, JsonOption, QuietOption, TaskOption, TextsArgument, UrlOption

if TYPE_CHECKING:
    from loratory.cli.output import Output
    from loratory.experiment.inference.answer_files import Answered
    from loratory.experiment.inference.local_prediction import InputRow, InputSource, LocalAnswerer
    from loratory.experiment.inference.remote import RemoteAnswerer
    from loratory.protocols import Input, Prediction

    Answerer: TypeAlias = LocalAnswerer | RemoteAnswerer

NAME = "predict"
EXAMPLES = (
    'loratory predict runs/tickets "my card was stolen"',
    "loratory predict runs/tickets --file new.csv -o answers.csv",
    "cat lines.txt | loratory predict runs/tickets > answers.jsonl",
)


def command(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="WHERE",
            help="A run, the folder of a fit, or an exported or imported folder. With --url the first text instead.",
            show_default=False,
            autocompletion=complete_where,
        ),
    ] = None,
    text: TextsArgument = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A data file with a text column, or a .txt file with one text a line.",
            autocompletion=complete_data,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the answers to this .csv, .tsv or .jsonl file."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="COLUMN", help="The text column of --file, or FIELD=COLUMN (repeatable)."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add a column for each label to a .csv or .tsv file.")
    ] = False,
    contender: ContenderOption = None,
    url: UrlOption = None,
    task: TaskOption = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the answer to one text token by token (causal bases).")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer a text, a file or the lines of stdin.

    It prints one answer a line, as JSON; with --json each line also has the input, the confidence and the
    probabilities. A blank line gets the answer null, so that line N of the output belongs to line N of the input.

    An output file keeps all columns of the input. Added are the fields of the answer (such as label), confidence and
    reason, which says why there is no answer. Where the input has a column of that name, the added one is called
    predicted_NAME. In .csv and .tsv, text that begins with =, +, -, @, a tab or a carriage return gets an apostrophe
    before it, because a spreadsheet would run it as a formula; numbers and .jsonl files stay as they are.
    """
    from loratory.cli.output import Output
    from loratory.experiment.inference import local_prediction as flow
    from loratory.experiment.inference import remote

    out = Output(as_json, quiet)
    if url is not None and where is not None and not _is_artifact_folder(where):
        text, where = [where, *(text or ())], None
    remote.check_source_options(where, url, contender, task)
    texts, wish = text or (), AnswerFormat(output, probabilities, stream)
    loading = describe_loading(where, contender)  # a mistake is told before the libraries are loaded
    _check_options(texts, file, wish, as_json)
    source = flow.InputSource(texts, file, column or (), () if texts or file else open_stdin(out))
    with ExitStack() as stack:
        with out.note_when_slow(loading):
            answerer: Answerer = (
                stack.enter_context(remote.open_remote(url, task))
                if url is not None
                else stack.enter_context(flow.open_local(Path(str(where)), contender))
            )
        _answer(answerer, source, wish, out)


@dataclass(frozen=True)
class AnswerFormat:
    """Where the answers go, and how: a file, or stdout."""

    output: Path | None
    probabilities: bool
    stream: bool


def _answer(answerer: Answerer, source: InputSource, wish: AnswerFormat, out: Output) -> None:
    from loratory.cli.output import write_stdout
    from loratory.experiment.inference import local_prediction as flow

    if wish.stream:
        answerer.stream(flow.parse_typed_inputs(answerer.task, source.texts)[0], write_stdout)
    elif wish.output is not None:
        _write_answers(answerer, source, wish, out)
    else:
        _print_answers(answerer, source, out)


def _answer_rows(answerer: Answerer, rows: Iterable[InputRow]) -> Iterator[Answered]:
    """Each row with its prediction and the further facts of who answered."""
    from loratory.experiment.inference import local_prediction as flow
    from loratory.protocols import Prediction

    def answer(inputs: Iterable[Input]) -> Iterator[tuple[Prediction, Mapping[str, Any]]]:
        return ((made, facts) for _, made, facts in answerer.answer_all(inputs))

    return flow.answer_rows(rows, answer, lambda _: (Prediction(None, reason=flow.BLANK_REASON), {}))


def _print_answers(answerer: Answerer, source: InputSource, out: Output) -> None:
    from loratory.cli.output import print_json
    from loratory.experiment.inference import local_prediction as flow

    for row, (made, facts) in _answer_rows(answerer, flow.read_rows(answerer.task, source)):
        shown = {} if len(source.texts) == 1 else row.values
        whole = {**flow.prediction_to_json(None, made), **facts}
        print_json(flow.add_columns(shown, whole) if out.as_json else made.answer)


def _write_answers(answerer: Answerer, source: InputSource, wish: AnswerFormat, out: Output) -> None:
    from loratory.experiment.inference import local_prediction as flow
    from loratory.experiment.inference.answer_files import write_answers

    rows, file, unanswered = list(flow.read_rows(answerer.task, source)), Path(str(wish.output)), 0
    answered = _answer_rows(answerer, rows)
    with out.count("answers", len(rows)) as screen:
        for made in write_answers(file, answerer.task, rows, answered, wish.probabilities):
            screen.advance()
            unanswered += made.answer is None
    more = f", {unanswered:,} of them without an answer (column reason says why)" if unanswered else ""
    out.print(f"wrote {file}: {len(rows):,} rows{more}")
    out.json({"file": str(file), "rows": len(rows), "unanswered": unanswered})


def _check_options(texts: Sequence[str], file: Path | None, wish: AnswerFormat, as_json: bool) -> None:
    from loratory.errors import DataError
    from loratory.experiment.inference.answer_files import check_answer_file

    if texts and file:
        raise DataError("give either texts or --file, not both", remedy="two commands, or one file with all texts")
    if wish.stream and (len(texts) != 1 or as_json or wish.output):
        raise DataError("--stream prints the answer to one text", allowed="one TEXT, without --json and --output")
    if wish.output is not None:
        check_answer_file(wish.output, file)
    elif wish.probabilities and not as_json:
        raise DataError("--probabilities needs a file", remedy="--output answers.csv; or --json, which has them all")


def describe_loading(where: str | Path | None, contender: str | None) -> str:
    """What is waited for, in words. Raises ArtifactError where there is no such model."""
    from loratory.artifacts.manifests import read_manifest
    from loratory.experiment.artifact_lookup import find_fit_folder

    if where is None:
        return "waiting for the server ..."
    folder = find_fit_folder(Path(where), contender)
    base = (read_manifest(folder) or {}).get("base")
    return f"loading {base} ..." if base else f"loading {folder} ..."


def _is_artifact_folder(word: str) -> bool:
    """Whether the first word names a run or an artifact: beside --url any other is a text."""
    return any(os.path.isfile(os.path.join(word, name)) for name in ("ladder.json", "predictor.json"))


def open_stdin(out: Output) -> Iterable[bytes]:
    """Lines as bytes, so that one which is not UTF-8 can be named. Raises DataError where there is no stdin."""
    from loratory.errors import DataError

    if sys.stdin is None or sys.stdin.closed:
        raise DataError("there is no text, no --file, and stdin is closed", remedy='loratory predict RUN "a text"')
    if sys.stdin.isatty():
        out.note("type one text a line; Ctrl-D ends")
    return sys.stdin.buffer

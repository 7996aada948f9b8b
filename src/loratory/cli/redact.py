"""`loratory redact`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loratory.cli.completion import complete_data, complete_label, complete_method
from loratory.cli.options import ContenderOption, JsonOption, QuietOption, TextsArgument, WhereArgument

if TYPE_CHECKING:
    from loratory.cli.output import Output
    from loratory.experiment.inference.text_redaction import RedactedText

NAME = "redact"
EXAMPLES = (
    'loratory redact runs/pii "my phone number is 555 0100"',
    "loratory redact runs/pii --file letter.txt --how mask -o redacted.txt",
)


def command(
    where: WhereArgument,
    text: TextsArgument = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A .txt file, which is one text, or a data file with a text column.",
            autocompletion=complete_data,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to this .txt, .csv, .tsv or .jsonl file, not to stdout."
        ),
    ] = None,
    how: Annotated[
        str,
        typer.Option(
            "--how",
            metavar="METHOD",
            help="type: [LABEL]; mask: blocks of the same length; hash: [LABEL:code]; fake: invented values.",
            autocompletion=complete_method,
        ),
    ] = "type",
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="LABEL",
            help="Replace only spans of this label (repeatable).",
            autocompletion=complete_label,
        ),
    ] = None,
    contender: ContenderOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Replace personal data, such as names, in texts.

    It needs a run whose task is tag, such as the recipe pii. The methods hash and fake give the same value for the
    same words and the same key; LORATORY_REDACT_KEY holds the key. Of a data file only the redacted text is written:
    other columns may hold personal data too. Blank lines keep their place.
    """
    from loratory.cli.output import Output
    from loratory.cli.predict import describe_loading, open_stdin
    from loratory.errors import DataError
    from loratory.experiment.artifact_lookup import open_predictor

    out = Output(as_json, quiet)
    if text and file:
        raise DataError("give either texts or --file, not both", remedy="two commands, or one file with all texts")
    if output is not None:
        _check_output(output, file)
    loading = describe_loading(where, contender)  # a mistake is told before the libraries are loaded
    from loratory.experiment.inference import local_prediction as flow
    from loratory.experiment.inference.text_redaction import make_replacement, redact_rows

    replacement, said = make_replacement(how)
    lines = () if text or file else open_stdin(out)
    with out.note_when_slow(loading):
        predictor, _ = open_predictor(where, contender)
    if said:
        out.note(said)
    whole = file is not None and file.suffix == TEXT_SUFFIX
    if whole and file:
        input = flow.read_text_file(predictor.task, file)
        rows: Iterable[flow.InputRow] = [flow.InputRow(input, input)]
    else:
        rows = flow.read_rows(predictor.task, flow.InputSource(text or (), file, (), lines))
    redacted = redact_rows(predictor, rows, replacement, label or ())
    if output is not None:
        _write_texts(output, redacted, whole, out)
    else:
        _print_texts(redacted, whole, as_json or (file is not None and not whole))


TEXT_SUFFIX = ".txt"
COLUMNS = ("text", "spans")


def _check_output(output: Path, source: Path | None) -> None:
    from loratory.experiment.inference.answer_files import check_answer_file, check_output_file

    if output.suffix == TEXT_SUFFIX:
        check_output_file(output, source)
    else:
        check_answer_file(output, source)


def _print_texts(redacted: Iterator[RedactedText], whole: bool, as_json: bool) -> None:
    from loratory.cli.output import print_json, write_stdout

    for made in redacted:
        if as_json:
            print_json(made.as_json())
        else:
            write_stdout(made.text if whole else f"{made.text}\n")


def _write_texts(file: Path, redacted: Iterator[RedactedText], whole: bool, out: Output) -> None:
    """One row or line for each text; a .txt of a whole text is that text."""
    from loratory.artifacts.durable_files import open_replacement
    from loratory.experiment.inference.answer_files import make_row_writer

    count = 0
    with open_replacement(file) as opened, out.count("texts", None) as screen:
        plain = file.suffix == TEXT_SUFFIX
        write_row = None if plain else make_row_writer(opened, file.suffix, COLUMNS)
        for count, made in enumerate(redacted, 1):  # noqa: B007  # it is told below
            if write_row is not None:
                write_row(made.as_json())
            else:
                opened.write(made.text if whole else f"{made.text}\n")
            screen.advance()
    out.print(f"wrote {file}: {count:,} {'text' if count == 1 else 'texts'}")
    out.json({"file": str(file), "texts": count})

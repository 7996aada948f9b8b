"""Inputs from the command line, a file or stdin, to answers in their order."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from loratory.backbones.forward.execution import run_locally
from loratory.data.columns import get_value_at, match_columns
from loratory.data.readers.decoding import read_bytes
from loratory.data.readers.source_reader import read_source
from loratory.data.rows import Row
from loratory.data.task_inputs import InputFormat
from loratory.errors import DataError, UnsupportedTask
from loratory.experiment.artifact_lookup import open_predictor
from loratory.protocols import JSON, Column, GenerativePredictor, Input, Prediction, Predictor, Task
from loratory.specs.data import DataSpec

BATCH_INPUTS = 256
BLANK_REASON = "blank"  # why there is no answer to a text without a character
T = TypeVar("T")


@dataclass(frozen=True)
class InputSource:
    """Where a person's inputs are: typed texts, else a file and its columns, else lines of a stream."""

    texts: Sequence[str]
    file: Path | None
    columns: Sequence[str]
    lines: Iterable[bytes]


@dataclass(frozen=True)
class InputRow:
    """One row of a source: its values as they were read, and what a predictor is given, None for a blank text."""

    values: Mapping[str, JSON]
    input: Input | None


def read_rows(task: Task, source: InputSource) -> Iterable[InputRow]:
    """The rows of a source in order, blank lines and blank texts too. Raises DataError."""
    if source.texts:
        return [InputRow(input, input) for input in parse_typed_inputs(task, source.texts)]
    if source.file:
        return read_file_rows(task, source.file, source.columns)
    return read_line_rows(task, source.lines)


def parse_typed_inputs(task: Task, texts: Sequence[str]) -> list[Input]:
    """Inputs typed on the command line: text as it is, or JSON where the task needs more than a text."""
    question = InputFormat.from_task(task)
    return [
        question.parse_input(text if question.text_field else _parse_json(text, question, where), where)
        for text, where in ((text, f"argument {number}") for number, text in enumerate(texts, 1))
    ]


def read_input_file(task: Task, file: Path, columns: Sequence[str]) -> list[Input]:
    """Inputs of a data file, or lines of a .txt file. `columns`: COLUMN, or FIELD=COLUMN. Raises DataError."""
    if file.suffix == ".txt":
        return list(read_input_lines(task, _read_lines(file), str(file)))
    question = InputFormat.from_task(task)
    return [question.parse_input(fields, _row_place(row, file)) for row, fields in _read_fields(task, file, columns)]


def read_file_rows(task: Task, file: Path, columns: Sequence[str]) -> list[InputRow]:
    """As `read_input_file`, with all columns of the file, and with blank texts. Raises DataError."""
    if file.suffix == ".txt":
        return list(read_line_rows(task, _read_lines(file), str(file)))
    question = InputFormat.from_task(task)
    return [
        InputRow(
            row.values,
            None if _is_blank(fields, question) else question.parse_input(fields, _row_place(row, file)),
        )
        for row, fields in _read_fields(task, file, columns)
    ]


def _read_lines(file: Path) -> list[bytes]:
    """The lines of a text file; what ends the last one begins no other."""
    return read_bytes(file, str(file)).removesuffix(b"\n").split(b"\n")


def _read_fields(task: Task, file: Path, columns: Sequence[str]) -> Iterator[tuple[Row, dict[str, JSON]]]:
    """The rows of a data file, each with those of its values that the task's input is made of."""
    question = InputFormat.from_task(task)
    rows = read_source(DataSpec(path=str(file.absolute())), Path.cwd(), convert_annotations=False).train
    wanted: dict[str, Column] = {name: column for name, column in task.columns.items() if name in question.fields}
    found = match_columns(rows, wanted, _parse_columns(columns, question)).columns
    for row in rows:
        held = {name: path for name, path in found.items() if {path, path.split(".")[0]} & row.values.keys()}
        yield row, {name: get_value_at(row, path) for name, path in held.items()}


def _is_blank(fields: Mapping[str, JSON], question: InputFormat) -> bool:
    """Whether the text is there and holds nothing; what lacks it is an error."""
    name = question.text_field
    if name is None or name not in fields:
        return False
    text = fields[name]
    return text is None or (isinstance(text, str) and not text.strip())


def read_text_file(task: Task, file: Path) -> Input:
    """A text file as one input, to the last sign. Raises DataError."""
    raw = read_bytes(file, str(file))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        where = f"{file}:{raw[: problem.start].count(10) + 1}"
        raise DataError("this line is not UTF-8", where=where, remedy="iconv -f cp1252 -t utf-8") from None
    return InputFormat.from_task(task).parse_input(text, str(file))


def _row_place(row: Row, file: Path) -> str:
    return f"{file}{row.origin.removeprefix(row.file)}"


def _parse_columns(columns: Sequence[str], question: InputFormat) -> dict[str, str]:
    made = {}
    for one in columns:
        name, equals, column = one.partition("=")
        if not equals and question.text_field is None:
            raise DataError(
                f"{one!r} does not say for which field",
                where="--column",
                allowed="FIELD=COLUMN",
                remedy=question.describe(),
            )
        made[name if equals and name in question.fields else str(question.text_field)] = column if equals else one
    return made


def read_input_lines(task: Task, stream: Iterable[bytes], name: str = "stdin") -> Iterator[Input]:
    """Inputs from a stream, one a line: plain text, a JSON string, or a JSON object of the task's fields. Blank lines
    are left out.
    """
    return (row.input for row in read_line_rows(task, stream, name) if row.input is not None)


def read_line_rows(task: Task, stream: Iterable[bytes], name: str = "stdin") -> Iterator[InputRow]:
    """As `read_input_lines`, with blank lines, and with all that a JSON object holds."""
    question = InputFormat.from_task(task)
    for number, raw in enumerate(stream, 1):
        where = f"{name}:{number}"
        line = _decode_line(raw, where).rstrip("\r\n")
        if not line.strip():
            yield InputRow({question.text_field: line} if question.text_field else {}, None)
            continue
        structured = line.startswith(('"', "{")) or not question.text_field
        value = _parse_json(line, question, where) if structured else line
        input = question.parse_input(value, where)
        blank = question.text_field is not None and not str(input[question.text_field]).strip()
        yield InputRow(value if isinstance(value, Mapping) else input, None if blank else input)


def _decode_line(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"byte {problem.start + 1} of this line (0x{raw[problem.start]:02x}) is not UTF-8",
            where=where,
            remedy="convert it first: iconv -f cp1252 -t utf-8",
        ) from None


def _parse_json(text: str, question: InputFormat, where: str) -> JSON:
    """The value of JSON text; text that only looks like JSON is text where the task takes text."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, (str, dict)) or not question.text_field else text


def predict_batches(predictor: Predictor, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
    """Answers in order, batch by batch, so that a long stream starts to answer at once."""
    for batch in iterate_batches(inputs):
        yield from zip(batch, predictor.predict(batch, run_locally), strict=True)


def answer_rows(
    rows: Iterable[InputRow], answer: Callable[[Iterable[Input]], Iterable[T]], blank: Callable[[InputRow], T]
) -> Iterator[tuple[InputRow, T]]:
    """Each row with its answer, in order; blank rows keep their place and get what `blank` gives."""
    for batch in iterate_batches(rows):
        answers = iter(answer([row.input for row in batch if row.input is not None]))
        for row in batch:
            yield row, blank(row) if row.input is None else next(answers)


def iterate_batches(inputs: Iterable[T], count: int = BATCH_INPUTS) -> Iterator[list[T]]:
    """So many inputs at a time as are answered together."""
    rest = iter(inputs)
    while batch := list(islice(rest, count)):
        yield batch


@dataclass(frozen=True)
class LocalAnswerer:
    """A predictor of this process, as a command asks it; remote.RemoteAnswerer is the same for a server."""

    predictor: Predictor

    @property
    def task(self) -> Task:
        return self.predictor.task

    def answer_all(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction, dict[str, JSON]]]:
        """Answers in order, with further facts: none."""
        return ((asked, made, {}) for asked, made in predict_batches(self.predictor, inputs))

    def stream(self, input: Input, on_token: Callable[[str], None]) -> None:
        """Stream the answer to one input, and end the line. Raises UnsupportedTask."""
        stream_answer(self.predictor, input, on_token)


@contextmanager
def open_local(source: Path, contender: str | None) -> Iterator[LocalAnswerer]:
    """A run's or an artifact's predictor. Raises ArtifactError."""
    predictor, _ = open_predictor(source, contender)
    yield LocalAnswerer(predictor)


def stream_answer(predictor: Predictor, input: Input, on_token: Callable[[str], None]) -> Prediction:
    """Stream the answer to one input, and end the line. Raises UnsupportedTask where no text is generated."""
    if not isinstance(predictor, GenerativePredictor):
        raise UnsupportedTask("this contender does not generate text", where="--stream", allowed="a causal base")
    made = predictor.stream(input, run_locally, on_token)
    if made.answer is None:
        raise UnsupportedTask(f"there is no answer: {made.reason}", remedy="a shorter text, if it is long")
    on_token("\n")
    return made


def prediction_to_json(input: Input | None, prediction: Prediction) -> dict[str, Any]:
    """One answer as plain data: answer, confidence, probabilities, and the reason where there is no answer; with the
    input's own fields where it is given.
    """
    odds = {pointer: dict(each) for pointer, each in prediction.probabilities.items()}
    made: dict[str, Any] = {"answer": prediction.answer, "confidence": prediction.confidence, "probabilities": odds}
    if prediction.reason:
        made["reason"] = prediction.reason
    return made if input is None else {**input, **made}


def add_columns(values: Mapping[str, JSON], added: Mapping[str, JSON], taken: Collection[str] = ()) -> dict[str, JSON]:
    """A row with more columns. One whose name is a column already, of the row or of `taken`, is called
    predicted_NAME: no value of the input is lost.
    """
    names = {*values, *taken}
    return {**values, **{rename_column(name, names): value for name, value in added.items()}}


def rename_column(name: str, taken: Collection[str]) -> str:
    """A column's name, with predicted_ before it until it is none of those."""
    while name in taken:
        name = f"predicted_{name}"
    return name

"""`loratory predict`: inputs from the command line, a file or stdin, to answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from loratory.data.columns import match, pick
from loratory.data.content import read_bytes
from loratory.data.questions import Question
from loratory.data.readers import read_source
from loratory.data.rows import Row
from loratory.errors import DataError, Unfit
from loratory.flows.opening import open_predictor
from loratory.models.execution import run_here
from loratory.protocols import JSON, Column, Input, Prediction, Predictor, Task, Writer
from loratory.specs.data import DataSpec

AT_ONCE = 256


@dataclass(frozen=True)
class Source:
    """Where a person's inputs are: typed texts, else a file and its columns, else lines of a stream."""

    texts: Sequence[str]
    file: Path | None
    columns: Sequence[str]
    lines: Iterable[bytes]


def inputs(task: Task, source: Source) -> Iterable[Input]:
    """The inputs of a source. Raises DataError."""
    if source.texts:
        return given_inputs(task, source.texts)
    if source.file:
        return inputs_of_file(task, source.file, source.columns)
    return inputs_of_lines(task, source.lines)


def given_inputs(task: Task, texts: Sequence[str]) -> list[Input]:
    """Inputs typed on the command line: text as it is, or JSON where the task needs more than a text."""
    question = Question.of(task)
    return [
        question.input(text if question.text else _json(text, question, where), where)
        for text, where in ((text, f"argument {number}") for number, text in enumerate(texts, 1))
    ]


def inputs_of_file(task: Task, file: Path, columns: Sequence[str]) -> list[Input]:
    """Inputs of a data file, or lines of a .txt file. `columns`: COLUMN, or FIELD=COLUMN. Raises DataError."""
    question = Question.of(task)
    if file.suffix == ".txt":
        return list(inputs_of_lines(task, read_bytes(file, str(file)).split(b"\n"), str(file)))
    rows = read_source(DataSpec(path=str(file.absolute())), Path.cwd(), answers=False).train
    wanted: dict[str, Column] = {name: column for name, column in task.columns.items() if name in question.fields}
    found = match(rows, wanted, _given(columns, question)).columns
    return [question.input({name: pick(row, path) for name, path in found.items()}, _place(row, file)) for row in rows]


def whole_file(task: Task, file: Path) -> Input:
    """A text file as one input, to the last sign. Raises DataError."""
    raw = read_bytes(file, str(file))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        where = f"{file}:{raw[: problem.start].count(10) + 1}"
        raise DataError("this line is not UTF-8", where=where, remedy="iconv -f cp1252 -t utf-8") from None
    return Question.of(task).input(text, str(file))


def _place(row: Row, file: Path) -> str:
    return f"{file}{row.place.removeprefix(row.file)}"


def _given(columns: Sequence[str], question: Question) -> dict[str, str]:
    made = {}
    for one in columns:
        name, equals, column = one.partition("=")
        if not equals and question.text is None:
            raise DataError(
                f"{one!r} does not say for which field",
                where="--column",
                allowed="FIELD=COLUMN",
                remedy=question.said(),
            )
        made[name if equals and name in question.fields else str(question.text)] = column if equals else one
    return made


def inputs_of_lines(task: Task, stream: Iterable[bytes], name: str = "stdin") -> Iterator[Input]:
    """Inputs from a stream, one a line: plain text, a JSON string, or a JSON object of the task's fields."""
    question = Question.of(task)
    for number, raw in enumerate(stream, 1):
        where = f"{name}:{number}"
        line = _decoded(raw, where).rstrip("\r\n")
        if line.strip():
            structured = line.startswith(('"', "{")) or not question.text
            yield question.input(_json(line, question, where) if structured else line, where)


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"byte {problem.start + 1} of this line (0x{raw[problem.start]:02x}) is not UTF-8",
            where=where,
            remedy="convert it first: iconv -f cp1252 -t utf-8",
        ) from None


def _json(text: str, question: Question, where: str) -> JSON:
    """The value of JSON text; text that only looks like JSON is text where the task takes text."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, (str, dict)) or not question.text else text


def predict(predictor: Predictor, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
    """Answers in order, batch by batch, so that a long stream starts to answer at once."""
    for batch in batches(inputs):
        yield from zip(batch, predictor.predict(batch, run_here), strict=True)


def batches(inputs: Iterable[Input], count: int = AT_ONCE) -> Iterator[list[Input]]:
    """So many inputs at a time as are answered together."""
    rest = iter(inputs)
    while batch := list(islice(rest, count)):
        yield batch


@dataclass(frozen=True)
class Here:
    """A predictor of this process, as a command asks it; by_url.Remote is the same of a server."""

    predictor: Predictor

    @property
    def task(self) -> Task:
        return self.predictor.task

    def rows(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction, dict[str, JSON]]]:
        """Answers in order, with what is told beside: nothing."""
        return ((asked, made, {}) for asked, made in predict(self.predictor, inputs))

    def aloud(self, input: Input, hear: Callable[[str], None]) -> None:
        """The answer to one input, heard while it is written, and a line's end. Raises Unfit."""
        aloud(self.predictor, input, hear)


@contextmanager
def here(where: Path, contender: str | None) -> Iterator[Here]:
    """A run's or an artifact's predictor. Raises ArtifactError."""
    predictor, _ = open_predictor(where, contender)
    yield Here(predictor)


def aloud(predictor: Predictor, input: Input, hear: Callable[[str], None]) -> Prediction:
    """The answer to one input, heard while it is written, and a line's end. Raises Unfit where nothing is written."""
    if not isinstance(predictor, Writer):
        raise Unfit("this contender does not write its answer", where="--stream", allowed="a base that writes")
    made = predictor.aloud(input, run_here, hear)
    if made.answer is None:
        raise Unfit(f"there is no answer: {made.why}", remedy="a shorter text, if it is long")
    hear("\n")
    return made


def as_json(asked: Input | None, prediction: Prediction) -> dict[str, Any]:
    """One answer as plain data, with the input's own fields when it is given."""
    odds = {pointer: dict(each) for pointer, each in prediction.probabilities.items()}
    made: dict[str, Any] = {"answer": prediction.answer, "confidence": prediction.confidence, "probabilities": odds}
    if prediction.why:
        made["why"] = prediction.why
    return made if asked is None else {**asked, **made}

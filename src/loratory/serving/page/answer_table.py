"""A CSV with the answers beside its rows."""

from __future__ import annotations

import csv
import io
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loratory.data.columns import get_value_at, match_columns
from loratory.data.readers.delimited import detect_delimiter, read_delimited
from loratory.data.rows import Row
from loratory.data.task_inputs import InputFormat
from loratory.errors import DataError
from loratory.protocols import JSON, Labelled, Task
from loratory.protocols.routes import ApiError
from loratory.serving.engine.fallback_chain import StagedAnswer
from loratory.serving.engine.service_registry import Service

TABLE_NAME = "the table"
MAX_COLUMNS = 500  # at most, so that a header cannot be the work of minutes
PREVIEW_ROWS = 20  # rows that are shown
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class TableRequest:
    """The rows of a table, and what each asks."""

    rows: Sequence[Row]
    values: Sequence[JSON]
    column: str  # the one that is shown beside the answers
    delimiter: str
    notes: Sequence[str]  # what was guessed


@dataclass(frozen=True)
class AnsweredTable:
    """A table with its answers, as the page shows it."""

    service: Service
    text: str
    column: str
    added_columns: Sequence[str]
    preview: Sequence[tuple[str, Sequence[str]]]
    rows: int
    counts: Sequence[tuple[str, int]]
    notes: Sequence[str]
    milliseconds: float

    @property
    def download_link(self) -> str:
        """The whole table in an address: nothing is kept here, and nothing is answered twice."""
        return "data:text/csv;charset=utf-8;base64," + b64encode(self.text.encode()).decode()


def parse_table(service: Service, text: str, column: str, max_rows: int) -> TableRequest:
    """The table of a form. Raises ApiError, with the line of the table where it can."""
    if not text.strip():
        raise ApiError("invalid_input", "there is no table: paste one with a header, or open a file")
    task = service.task
    question = InputFormat.from_task(task)
    wanted = {name: one for name, one in task.columns.items() if name in question.fields}
    text = text.removeprefix("\ufeff")
    try:
        delimiter = _detect_delimiter(text)
        known = {column, *(guess for one in wanted.values() for guess in one.aliases)} - {""}
        rows, said = read_delimited(text, TABLE_NAME, delimiter, known)
        if len(rows) > max_rows:
            raise ApiError("too_large", f"the table has {len(rows)} rows; allowed: {max_rows} at a time")
        field = question.text_field or question.required[0]
        found = match_columns(rows, wanted, {field: column} if column else {})
        if field not in found.columns:
            there = ", ".join(rows[0].values)
            raise ApiError("invalid_input", f"no column can be taken for the {field}; the table has: {there}")
        values = [{name: get_value_at(row, path) for name, path in found.columns.items()} for row in rows]
    except DataError as problem:
        allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
        raise ApiError("invalid_input", f"{problem.problem}{allowed}", where=_describe_line(problem.where)) from None
    guessed = [one for one in found.messages if f"{found.columns[field]!r}" in one]
    return TableRequest(rows, values, found.columns[field], delimiter, [*said, *(one.split(";")[0] for one in guessed)])


def _detect_delimiter(text: str) -> str:
    found = detect_delimiter(text)
    try:
        width = len(next(csv.reader(io.StringIO(text, newline=""), delimiter=found), []))
    except csv.Error as problem:
        raise ApiError("invalid_input", f"no valid CSV: {problem}", where=f"{TABLE_NAME}:1") from None
    if width > MAX_COLUMNS:
        raise ApiError("too_large", f"the table has {width} columns; allowed: {MAX_COLUMNS}")
    return found


def _describe_line(where: str) -> str:
    """`line 2 of the table` for `the table:2`."""
    name, colon, number = where.rpartition(":")
    return f"line {number} of {name}" if colon and number.isdigit() else where


def describe_row(where: str) -> str:
    """`row 3` for inputs.2, as people count: the header is none."""
    number = where.split(":")[0].rpartition(".")[2]
    return f"row {int(number) + 1}" if number.isdigit() else where


def fill_table(
    service: Service, asked: TableRequest, found: Sequence[StagedAnswer], milliseconds: float
) -> AnsweredTable:
    """The user's columns as they are, and ours behind them.

    A cell of ours that a spreadsheet would take for a formula (it begins with = + - @, a tab or the end of a line) gets
    an apostrophe before it: what a model wrote may come from whoever wrote the text. The user's own cells are theirs.
    """
    own = list(asked.rows[0].values)
    names = _unique_names(("label" if isinstance(service.task, Labelled) else "answer", *ANSWER_COLUMNS), own)
    cells = [tuple(map(escape_formula, _answer_cells(service.task, one))) for one in found]
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=asked.delimiter, lineterminator="\r\n")
    writer.writerow([*own, *names])
    writer.writerows([*row.values.values(), *added] for row, added in zip(asked.rows, cells, strict=True))
    few = zip(asked.rows[:PREVIEW_ROWS], cells, strict=False)
    told = ((get_value_at(row, asked.column), added) for row, added in few)
    preview = [("" if value is None else str(value), added) for value, added in told]
    counts = Counter(_count_key(service.task, one) for one in found).most_common()
    return AnsweredTable(
        service, buffer.getvalue(), asked.column, names, preview, len(cells), counts, asked.notes, milliseconds
    )


ANSWER_COLUMNS = ("confidence", "status", "served_by")


def escape_formula(cell: str) -> str:
    """A cell that no spreadsheet computes."""
    return f"'{cell}" if cell.startswith(FORMULA_PREFIXES) else cell


def _answer_cells(task: Task, one: StagedAnswer) -> tuple[str, ...]:
    confidence = "" if one.prediction.answer is None else f"{one.prediction.confidence:.6f}"
    return _answer_text(task, one.prediction.answer), confidence, one.status, one.stage.name


def _answer_text(task: Task, answer: JSON) -> str:
    if answer is None:
        return ""
    if isinstance(task, Labelled):
        return task.label_of(answer)
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _count_key(task: Task, one: StagedAnswer) -> str:
    """What the rows are counted by: labels where there are some, else how it ended."""
    answer = one.prediction.answer
    return task.label_of(answer) if isinstance(task, Labelled) and answer is not None else one.status


def _unique_names(names: Sequence[str], own: Sequence[str]) -> list[str]:
    """Names for our columns that no column of the user's has."""
    made: Mapping[str, str] = {name: name for name in names}
    while taken := [name for name in names if made[name] in own]:
        made = {**made, **{name: f"loratory_{made[name]}" for name in taken}}
    return [made[name] for name in names]

"""Files of answers: CSV, TSV or JSON lines, one row for each row of the input, whole or not at all."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from loratory.artifacts.durable_files import open_replacement
from loratory.errors import DataError
from loratory.experiment.inference.local_prediction import InputRow, add_columns, prediction_to_json, rename_column
from loratory.protocols import JSON, Prediction, Task

JSON_SUFFIX = ".jsonl"
DELIMITER_BY_SUFFIX = {".csv": ",", ".tsv": "\t"}
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet may run such a cell (OWASP, CSV Injection)
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|\.\d+)([eE][+-]?\d+)?%?")

Answered = tuple[InputRow, tuple[Prediction, Mapping[str, JSON]]]  # with further facts of who answered
RowWriter = Callable[[Mapping[str, JSON]], None]


def check_answer_file(file: Path, source: Path | None) -> None:
    """Raises DataError where answers cannot go into this file."""
    check_output_file(file, source)
    if file.suffix not in (JSON_SUFFIX, *DELIMITER_BY_SUFFIX):
        raise DataError(
            f"answers cannot be written as {file.suffix or 'a file without a suffix'}",
            where=f"--output {file}",
            allowed=f"{', '.join(DELIMITER_BY_SUFFIX)}, {JSON_SUFFIX}",
            remedy=f"--output {file.with_suffix('.csv')}",
        )


def check_output_file(file: Path, source: Path | None) -> None:
    """Raises DataError where the output is a folder, or the file that is read."""
    if file.is_dir():
        raise DataError("this is a folder", where=f"--output {file}", allowed="a file")
    if source is not None and file.exists() and source.exists() and file.samefile(source):
        raise DataError(
            "the output is the file that is read", where=f"--output {file}", remedy="give the output another name"
        )


@dataclass(frozen=True)
class AnswerColumns:
    """What a table holds of each answer: its fields, the confidence, the reason, and probabilities where asked for."""

    fields: tuple[str, ...]  # of an answer that is an object; none: the answer is one cell
    labels: tuple[tuple[str, str, str], ...] = ()  # column, JSON pointer, label

    @classmethod
    def for_task(cls, task: Task, rows: Sequence[InputRow], probabilities: bool) -> AnswerColumns:
        """From the contract of the task. Raises DataError where probabilities have no fixed labels."""
        first = next((row.input for row in rows if row.input is not None), None)
        properties: Mapping[str, Any] = task.contract(first).get("properties", {}) if first is not None else {}
        if not probabilities or first is None:
            return cls(tuple(properties))
        fixed = {name: each["enum"] for name, each in properties.items() if each.get("enum")}
        if not fixed:
            raise DataError(
                "the answers of this task have no fixed labels",
                where="--probabilities",
                remedy=f"leave it out, or write a {JSON_SUFFIX} file, which holds all probabilities",
            )
        start = {name: "probability_" if len(fixed) == 1 else f"probability_{name}_" for name in fixed}
        labels = ((f"{start[name]}{label}", f"/{name}", str(label)) for name, each in fixed.items() for label in each)
        return cls(tuple(properties), tuple(labels))

    def collect_cells(self, prediction: Prediction) -> dict[str, JSON]:
        """Column -> value of one answer."""
        answer = prediction.answer
        if self.fields:
            cells = {name: answer.get(name) if isinstance(answer, Mapping) else None for name in self.fields}
        else:
            cells = {"answer": answer}
        cells["confidence"] = prediction.confidence if answer is not None else None
        cells["reason"] = prediction.reason
        odds = prediction.probabilities
        return cells | {column: odds.get(pointer, {}).get(label) for column, pointer, label in self.labels}


def write_answers(
    file: Path, task: Task, rows: Sequence[InputRow], answered: Iterable[Answered], probabilities: bool = False
) -> Iterator[Prediction]:
    """Write a row for each of `rows`; gives each prediction once it is written, and replaces the file at the end.

    Raises DataError and StorageError.
    """
    columns = AnswerColumns.for_task(task, rows, probabilities and file.suffix != JSON_SUFFIX)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    header = [*names, *(rename_column(name, names) for name in columns.collect_cells(Prediction(None)))]
    as_json = file.suffix == JSON_SUFFIX
    with open_replacement(file) as opened:
        write_row = make_row_writer(opened, file.suffix, header)
        for row, (prediction, facts) in answered:
            added = {**prediction_to_json(None, prediction), **facts} if as_json else columns.collect_cells(prediction)
            write_row(add_columns(row.values, added, names))
            yield prediction


def make_row_writer(opened: TextIO, suffix: str, names: Sequence[str]) -> RowWriter:
    """What writes a row to a file of this kind; the header is written at once."""
    if suffix == JSON_SUFFIX:

        def write_line(row: Mapping[str, JSON]) -> None:
            opened.write(json.dumps(row, ensure_ascii=False) + "\n")

        return write_line
    writer = csv.writer(opened, delimiter=DELIMITER_BY_SUFFIX[suffix], lineterminator="\n")
    writer.writerow([format_cell(name) for name in names])

    def write_cells(row: Mapping[str, JSON]) -> None:
        writer.writerow([format_cell(row.get(name)) for name in names])

    return write_cells


def format_cell(value: JSON) -> str:
    """A value as a cell. Text that a spreadsheet would run as a formula gets an apostrophe before it. Numbers stay."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if value.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(value) else value

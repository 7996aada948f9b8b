"""Rows to examples, through the task's own reading; problems come with file, line and the user's column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loratory.data.columns import ColumnMapping, get_value_at
from loratory.data.dataset import Dataset, iterate_strings
from loratory.data.offset_detection import explain_unread_rows
from loratory.data.rows import Row
from loratory.errors import DataError, FieldError, format_value
from loratory.protocols import Example, Task

MAX_SHOWN_PROBLEMS = 5  # problems told in full


def to_examples(rows: Sequence[Row], task: Task, column_mapping: ColumnMapping, max_characters: int) -> Dataset:
    """One example per row, its origin `file:line`. Raises one DataError for all bad rows, the first five in full."""
    examples, problems = [], []
    for row in rows:
        try:
            examples.append(_read_example(row, task, column_mapping, max_characters))
        except DataError as problem:
            problems.append(problem)
    if problems:
        raise _merge_errors(problems, explain_unread_rows(problems, task, rows, column_mapping))
    return Dataset(task, tuple(examples))


def _read_example(row: Row, task: Task, column_mapping: ColumnMapping, max_characters: int) -> Example:
    try:
        values = {name: get_value_at(row, path) for name, path in column_mapping.columns.items()}
        extras = {name: get_value_at(row, path) for name, path in column_mapping.extras.items()}
        example = replace(task.read(values), origin=row.origin, extras=extras)
        for field, text in iterate_strings(example.input, ""):
            _check_length(field, text, max_characters)
        for problem in task.check_answer(example.input, example.answer):
            raise FieldError("", problem)
        _check_rejected(task, example)
    except FieldError as problem:
        column = column_mapping.columns.get(problem.field, problem.field)
        where = f"{row.origin}: {column}" if column else row.origin
        raise DataError(problem.problem, where=where, allowed=problem.allowed, remedy=problem.remedy) from problem
    return example


def _check_rejected(task: Task, example: Example) -> None:
    """Raises FieldError where the rejected answer is none of the task, or the expected one once more."""
    if example.rejected is None:
        return
    for problem in task.check_answer(example.input, example.rejected):
        raise FieldError("rejected", f"the rejected answer: {problem}")
    if example.rejected == example.answer:
        raise FieldError(
            "rejected",
            f"the rejected answer is the expected one: {format_value(example.rejected)}",
            allowed="an answer that is worse than the expected one, or none",
            remedy="leave it empty, or remove the row",
        )


def _check_length(field: str, text: str, max_characters: int) -> None:
    if not text.strip():
        raise FieldError(
            field,
            "the text is empty",
            allowed="at least one character that is no white space",
            remedy="fill it in or remove the row",
        )
    if len(text) > max_characters:
        raise FieldError(
            field,
            f"the text has {len(text):,} characters",
            allowed=f"at most {max_characters:,}",
            remedy="shorten, split or remove it, or raise data: max_characters",
        )


def _merge_errors(problems: Sequence[DataError], hint: tuple[str, str]) -> DataError:
    """One error of many; `hint` is a line on what they have in common, and its remedy, "" where there is none."""
    first, (common, remedy) = problems[0], hint
    if len(problems) == 1:
        return first
    others = [f"  {problem.where}: {problem.problem}" for problem in problems[1:MAX_SHOWN_PROBLEMS]]
    if len(problems) > MAX_SHOWN_PROBLEMS:
        others.append(f"  and {len(problems) - MAX_SHOWN_PROBLEMS} more rows")
    others += [f"  {common}"] if common else []
    return DataError(
        "\n".join([first.problem, *others]),
        where=first.where,
        allowed=first.allowed,
        remedy=remedy or first.remedy,
    )

"""Rows to examples, through the task's own reading; problems come with file, line and the user's column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from loratory.data.columns import ColumnMapping, get_value_at
from loratory.data.offset_detection import explain_unread_rows
from loratory.data.rows import Row
from loratory.errors import DataError, FieldError, format_value
from loratory.protocols import JSON, Conversational, Example, Labelled, Task

MAX_SHOWN_PROBLEMS = 5  # problems told in full


def to_examples(rows: Sequence[Row], task: Task, column_mapping: ColumnMapping, max_characters: int) -> list[Example]:
    """One example per row, its origin `file:line`. Raises one DataError for all bad rows, the first five in full."""
    examples, problems = [], []
    for row in rows:
        try:
            examples.append(_read_example(row, task, column_mapping, max_characters))
        except DataError as problem:
            problems.append(problem)
    if problems:
        raise _merge_errors(problems, explain_unread_rows(problems, task, rows, column_mapping))
    return examples


def extract_texts(task: Task, examples: Sequence[Example]) -> list[str]:
    """What is compared between examples: the task's text of an input, else every string of the input."""
    if isinstance(task, (Labelled, Conversational)):
        return [task.text(example.input) for example in examples]
    return ["\n".join(text for _, text in _iterate_strings(example.input, "")) for example in examples]


def extract_labels(task: Task, examples: Sequence[Example]) -> list[str]:
    """The label of each example; the empty label for a task without labels."""
    if isinstance(task, Labelled):
        return [task.label_of(example.answer) for example in examples]
    return [""] * len(examples)


def _read_example(row: Row, task: Task, column_mapping: ColumnMapping, max_characters: int) -> Example:
    try:
        values = {name: get_value_at(row, path) for name, path in column_mapping.columns.items()}
        extras = {name: get_value_at(row, path) for name, path in column_mapping.extras.items()}
        example = replace(task.read(values), origin=row.origin, extras=extras)
        for field, text in _iterate_strings(example.input, ""):
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


def _iterate_strings(value: JSON, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _iterate_strings(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from _iterate_strings(inner, f"{path}.{position}")


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

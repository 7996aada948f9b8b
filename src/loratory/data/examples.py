"""Rows to examples, through the task's own reading; problems come with file, line and the user's column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from loratory.data.columns import Matching, pick
from loratory.data.offsets import explain
from loratory.data.rows import Row
from loratory.errors import DataError, FieldError
from loratory.protocols import JSON, Conversational, Example, Labelled, Task

SHOWN = 5  # problems told in full


def to_examples(rows: Sequence[Row], task: Task, matching: Matching, max_characters: int) -> list[Example]:
    """One example per row, its origin `file:line`. Raises one DataError for all bad rows, the first five in full."""
    examples, problems = [], []
    for row in rows:
        try:
            examples.append(_example(row, task, matching, max_characters))
        except DataError as problem:
            problems.append(problem)
    if problems:
        raise _together(problems, explain(problems, task, rows, matching))
    return examples


def texts_of(task: Task, examples: Sequence[Example]) -> list[str]:
    """What is compared between examples: the task's text of an input, else every string of the input."""
    if isinstance(task, (Labelled, Conversational)):
        return [task.text(example.input) for example in examples]
    return ["\n".join(text for _, text in _strings(example.input, "")) for example in examples]


def labels_of(task: Task, examples: Sequence[Example]) -> list[str]:
    """The label of each example; the empty label for a task without labels."""
    if isinstance(task, Labelled):
        return [task.label_of(example.answer) for example in examples]
    return [""] * len(examples)


def _example(row: Row, task: Task, matching: Matching, max_characters: int) -> Example:
    try:
        values = {name: pick(row, path) for name, path in matching.columns.items()}
        example = replace(task.read(values), origin=row.place)
        for field, text in _strings(example.input, ""):
            _check_length(field, text, max_characters)
        for problem in task.check(example.input, example.answer):
            raise FieldError("", problem)
    except FieldError as problem:
        column = matching.columns.get(problem.field, problem.field)
        where = f"{row.place}: {column}" if column else row.place
        raise DataError(problem.problem, where=where, allowed=problem.allowed, remedy=problem.remedy) from problem
    return example


def _strings(value: JSON, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from _strings(inner, f"{path}.{position}")


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


def _together(problems: Sequence[DataError], hint: tuple[str, str]) -> DataError:
    """One error of many; `hint` is a line on what they have in common, and its remedy, "" where there is none."""
    first, (common, remedy) = problems[0], hint
    if len(problems) == 1:
        return first
    others = [f"  {problem.where}: {problem.problem}" for problem in problems[1:SHOWN]]
    if len(problems) > SHOWN:
        others.append(f"  and {len(problems) - SHOWN} more rows")
    others += [f"  {common}"] if common else []
    return DataError(
        "\n".join([first.problem, *others]),
        where=first.where,
        allowed=first.allowed,
        remedy=remedy or first.remedy,
    )

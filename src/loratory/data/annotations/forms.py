"""Which tool a file was exported from, and its rows as plain rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loratory.data.annotations import argilla, doccano, label_studio, prodigy, spacy
from loratory.data.annotations.answers import Converted
from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.protocols import JSON

TOOLS = (label_studio, argilla, prodigy, spacy, doccano)  # doccano's forms are the plainest, so it goes last
WORDS = (
    "token",
    "word",
    "tag",
    "bio",
    "iob",
    "ner",
    "pos",
)  # in names of columns that hold a list for the words of a text


def convert(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows of one file in plain form, and what was read or left out; rows of no tool are returned as they are.

    A form is recognised over the whole file, never by one row. Spans become a list of {start, end, label}, a choice a
    string, several choices a list of strings, free text a string. Raises DataError where a tool's row is broken or none
    is left.
    """
    if not rows:
        return [], []
    converted = recognise(rows)
    if converted is None:
        return _single(rows), []
    if not converted.rows:
        raise DataError(
            f"no row is left: {converted.said[-1]}",
            where=rows[0].file,
            allowed="at least one row that is annotated and accepted",
            remedy="annotate and submit the rows in the tool, and export again",
        )
    return converted.rows, converted.said


def recognise(rows: Sequence[Row]) -> Converted | None:
    """What the first tool that knows the rows' form makes of them, with the answers' columns; None where none does."""
    return next((found for tool in TOOLS if (found := tool.convert(rows)) is not None), None)


def _single(rows: Sequence[Row]) -> list[Row]:
    """Rows with a list's only member instead of the list, in columns of lists with one string each beside a text."""
    named = [key for key in rows[0].values if not any(word in key.casefold() for word in WORDS)]
    columns = [key for key in named if all(_is_single(row, key) for row in rows)]
    words = [key for key in rows[0].values if key not in named]
    if any(all(_is_single(row, key) for row in rows) for key in words):  # texts of one word each, with their tags
        return list(rows)
    if not columns or not all(any(isinstance(value, str) for value in row.values.values()) for row in rows):
        return list(rows)
    return [
        replace(row, values={key: _only(value, key in columns) for key, value in row.values.items()}) for row in rows
    ]


def _only(value: JSON, single: bool) -> JSON:
    return value[0] if single and isinstance(value, list) else value


def _is_single(row: Row, key: str) -> bool:
    value = row.values.get(key)
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)

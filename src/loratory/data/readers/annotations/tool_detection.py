"""Which tool a file was exported from, and its rows as plain rows."""

from __future__ import annotations

from collections.abc import Sequence

from loratory.data.readers.annotations import argilla, doccano, label_studio, prodigy, spacy, word_rows
from loratory.data.readers.annotations.conversion import ConvertedExport
from loratory.data.rows import Row
from loratory.errors import DataError

TOOLS = (label_studio, argilla, prodigy, spacy, word_rows, doccano)  # doccano's forms are the plainest, so it goes last


def convert_export(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows of one file in plain form, and what was read or left out; rows of no tool are returned as they are.

    A form is recognised over the whole file, never by one row. Spans become a list of {start, end, label}, a choice a
    string, several choices a list of strings, free text a string. Raises DataError where a tool's row is broken or none
    is left.
    """
    if not rows:
        return [], []
    converted = detect_tool(rows)
    if converted is None:
        return list(rows), []
    if not converted.rows:
        raise DataError(
            f"no row is left: {converted.messages[-1]}",
            where=rows[0].file,
            allowed="at least one row that is annotated and accepted",
            remedy="annotate and submit the rows in the tool, and export again",
        )
    return converted.rows, converted.messages


def detect_tool(rows: Sequence[Row]) -> ConvertedExport | None:
    """What the first tool that knows the rows' form makes of them, with the answers' columns; None where none does."""
    return next((found for tool in TOOLS if (found := tool.convert(rows)) is not None), None)

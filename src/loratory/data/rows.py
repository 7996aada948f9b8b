"""A row of a data file, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loratory.protocols import JSON


@dataclass(frozen=True, slots=True)
class Row:
    """One record: its values as the file has them, and the line it starts on (Parquet and the hub: its number).

    `column` is the character of the line that it starts at, counted from 1, where other rows stand on the same line.
    """

    values: Mapping[str, JSON]
    file: str
    line: int
    column: int | None = None

    @property
    def origin(self) -> str:
        """`file:line` or `file:line:column`, the origin of an example: no two rows of a file have the same."""
        return f"{self.file}:{self.line}" + ("" if self.column is None else f":{self.column}")


SUPPORTED_FORMATS = (
    "CSV, TSV, Excel (.xlsx), JSON (an array of objects), JSONL, Parquet or CoNLL, text formats also .gz; a folder "
    "with train/test files, or one that save_to_disk of Hugging Face wrote; a hub id"
)

"""A row of a data file, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loratory.protocols import JSON


@dataclass(frozen=True, slots=True)
class Row:
    """One record: its values as the file has them, and the line it starts on (Parquet and the hub: its number)."""

    values: Mapping[str, JSON]
    file: str
    line: int

    @property
    def place(self) -> str:
        """`file:line`, the origin of an example."""
        return f"{self.file}:{self.line}"


FORMATS = (
    "CSV, TSV, JSON (an array of objects), JSONL or Parquet, each also .gz; a folder with train/test files; a hub id"
)

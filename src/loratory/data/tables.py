"""Tables of Arrow: Parquet, Arrow's own files and streams, with the class names that Hugging Face keeps in them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, TypeAlias

from loratory.data import content
from loratory.data.rows import Row
from loratory.errors import DataError, missing_extra
from loratory.protocols import JSON

PARQUET = b"PAR1"
ARROW = b"ARROW1"
PIECE = 100  # rows that are made at once


@dataclass(frozen=True)
class Each:
    """The names inside each value of a list."""

    inner: Names


Names: TypeAlias = list[str] | Each | dict[str, Any]  # of a class number, of a list's values, of a mapping's fields


def read_parquet(data: bytes, shown: str) -> list[Row]:
    """Rows of a Parquet file, with class numbers of Hugging Face's metadata as names; raises DataError."""
    pyarrow = _arrow()
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        facts = file.metadata
        size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
        content.check_unpacked(size, len(data), "the table", shown)
        content.check_table(facts.num_rows, facts.num_columns, shown)
        # piece by piece: what a header says of its pages may be less than what they hold
        return _rows_of(file.iter_batches(batch_size=PIECE), file.schema_arrow, shown)
    except (pyarrow.ArrowException, OSError) as problem:
        raise _damaged("Parquet file", problem, shown) from problem


def read_arrow(data: bytes, shown: str) -> list[Row]:
    """Rows of an Arrow file (Feather) or stream (as `datasets` keeps them), with class names; raises DataError."""
    pyarrow = _arrow()
    from pyarrow import ipc

    try:
        opener = ipc.open_file if data.startswith(ARROW) else ipc.open_stream
        return _rows(opener(pyarrow.BufferReader(data)).read_all(), shown)
    except (pyarrow.ArrowException, OSError) as problem:
        raise _damaged("Arrow file", problem, shown) from problem


def rows_of(records: Iterable[Mapping[str, Any]], names: Mapping[str, Names | None], shown: str) -> list[Row]:
    """Rows of mappings, their values as JSON and their class numbers as names.

    Raises DataError for more rows than are read, and for values that fill the memory though the file is small
    (a dictionary's, a list view's).
    """
    rows: list[Row] = []
    size = 0
    for number, record in enumerate(content.at_most(records, shown), 1):
        made = {key: named(plain(value), names.get(key)) for key, value in record.items()}
        size += sum(len(value) for value in made.values() if isinstance(value, (str, list, dict)))
        rows.append(Row(made, shown, number))
        if size > content.CAP:
            content.check_unpacked(size, 0, "the table", shown)
    return rows


def _rows(table: Any, shown: str) -> list[Row]:
    content.check_table(table.num_rows, table.num_columns, shown)
    table.validate(full=True)  # offsets that point outside of their buffer would be read
    return _rows_of(table.to_batches(max_chunksize=PIECE), table.schema, shown)


def _rows_of(batches: Iterable[Any], schema: Any, shown: str) -> list[Row]:
    return rows_of(_records(batches, shown), _class_names(schema.metadata or {}), shown)


def _records(batches: Iterable[Any], shown: str) -> Iterator[Mapping[str, Any]]:
    for batch in batches:
        if batch.nbytes > content.CAP:
            content.check_unpacked(batch.nbytes, 0, "the table", shown)
        yield from batch.to_pylist()


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError as problem:
        raise missing_extra("pyarrow", "train") from problem
    return pyarrow


def _damaged(kind: str, problem: Exception, shown: str) -> DataError:
    return DataError(f"no valid {kind}: {problem}", where=shown, remedy="make or download it again")


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, Names]:
    """Column -> names of the classes inside it, as `datasets` writes them into a file's metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {key: found for key, value in features.items() if (found := class_names(value)) is not None}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def class_names(feature: Any) -> Names | None:
    """The names of a feature's classes in the shape of its values; None where there are none.

    `feature` is what Hugging Face's metadata says or an object of `datasets`: ClassLabel, List, LargeList and Sequence
    of it in any depth, a list of one feature, and mappings of features.
    """
    kind, names, inner = (_told(feature, name) for name in ("_type", "names", "feature"))
    if kind == "ClassLabel":
        return list(names) if names else None
    if isinstance(feature, (list, tuple)) and len(feature) == 1:
        kind, inner = "List", feature[0]
    if kind in ("List", "LargeList", "Sequence"):
        found = class_names(inner)
        return None if found is None else Each(found)
    if isinstance(feature, Mapping):
        fields = {key: found for key, value in feature.items() if (found := class_names(value)) is not None}
        return fields or None
    return None


def _told(feature: Any, name: str) -> Any:
    return feature.get(name) if isinstance(feature, Mapping) else getattr(feature, name, None)


def named(value: JSON, names: Names | None) -> JSON:
    """A value with its class numbers as names; -1, which stands for unlabelled, becomes None."""
    if names is None or isinstance(value, bool):
        return value
    if isinstance(names, list):
        return (names[value] if 0 <= value < len(names) else None) if isinstance(value, int) else value
    if isinstance(names, Each):
        if isinstance(value, list):
            return [named(one, names.inner) for one in value]
        if isinstance(value, dict):  # a Sequence of a mapping is kept as a mapping of lists
            inner = names.inner if isinstance(names.inner, Mapping) else {}
            return {key: named(one, Each(inner[key]) if key in inner else None) for key, one in value.items()}
        return value
    return {key: named(one, names.get(key)) for key, one in value.items()} if isinstance(value, dict) else value


def plain(value: Any) -> JSON:
    """A value as JSON can hold it: dates as ISO 8601, decimals as text, NaN as None, bytes by their length."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)

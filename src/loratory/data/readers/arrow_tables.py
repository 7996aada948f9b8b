"""Tables of Arrow: Parquet, Arrow's own files and streams, with the class names that Hugging Face keeps in them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, TypeAlias

from loratory.data.readers import decoding
from loratory.data.rows import Row
from loratory.errors import DataError, make_missing_extra
from loratory.protocols import JSON

if TYPE_CHECKING:
    import pyarrow

PARQUET_MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"
BATCH_ROWS = 100  # rows that are made at once


@dataclass(frozen=True)
class ListNames:
    """The names inside each value of a list."""

    inner: ClassNames


ClassNames: TypeAlias = (
    list[str] | ListNames | dict[str, Any]
)  # of a class number, of a list's values, of a mapping's fields


def read_parquet(data: bytes, display_path: str) -> list[Row]:
    """Rows of a Parquet file, with class numbers of Hugging Face's metadata as names; raises DataError."""
    pyarrow = _import_pyarrow()
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        facts = file.metadata
        size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
        decoding.check_unpacked_size(size, len(data), "the table", display_path)
        decoding.check_table_size(facts.num_rows, facts.num_columns, display_path)
        # piece by piece: what a header says of its pages may be less than what they hold
        return _read_batches(file.iter_batches(batch_size=BATCH_ROWS), file.schema_arrow, display_path)
    except (pyarrow.ArrowException, OSError) as problem:
        raise _make_damaged_error("Parquet file", problem, display_path) from problem


def read_arrow(data: bytes, display_path: str) -> list[Row]:
    """Rows of an Arrow file (Feather) or stream (as `datasets` keeps them), with class names; raises DataError."""
    pyarrow = _import_pyarrow()
    from pyarrow import ipc

    try:
        opener = ipc.open_file if data.startswith(ARROW_MAGIC) else ipc.open_stream
        return _read_table(opener(pyarrow.BufferReader(data)).read_all(), display_path)
    except (pyarrow.ArrowException, OSError) as problem:
        raise _make_damaged_error("Arrow file", problem, display_path) from problem


def build_rows(
    records: Iterable[Mapping[str, Any]], names: Mapping[str, ClassNames | None], display_path: str
) -> list[Row]:
    """Rows of mappings, their values as JSON and their class numbers as names.

    Raises DataError for more rows than are read, and for values that fill the memory though the file is small
    (a dictionary's, a list view's).
    """
    rows: list[Row] = []
    size = 0
    for number, record in enumerate(decoding.limit_rows(records, display_path), 1):
        made = {key: replace_class_numbers(to_json_value(value), names.get(key)) for key, value in record.items()}
        size += sum(len(value) for value in made.values() if isinstance(value, (str, list, dict)))
        rows.append(Row(made, display_path, number))
        if size > decoding.MAX_BYTES:
            decoding.check_unpacked_size(size, 0, "the table", display_path)
    return rows


def _read_table(table: pyarrow.Table, display_path: str) -> list[Row]:
    decoding.check_table_size(table.num_rows, table.num_columns, display_path)
    table.validate(full=True)  # offsets that point outside of their buffer would be read
    return _read_batches(table.to_batches(max_chunksize=BATCH_ROWS), table.schema, display_path)


def _read_batches(batches: Iterable[pyarrow.RecordBatch], schema: pyarrow.Schema, display_path: str) -> list[Row]:
    return build_rows(_iterate_records(batches, display_path), _parse_class_names(schema.metadata or {}), display_path)


def _iterate_records(batches: Iterable[pyarrow.RecordBatch], display_path: str) -> Iterator[Mapping[str, Any]]:
    for batch in batches:
        if batch.nbytes > decoding.MAX_BYTES:
            decoding.check_unpacked_size(batch.nbytes, 0, "the table", display_path)
        yield from batch.to_pylist()


def _import_pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as problem:
        raise make_missing_extra("pyarrow", "train") from problem
    return pyarrow


def _make_damaged_error(kind: str, problem: Exception, display_path: str) -> DataError:
    return DataError(f"no valid {kind}: {problem}", where=display_path, remedy="make or download it again")


def _parse_class_names(metadata: dict[bytes, bytes]) -> dict[str, ClassNames]:
    """Column -> names of the classes inside it, as `datasets` writes them into a file's metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {key: found for key, value in features.items() if (found := find_class_names(value)) is not None}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def find_class_names(feature: object) -> ClassNames | None:
    """The names of a feature's classes in the shape of its values; None where there are none.

    `feature` is what Hugging Face's metadata says or an object of `datasets`: ClassLabel, List, LargeList and Sequence
    of it in any depth, a list of one feature, and mappings of features.
    """
    kind, names, inner = (_get_attribute(feature, name) for name in ("_type", "names", "feature"))
    if kind == "ClassLabel":
        return list(names) if names else None
    if isinstance(feature, (list, tuple)) and len(feature) == 1:
        kind, inner = "List", feature[0]
    if kind in ("List", "LargeList", "Sequence"):
        found = find_class_names(inner)
        return None if found is None else ListNames(found)
    if isinstance(feature, Mapping):
        fields = {key: found for key, value in feature.items() if (found := find_class_names(value)) is not None}
        return fields or None
    return None


def _get_attribute(feature: object, name: str) -> Any:
    return feature.get(name) if isinstance(feature, Mapping) else getattr(feature, name, None)


def replace_class_numbers(value: JSON, names: ClassNames | None) -> JSON:
    """A value with its class numbers as names; -1, which stands for unlabelled, becomes None."""
    if names is None or isinstance(value, bool):
        return value
    if isinstance(names, list):
        return (names[value] if 0 <= value < len(names) else None) if isinstance(value, int) else value
    if isinstance(names, ListNames):
        if isinstance(value, list):
            return [replace_class_numbers(one, names.inner) for one in value]
        if isinstance(value, dict):  # a Sequence of a mapping is kept as a mapping of lists
            inner = names.inner if isinstance(names.inner, Mapping) else {}
            return {
                key: replace_class_numbers(one, ListNames(inner[key]) if key in inner else None)
                for key, one in value.items()
            }
        return value
    return (
        {key: replace_class_numbers(one, names.get(key)) for key, one in value.items()}
        if isinstance(value, dict)
        else value
    )


def to_json_value(value: object) -> JSON:
    """A value as JSON can hold it: dates as ISO 8601, decimals as text, NaN as None, bytes by their length."""
    if isinstance(value, dict):
        return {str(key): to_json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)

"""Tables that a program holds (pandas, polars, pyarrow, datasets, lists of dicts, dicts of columns) as plain rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import write_text
from loratory.errors import DataError, format_value
from loratory.protocols import JSON

PART_NAMES = ("train", "validation", "test")
TABLE_FORMS = (
    "a DataFrame of pandas or polars, a pyarrow Table, a datasets.Dataset, a list of dicts, or a dict of columns"
)
CONVERTERS = {  # the method of a library's table that gives rows, and its arguments
    "to_pylist": {},  # pyarrow
    "to_dicts": {},  # polars
    "to_list": {},  # datasets
    "to_dict": {"orient": "records"},  # pandas
}


def is_table(value: object) -> bool:
    """Whether a value holds rows: no path, no spec."""
    if isinstance(value, (str, bytes, Path)):
        return False
    if isinstance(value, Mapping):
        return bool(value) and all(
            isinstance(one, Sequence) and not isinstance(one, (str, bytes)) for one in value.values()
        )
    return isinstance(value, (list, tuple)) or _find_converter(value) is not None


def is_table_of_parts(value: object) -> bool:
    """Whether a value is {"train": table, "test": table}, such as a datasets.DatasetDict."""
    return (
        isinstance(value, Mapping)
        and "train" in value
        and set(value) <= set(PART_NAMES)
        and all(
            is_table(one) and not (isinstance(one, list) and one and isinstance(one[0], str)) for one in value.values()
        )
    )


def read_table(table: object) -> list[dict[str, JSON]]:
    """The rows of a table, values as JSON; a value that is missing is null. Raises DataError."""
    rows = _list_rows(table)
    if not rows:
        raise DataError("the table has no rows", where="the table", allowed="at least one row")
    names = _label_names(table)
    return [_convert_row(row, number, names) for number, row in enumerate(rows)]


def write_table(table: object, folder: Path) -> Path:
    """Write a table as JSON lines into a folder; {"train": ..., "test": ...} becomes a folder of files.

    Returns the file or the folder. Raises DataError and StorageError.
    """
    if is_table_of_parts(table):
        assert isinstance(table, Mapping)
        for part, rows in table.items():
            _write_rows(read_table(rows), folder / "examples" / f"{part}.jsonl")
        return folder / "examples"
    _write_rows(read_table(table), folder / "examples.jsonl")
    return folder / "examples.jsonl"


def _write_rows(rows: Sequence[Mapping[str, JSON]], file: Path) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_text(encoding="utf-8", errors="replace") != text:
        write_text(file, text)


def _find_converter(table: object) -> str | None:
    return next((name for name in CONVERTERS if callable(getattr(table, name, None)) and _has_columns(table)), None)


def _has_columns(table: object) -> bool:
    """A column by itself (a Series) has `to_list` too, but no columns."""
    return any(hasattr(table, name) for name in ("columns", "column_names"))


def _list_rows(table: object) -> list[Mapping[str, Any]]:
    if (name := _find_converter(table)) is not None:
        rows: Any = getattr(table, name)(**CONVERTERS[name])
    elif isinstance(table, Mapping):
        rows = _list_rows_of_columns(table)
    else:
        rows = table
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{format_value(table)} holds no rows", where="the table", allowed=TABLE_FORMS)
    return list(rows)


def _list_rows_of_columns(columns: Mapping[Any, Any]) -> list[dict[str, Any]]:
    lengths = {str(name): len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(
            f"the columns have different lengths ({said})", where="the table", allowed="as many values in each column"
        )
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _label_names(table: object) -> Mapping[str, Sequence[str]]:
    """The names of labels that a datasets.Dataset keeps as numbers, by column."""
    features = getattr(table, "features", None)
    if not isinstance(features, Mapping):
        return {}
    return {
        str(name): tuple(one.names) for name, one in features.items() if isinstance(getattr(one, "names", None), list)
    }


def _convert_row(row: Mapping[Any, Any], number: int, names: Mapping[str, Sequence[str]]) -> dict[str, JSON]:
    made = {str(key): _to_json(value, f"row {number}: {key}") for key, value in row.items()}
    for key, known in names.items():
        if isinstance(place := made.get(key), int) and 0 <= place < len(known):
            made[key] = known[place]
    return made


def _to_json(value: Any, where: str) -> JSON:
    """A value as JSON has it. Raises DataError for what JSON cannot hold."""
    if value is None or isinstance(value, (str, bool, int)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {str(key): _to_json(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(inner, f"{where}[{place}]") for place, inner in enumerate(value)]
    if isinstance(value, (datetime, date, time)):
        return None if value != value else value.isoformat()
    if callable(getattr(value, "tolist", None)):  # numpy's scalars and arrays
        return _to_json(value.tolist(), where)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise DataError(
        f"a value of type {type(value).__name__}", where=where, allowed="text, numbers, lists, mappings and nothing"
    )

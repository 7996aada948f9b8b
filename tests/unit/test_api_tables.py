"""Tables that a program holds become rows, whatever library made them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest

from loratory.data.readers.in_memory import is_table, is_table_of_parts, read_table, write_table
from loratory.errors import DataError

ROWS: list[dict[str, Any]] = [{"text": "one", "n": 1, "x": 0.5}, {"text": "two", "n": 2, "x": None}]


class PolarsLike:
    """What the reader asks of polars."""

    columns = ("text", "n", "x")

    def to_dicts(self) -> list[dict[str, Any]]:
        return [dict(row) for row in ROWS]


def tables() -> dict[str, Any]:
    import datasets

    return {
        "list": ROWS,
        "columns": {"text": ["one", "two"], "n": [1, 2], "x": [0.5, None]},
        "pandas": pd.DataFrame(ROWS),
        "pyarrow": pyarrow.Table.from_pylist(ROWS),
        "datasets": datasets.Dataset.from_list(ROWS),
        "polars": PolarsLike(),
    }


@pytest.mark.parametrize("name", ["list", "columns", "pandas", "pyarrow", "datasets", "polars"])
def test_every_library_gives_the_same_rows(name: str) -> None:
    table = tables()[name]
    assert is_table(table)
    assert read_table(table) == ROWS


def test_values_become_json() -> None:
    frame = pd.DataFrame(
        {
            "a": pd.Categorical(["x", "y"]),
            "b": pd.to_datetime(["2024-01-02", None]),
            "c": pd.array([1, None], dtype="Int64"),
            "d": [np.array([1, 2]), {"k": np.float32(0.5)}],
            3: [np.bool_(True), float("nan")],
        }
    )
    assert read_table(frame) == [
        {"a": "x", "b": "2024-01-02T00:00:00", "c": 1, "d": [1, 2], "3": True},
        {"a": "y", "b": None, "c": None, "d": {"k": 0.5}, "3": None},
    ]
    assert read_table([{"a": datetime.date(2024, 1, 2)}]) == [{"a": "2024-01-02"}]


def test_numbers_of_labels_become_their_names() -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    assert [row["label"] for row in read_table(table)] == ["yes", "no"]


def test_parts_become_a_folder(tmp_path: Path) -> None:
    parts = {"train": ROWS, "test": pd.DataFrame(ROWS)}
    assert is_table_of_parts(parts)
    folder = write_table(parts, tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == ["test.jsonl", "train.jsonl"]
    assert [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()] == ROWS


def test_a_file_that_holds_the_same_is_left_alone(tmp_path: Path) -> None:
    file = write_table(ROWS, tmp_path)
    before = file.stat().st_ino
    assert write_table(pd.DataFrame(ROWS), tmp_path).stat().st_ino == before
    assert write_table([{"text": "other"}], tmp_path).read_text() == '{"text": "other"}\n'


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([], "no rows"),
        (["a", "b"], "holds no rows"),
        ({"a": [1], "b": [1, 2]}, "different lengths"),
        ([{"a": object()}], "a value of type object"),
        (pd.DataFrame(ROWS).iloc[:0], "no rows"),
    ],
)
def test_what_is_no_table_is_told(table: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_table(table)


def test_paths_and_columns_by_themselves_are_no_tables() -> None:
    assert not any(map(is_table, ("data.csv", Path("data.csv"), pd.Series(["a"]), {}, {"a": "text"}, 5, None)))

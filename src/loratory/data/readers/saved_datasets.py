"""Folders that `save_to_disk` of Hugging Face's datasets wrote: a data set, or one folder for each split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loratory.data.readers.arrow_tables import read_arrow
from loratory.data.readers.decoding import read_bytes
from loratory.data.readers.folders import map_splits_to_parts
from loratory.data.rows import Row
from loratory.errors import DataError

SPLITS_FILE = "dataset_dict.json"  # of a DatasetDict
STATE_FILE = "state.json"  # of a Dataset


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return (folder / SPLITS_FILE).is_file() or (
        (folder / STATE_FILE).is_file() and (folder / "dataset_info.json").is_file()
    )


def read_saved_dataset(folder: Path, display_path: str) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows by part, and the splits that were passed over; nothing of `datasets` is needed. Raises DataError."""
    if not (folder / SPLITS_FILE).is_file():
        return {"train": _read_dataset(folder, display_path)}, []
    try:
        splits = [str(split) for split in _read_json(folder / SPLITS_FILE, display_path)["splits"]]
    except (KeyError, TypeError) as problem:
        raise _make_damaged_error(f"{SPLITS_FILE} names no splits", display_path) from problem
    if escaping := next((split for split in splits if Path(split).name != split), None):
        raise _make_damaged_error(f"{SPLITS_FILE} names the split {escaping[:60]!r}", display_path)
    chosen, said = map_splits_to_parts(
        splits, display_path, f"name the folder of a split: data: path: {display_path}/SPLIT"
    )
    return {part: _read_dataset(folder / split, f"{display_path}/{split}") for part, split in chosen.items()}, said


def _read_dataset(folder: Path, display_path: str) -> list[Row]:
    state = _read_json(folder / STATE_FILE, display_path)
    try:
        names = [str(file["filename"]) for file in state["_data_files"]]
        chosen = state.get("_indices_files")
    except (KeyError, TypeError, AttributeError) as problem:
        raise _make_damaged_error(f"{STATE_FILE} names no data files", display_path) from problem
    if chosen:
        raise DataError(
            "the data set keeps its rows apart from their order (_indices_files)",
            where=f"{display_path}/{STATE_FILE}",
            remedy="write it again after flatten_indices(): ds.flatten_indices().save_to_disk(...)",
        )
    rows: list[Row] = []
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise _make_damaged_error(f"{STATE_FILE} names the file {name!r}, which is not there", display_path)
        rows += read_arrow(read_bytes(folder / name, f"{display_path}/{name}"), f"{display_path}/{name}")
    return rows


def _read_json(file: Path, display_path: str) -> Any:
    try:
        return json.loads(read_bytes(file, display_path).decode("utf-8"))
    except (DataError, ValueError, RecursionError) as problem:
        raise _make_damaged_error(f"{file.name} cannot be read", display_path) from problem


def _make_damaged_error(what: str, display_path: str) -> DataError:
    return DataError(
        f"this is no whole data set of save_to_disk: {what}",
        where=display_path,
        remedy="write it again with save_to_disk",
    )

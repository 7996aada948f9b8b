"""Folders that `save_to_disk` of Hugging Face's datasets wrote: a data set, or one folder for each split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loratory.data.content import read_bytes
from loratory.data.folders import choose_splits
from loratory.data.rows import Row
from loratory.data.tables import read_arrow
from loratory.errors import DataError

SPLITS = "dataset_dict.json"  # of a DatasetDict
STATE = "state.json"  # of a Dataset


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return (folder / SPLITS).is_file() or ((folder / STATE).is_file() and (folder / "dataset_info.json").is_file())


def read_saved(folder: Path, shown: str) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows by part, and the splits that were passed over; nothing of `datasets` is needed. Raises DataError."""
    if not (folder / SPLITS).is_file():
        return {"train": _read_dataset(folder, shown)}, []
    try:
        splits = [str(split) for split in _json(folder / SPLITS, shown)["splits"]]
    except (KeyError, TypeError) as problem:
        raise _damaged(f"{SPLITS} names no splits", shown) from problem
    if escaping := next((split for split in splits if Path(split).name != split), None):
        raise _damaged(f"{SPLITS} names the split {escaping[:60]!r}", shown)
    chosen, said = choose_splits(splits, shown, f"name the folder of a split: data: path: {shown}/SPLIT")
    return {part: _read_dataset(folder / split, f"{shown}/{split}") for part, split in chosen.items()}, said


def _read_dataset(folder: Path, shown: str) -> list[Row]:
    state = _json(folder / STATE, shown)
    try:
        names = [str(file["filename"]) for file in state["_data_files"]]
        chosen = state.get("_indices_files")
    except (KeyError, TypeError, AttributeError) as problem:
        raise _damaged(f"{STATE} names no data files", shown) from problem
    if chosen:
        raise DataError(
            "the data set keeps its rows apart from their order (_indices_files)",
            where=f"{shown}/{STATE}",
            remedy="write it again after flatten_indices(): ds.flatten_indices().save_to_disk(...)",
        )
    rows: list[Row] = []
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise _damaged(f"{STATE} names the file {name!r}, which is not there", shown)
        rows += read_arrow(read_bytes(folder / name, f"{shown}/{name}"), f"{shown}/{name}")
    return rows


def _json(file: Path, shown: str) -> Any:
    try:
        return json.loads(read_bytes(file, shown).decode("utf-8"))
    except (DataError, ValueError, RecursionError) as problem:
        raise _damaged(f"{file.name} cannot be read", shown) from problem


def _damaged(what: str, shown: str) -> DataError:
    return DataError(
        f"this is no whole data set of save_to_disk: {what}", where=shown, remedy="write it again with save_to_disk"
    )

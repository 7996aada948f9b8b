"""Data sets of the Hugging Face hub. Nothing of theirs is executed: `datasets` no longer runs loading scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from loratory.data.readers.arrow_tables import build_rows, find_class_names
from loratory.data.readers.folders import map_splits_to_parts
from loratory.data.rows import Row
from loratory.errors import DataError, make_missing_extra, suggest_nearest

# As `datasets` lists them: "Please pick one among the available configs: ['a', 'b']", "... not found. Available: ['a']"
CONFIG_LIST_PATTERN = re.compile(r"(?:available configs|Available):\s*\[([^\]]*)\]")
HUB_ID_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def read_hub_dataset(
    name: str, config: str | None = None, revision: str | None = None
) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows by part, and what was passed over; raises DataError when the hub or the data set cannot be reached."""
    try:
        import datasets
    except ImportError as problem:
        raise make_missing_extra("datasets", "train") from problem
    try:
        splits = datasets.load_dataset(name, config, revision=revision)
    except Exception as problem:  # the library raises its own, the network's and Python's errors
        raise _make_load_error(name, config, revision, problem) from problem
    chosen, said = map_splits_to_parts(list(splits), name, "download it and name the file: data: path: FILE")
    return {part: _build_hub_rows(splits[split], f"{name}/{split}") for part, split in chosen.items()}, said


def _make_load_error(name: str, config: str | None, revision: str | None, problem: Exception) -> DataError:
    """Why a data set did not come: it has configurations to choose from, or it is not there at all."""
    told = str(problem).strip() or type(problem).__name__
    listed = CONFIG_LIST_PATTERN.search(told)
    if listed is not None:
        names = [one.strip(" '\"") for one in listed[1].split(",")]
        return DataError(
            f"the data set {name} has no configuration {config!r}{suggest_nearest(config, names)}"
            if config
            else f"the data set {name} has several configurations",
            where="data: config",
            allowed=", ".join(names),
            remedy="choose one: data: config: NAME in the spec, --config NAME for loratory init",
        )
    asked = "".join(f", {key} {value}" for key, value in (("config", config), ("revision", revision)) if value)
    return DataError(
        f"there is no file or folder {name!r} here, and no such data set came from the hub{asked}: "
        f"{told.splitlines()[0]}",
        where="data: path",
        allowed="a file, a folder, or the id of a data set that the hub has",
        remedy="correct the path (it is relative to the spec), or download the data and give its folder",
    )


def _build_hub_rows(rows: Iterable[Mapping[str, Any]], display_path: str) -> list[Row]:
    features = getattr(rows, "features", None) or {}
    return build_rows(rows, {key: find_class_names(feature) for key, feature in features.items()}, display_path)

"""Data sets of the Hugging Face hub, read as files: nothing of theirs is executed.

The hub keeps a Parquet copy of most data sets on the branch refs/convert/parquet, with the names of class numbers; it
is read first. The owner's own files are read where a revision is asked for, or where there is no whole copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from loratory.data.readers.arrow_tables import replace_class_numbers
from loratory.data.readers.folders import map_splits_to_parts
from loratory.data.readers.hub_files import HubFiles, find_converted_files, find_own_files
from loratory.data.rows import Row
from loratory.errors import DataError, first_line, make_missing_extra, suggest_nearest
from loratory.protocols import JSON

HUB_ID_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
CONVERTED_REVISION = "refs/convert/parquet"
CARD_FILE = "README.md"
HUB_SECONDS = 20.0  # for the list of a data set's files
FileReader = Callable[[Path, str], tuple[list[Row], list[str]]]  # file, what it is called -> rows, what is said


def read_hub_dataset(
    name: str, config: str | None, revision: str | None, read_file: FileReader
) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows by part, and what was passed over; `read_file` reads one file that was downloaded.

    Raises DataError when the hub or the data set cannot be reached, when the configuration is not there or has to be
    chosen, when no split is train, and for what the files hold.
    """
    try:
        import huggingface_hub  # noqa: F401 - told before anything is asked of it
    except ImportError as problem:
        raise make_missing_extra("huggingface_hub", "train") from problem
    try:
        files, revision = _find_files(name, revision)
    except Exception as problem:  # the library raises its own, the network's and Python's errors
        raise _make_load_error(name, config, revision, problem) from problem
    chosen = config or files.default
    if chosen is None or chosen not in files.configs:
        _refuse_config(name, config, list(files.configs))
    splits = {split: paths for split, paths in files.configs[chosen].items() if paths}
    parts, said = map_splits_to_parts(list(splits), name, "download it and name the file: data: path: FILE")
    rows: dict[str, list[Row]] = {}
    for part, split in parts.items():
        try:
            places = {path: _download(name, path, revision) for path in splits[split]}
        except Exception as problem:
            raise _make_load_error(name, config, revision, problem) from problem
        if revision == CONVERTED_REVISION:
            rows[part] = _read_shards(f"{name}/{split}", list(places.values()), read_file)
            continue
        rows[part] = []
        for path, file in places.items():
            more, told = read_file(file, f"{name}/{path}")
            rows[part] += _name_classes(more, files.class_names.get(chosen, {}))
            said += [line for line in told if line not in said]
    return rows, said


def _find_files(name: str, revision: str | None) -> tuple[HubFiles, str | None]:
    """The files of a data set, and the revision that they stand in."""
    if revision is None:
        try:
            converted = _list_paths(name, CONVERTED_REVISION)
        except Exception as problem:  # no such branch, or nothing of it in the cache: the owner's files are asked for
            if _is_absent(problem):
                raise
            converted = []
        found = find_converted_files(converted, _read_card(name, None) if converted else "")
        if found is not None:
            return found, CONVERTED_REVISION
    paths = _list_paths(name, revision)
    return find_own_files(paths, _read_card(name, revision) if CARD_FILE in paths else ""), revision


def _list_paths(name: str, revision: str | None) -> list[str]:
    """The paths of all files of a revision; those in the cache, where the hub cannot be reached."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = HfApi().dataset_info(name, revision=revision, timeout=HUB_SECONDS)  # one request, tried once: a path
        return [one.rfilename for one in found.siblings or ()]  # that is mistyped must not wait for a network's return
    except HfHubHTTPError:
        raise  # the hub was reached, and refused
    except Exception as problem:
        try:
            folder = Path(snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True))
        except Exception:
            raise problem from None
        return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


def _download(name: str, path: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(name, path, repo_type="dataset", revision=revision))


def _read_card(name: str, revision: str | None) -> str:
    """The README; nothing where there is none, or where it is out of reach."""
    try:
        return _download(name, CARD_FILE, revision).read_text(encoding="utf-8", errors="replace")
    except Exception:
        return ""


def _read_shards(display_path: str, files: Sequence[Path], read_file: FileReader) -> list[Row]:
    """The rows of a split's shards, numbered through: a split is one table to its reader."""
    rows: list[Row] = []
    for file in files:
        before = len(rows)
        rows += [replace(row, line=row.line + before) for row in read_file(file, display_path)[0]]
    return rows


def _name_classes(rows: list[Row], class_names: Mapping[str, Sequence[str]]) -> list[Row]:
    """Rows with the class numbers of these columns as names; a CSV file's numbers are text."""
    if not class_names:
        return rows
    return [
        replace(row, values={key: _name_class(value, class_names.get(key)) for key, value in row.values.items()})
        for row in rows
    ]


def _name_class(value: JSON, names: Sequence[str] | None) -> JSON:
    if names is None:
        return value
    number = int(value) if isinstance(value, str) and re.fullmatch(r"-1|[0-9]{1,6}", value) else value
    return replace_class_numbers(number, list(names))


def _is_absent(problem: Exception) -> bool:
    """Whether the hub has no such data set for us: it is absent, private, gated or switched off."""
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    return isinstance(problem, (RepositoryNotFoundError, HFValidationError))  # GatedRepoError is one of the first


def _refuse_config(name: str, config: str | None, names: Sequence[str]) -> NoReturn:
    raise DataError(
        f"the data set {name} has no configuration {config!r}{suggest_nearest(config, names)}"
        if config
        else f"the data set {name} has several configurations",
        where="data: config",
        allowed=", ".join(names),
        remedy="choose one: data: config: NAME in the spec, --config NAME for loratory init",
    )


def _make_load_error(name: str, config: str | None, revision: str | None, problem: Exception) -> DataError:
    """Why a data set did not come: it is not there, its terms are not accepted, or the hub is out of reach."""
    revision = None if revision == CONVERTED_REVISION else revision
    asked = "".join(f", {key} {value}" for key, value in (("config", config), ("revision", revision)) if value)
    gated = type(problem).__name__ == "GatedRepoError"
    return DataError(
        f"there is no file or folder {name!r} here, and no such data set came from the hub{asked}: "
        f"{first_line(problem)}",
        where="data: path",
        allowed="a file, a folder, or the id of a data set that the hub has",
        remedy="accept its terms on its page of the hub, and log in: hf auth login"
        if gated
        else "correct the path (it is relative to the spec), or download the data and give its folder",
    )

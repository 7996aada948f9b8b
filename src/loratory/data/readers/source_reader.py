"""Rows from a file, a folder or the hub, each with the place it came from."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loratory.data.readers import arrow_tables, folders, tag_schemes
from loratory.data.readers.annotations import tool_detection
from loratory.data.readers.conll import is_conll, read_conll
from loratory.data.readers.decoding import ZIP_MAGIC, decode_text, read_bytes
from loratory.data.readers.delimited import SEPARATOR_LINE, is_delimited, read_delimited, read_fasttext, read_lines
from loratory.data.readers.hub import HUB_ID_PATTERN, read_hub_dataset
from loratory.data.readers.json_documents import read_json_document
from loratory.data.readers.saved_datasets import is_saved_dataset, read_saved_dataset
from loratory.data.readers.workbooks import read_workbook
from loratory.data.rows import SUPPORTED_FORMATS, Row
from loratory.errors import DataError, suggest_nearest
from loratory.specs.data import DataSpec

__all__ = ["Row", "Source", "read_source"]


@dataclass(frozen=True)
class Source:
    """The rows of each part; a part that has no file of its own is None."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...] | None
    test: tuple[Row, ...] | None
    name: str
    messages: tuple[str, ...]  # what was guessed or passed over


@contextmanager
def _pause_collection() -> Iterator[None]:
    """No search for cycles meanwhile: rows form none, and half the time of reading millions would go into it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_pause_collection()
def read_source(spec: DataSpec, folder: Path, *, convert_annotations: bool = True) -> Source:
    """Read what `data:` names; relative paths start at `folder`, the spec's own. Raises DataError.

    Files are called what the spec calls them, so that an origin does not depend on who ran where. With `answers`, rows
    of annotation tools become plain rows, and those without an answer are left out; without, all rows stay as they are.
    """
    parts, said = _read_path(spec, folder)
    for part, given in (("validation", spec.validation), ("test", spec.test)):
        if given is not None:
            if part in parts:
                said.append(f"{part} comes from {given}, not from {spec.path}")
            file = _require_existing(given, folder, f"data: {part}")
            parts[part], more = _read_entry(file, given, _make_read_options(spec, parts["train"]))
            said += more
    for part, rows in parts.items():
        if convert_annotations:
            parts[part], more = _convert_annotations(rows)
            said += more
        if not parts[part]:
            raise DataError(
                f"{part} holds no rows", where=spec.path, allowed="at least one row", remedy="check the path"
            )
    validation, test = (tuple(parts[part]) if part in parts else None for part in ("validation", "test"))
    return Source(tuple(parts["train"]), validation, test, spec.path, tuple(said))


def _convert_annotations(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Rows of an annotation tool's export, and of any tag scheme, as plain rows; what was left out is said."""
    rows, converted = tool_detection.convert_export(rows)
    rows, decoded = tag_schemes.convert_tags_to_bio(rows)
    return rows, [*converted, *decoded]


def _read_path(spec: DataSpec, folder: Path) -> tuple[dict[str, list[Row]], list[str]]:
    path = _resolve_path(spec.path, folder)
    if _is_on_hub(spec.path, path):
        read_file = partial(_read_file, options=_make_read_options(spec, ()))
        return read_hub_dataset(spec.path, spec.config, spec.revision, read_file)
    _check_hub_options(spec)
    path = _require_existing(spec.path, folder, "data: path")
    if path.is_dir():
        return read_saved_dataset(path, spec.path.rstrip("/")) if is_saved_dataset(path) else _read_folder(path, spec)
    parts, said = _read_parts(path, spec.path, _make_read_options(spec, ()))
    return parts, said + (_describe_unread_neighbours(path, spec) if parts.keys() == {"train"} else [])


def _read_folder(path: Path, spec: DataSpec) -> tuple[dict[str, list[Row]], list[str]]:
    found, said = folders.find_part_files(path, spec.path)
    said = [*said, *_describe_part_files(found, path, spec)]
    parts: dict[str, list[Row]] = {}
    for part in sorted(found, key=lambda part: part != "train"):
        parts[part] = []
        for entry in found[part]:
            inner = "" if entry == path else "/" + entry.relative_to(path).as_posix()
            rows, more = _read_entry(entry, spec.path.rstrip("/") + inner, _make_read_options(spec, parts["train"]))
            parts[part] += rows
            said += more
    return parts, said


def _is_on_hub(name: str, path: Path) -> bool:
    """Whether a path that is not there may be a data set of the hub."""
    # `datasets` would read a folder of that name in the working directory, which is not where paths start.
    here = path.exists() or Path(name).exists()
    return (
        not here
        and HUB_ID_PATTERN.fullmatch(name) is not None
        and folders.get_format_suffix(path) not in folders.DATA_SUFFIXES
    )


def _check_hub_options(spec: DataSpec) -> None:
    for key in ("config", "revision"):
        if getattr(spec, key) is not None:
            raise DataError(
                f"{spec.path} is not on the hub, so it has no {key}",
                where=f"data: {key}",
                allowed="a configuration and a revision of a data set of the hub: owner/name",
                remedy=f"remove {key}, or give the id of the data set as path",
            )


def _describe_part_files(found: Mapping[str, Sequence[Path]], folder: Path, spec: DataSpec) -> list[str]:
    """Which parts a folder has files of, and where the others come from."""
    names = {
        part: ", ".join(file.relative_to(folder).as_posix() for file in files if file != folder)
        for part, files in found.items()
    }
    return [
        f"{part} is {names[part]} of {spec.path}, and is not split from train"
        for part in ("validation", "test")
        if part in names and getattr(spec, part) is None
    ]


@dataclass(frozen=True)
class _ReadOptions:
    """How files are read: their encoding, their sheet, and column names that tell a header from a row."""

    encoding: str
    sheet: str | None
    known_columns: frozenset[str]


def _make_read_options(spec: DataSpec, train: Sequence[Row]) -> _ReadOptions:
    """A test file is read as the train file was: ten rows do not tell whether the first is a header."""
    columns = frozenset(spec.columns.values()).union(*(row.values for row in train[:1]))
    return _ReadOptions(spec.encoding, spec.sheet, columns)


def _resolve_path(path: str, folder: Path) -> Path:
    try:
        return folder / Path(path).expanduser()
    except RuntimeError:  # "~name" of nobody
        return folder / path


def _require_existing(path: str, folder: Path, where: str) -> Path:
    found = _resolve_path(path, folder)
    if found.exists():
        return found
    parent = found.parent
    siblings = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    near = f"there is {', '.join(siblings[:8])}" if siblings else f"the folder {parent} is empty or missing"
    raise DataError(
        f"no such file or folder: {path}{suggest_nearest(found.name, siblings)}",
        where=where,
        allowed=f"{SUPPORTED_FORMATS}; beside it {near}" if siblings else f"{SUPPORTED_FORMATS}; {near}",
        remedy=f"correct the path; it is looked for as {found}",
    )


def _describe_unread_neighbours(path: Path, spec: DataSpec) -> list[str]:
    """A file called train.* is read alone; say so when a test.* or validation.* lies beside it."""
    if folders.PART_NAMES.get(folders.get_stem(path)) != "train":
        return []
    said = []
    for part in ("validation", "test"):
        beside = [
            file.name
            for file in sorted(path.parent.iterdir())
            if file.is_file()
            and folders.get_format_suffix(file) in folders.DATA_SUFFIXES
            and folders.PART_NAMES.get(folders.get_stem(file)) == part
        ]
        if beside and getattr(spec, part) is None:
            said.append(f"{beside[0]} beside {path.name} is not read; to use it: data: {part}: {beside[0]}")
    return said


def _read_entry(entry: Path, display_path: str, options: _ReadOptions) -> tuple[list[Row], list[str]]:
    if not entry.is_dir():
        return _read_file(entry, display_path, options)
    files = folders.find_aligned_files(entry)
    if not files:
        raise DataError(
            "this is a folder",
            where=display_path,
            remedy="name the file in it",
            allowed="a file, or a folder with the aligned files seq.in and label",
        )
    return _join_aligned_files(files, display_path, options.encoding), []


def _join_aligned_files(files: Sequence[Path], display_path: str, encoding: str) -> list[Row]:
    """Rows of aligned files: line n of each belongs to row n, and the file's name is the column's."""
    columns: dict[str, list[str]] = {}
    for file in files:
        name = f"{display_path}/{file.name}"
        text = decode_text(read_bytes(file, name), encoding, name)
        columns[file.name] = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len({len(lines) for lines in columns.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(lines)} lines" for name, lines in columns.items())
        raise DataError(
            f"the aligned files differ in length: {lengths}",
            where=display_path,
            remedy="line n of each file belongs to row n: add or remove the odd lines",
        )
    return [
        Row(dict(zip(columns, values, strict=True)), f"{display_path}/seq.in", line)
        for line, values in enumerate(zip(*columns.values(), strict=True), 1)
    ]


def _read_file(file: Path, display_path: str, options: _ReadOptions) -> tuple[list[Row], list[str]]:
    parts, said = _read_parts(file, display_path, options)
    if parts.keys() != {"train"}:
        raise DataError(
            f"the file holds parts of its own: {', '.join(parts)}",
            where=display_path,
            allowed="the rows of one part",
            remedy=f"give it as data: path: {display_path}, or save the part as a file of its own",
        )
    return parts["train"], said


def _read_parts(file: Path, display_path: str, options: _ReadOptions) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each part that a file holds: train alone, but for JSON with parts of its own."""
    data, suffix = read_bytes(file, display_path), folders.get_format_suffix(file)
    if suffix == ".parquet" or data.startswith(arrow_tables.PARQUET_MAGIC):
        return {"train": arrow_tables.read_parquet(data, display_path)}, []
    if suffix in (".arrow", ".feather") or data.startswith(arrow_tables.ARROW_MAGIC):
        return {"train": arrow_tables.read_arrow(data, display_path)}, []
    if data.startswith(ZIP_MAGIC):
        rows, said = read_workbook(data, display_path, options.sheet, options.known_columns)
        return {"train": rows}, said
    return _read_text(decode_text(data, options.encoding, display_path), suffix, display_path, options.known_columns)


def _read_text(
    text: str, suffix: str, display_path: str, known_columns: Collection[str]
) -> tuple[dict[str, list[Row]], list[str]]:
    kind = FORMAT_BY_SUFFIX.get(suffix) or _detect_format(text, suffix)
    if kind == "json":
        document = read_json_document(text, display_path)
        return {part or "train": rows for part, rows in document.parts.items()}, list(document.messages)
    if kind == "tagged" or (kind == "tsv" and is_conll(text)):
        rows, said = read_conll(text, display_path)
        return {"train": rows}, said
    if kind == "fasttext":
        return {"train": read_fasttext(text, display_path)}, [
            f"{display_path}: the words behind __label__ are read as label"
        ]
    if kind == "lines":
        said = [f"{display_path}: plain text, read as one column called text"]
        return {"train": read_lines(text, display_path, "text")}, said
    rows, said = read_delimited(text, display_path, None if kind == "csv" else "\t", known_columns)
    return {"train": rows}, said


FORMAT_BY_SUFFIX = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
FORMAT_BY_SUFFIX |= dict.fromkeys(folders.CONLL_SUFFIXES, "tagged")


def _detect_format(text: str, suffix: str) -> str:
    """json, tsv, csv or lines, for a file whose name does not tell."""
    if text.lstrip().startswith(("{", "[{", "[[", "[\n", "[\r")):
        return "json"
    if text.lstrip().startswith("__label__"):
        return "fasttext"
    if SEPARATOR_LINE.match(text):
        return "csv"
    if is_conll(text):
        return "tagged"
    if is_delimited(text, "\t"):
        return "tsv"
    # Sentences hold commas: only a file that does not claim to be text is taken for CSV.
    return "csv" if suffix != ".txt" and is_delimited(text, ",") else "lines"

"""Rows from a file, a folder or the hub, each with the place it came from."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loratory.data import folders, tables, tag_schemes
from loratory.data.annotations import forms
from loratory.data.content import ZIP, decode, read_bytes
from loratory.data.delimited import SEPARATOR, is_table, read_delimited, read_fasttext, read_lines
from loratory.data.documents import read_document
from loratory.data.hub import ID, read_hub
from loratory.data.rows import FORMATS, Row
from loratory.data.saved import is_saved, read_saved
from loratory.data.tagged import is_tagged, read_tagged
from loratory.data.workbooks import read_workbook
from loratory.errors import DataError, nearest
from loratory.specs.data import DataSpec

__all__ = ["Row", "Source", "read_source"]


@dataclass(frozen=True)
class Source:
    """The rows of each part; a part that has no file of its own is None."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...] | None
    test: tuple[Row, ...] | None
    name: str
    said: tuple[str, ...]  # what was guessed or passed over


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
def read_source(spec: DataSpec, folder: Path, *, answers: bool = True) -> Source:
    """Read what `data:` names; relative paths start at `folder`, the spec's own. Raises DataError.

    Files are called what the spec calls them, so that an origin does not depend on who ran where. With `answers`, rows
    of annotation tools become plain rows, and those without an answer are left out; without, all rows stay as they are.
    """
    parts, said = _read_path(spec, folder)
    for part, given in (("validation", spec.validation), ("test", spec.test)):
        if given is not None:
            if part in parts:
                said.append(f"{part} comes from {given}, not from {spec.path}")
            file = _existing(given, folder, f"data: {part}")
            parts[part], more = _read_entry(file, given, _like(spec, parts["train"]))
            said += more
    for part, rows in parts.items():
        if answers:
            parts[part], more = _plain(rows)
            said += more
        if not parts[part]:
            raise DataError(
                f"{part} holds no rows", where=spec.path, allowed="at least one row", remedy="check the path"
            )
    validation, test = (tuple(parts[part]) if part in parts else None for part in ("validation", "test"))
    return Source(tuple(parts["train"]), validation, test, spec.path, tuple(said))


def _plain(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Rows of an annotation tool's export, and of any tag scheme, as plain rows; what was left out is said."""
    rows, converted = forms.convert(rows)
    rows, decoded = tag_schemes.decode(rows)
    return rows, [*converted, *decoded]


def _read_path(spec: DataSpec, folder: Path) -> tuple[dict[str, list[Row]], list[str]]:
    path = _located(spec.path, folder)
    if _is_on_hub(spec.path, path):
        return read_hub(spec.path, spec.config, spec.revision)
    _check_hub_options(spec)
    path = _existing(spec.path, folder, "data: path")
    if path.is_dir():
        return read_saved(path, spec.path.rstrip("/")) if is_saved(path) else _read_folder(path, spec)
    parts, said = _read_parts(path, spec.path, _like(spec, ()))
    return parts, said + (_neighbours(path, spec) if parts.keys() == {"train"} else [])


def _read_folder(path: Path, spec: DataSpec) -> tuple[dict[str, list[Row]], list[str]]:
    found, said = folders.find_parts(path, spec.path)
    said = [*said, *_told(found, path, spec)]
    parts: dict[str, list[Row]] = {}
    for part in sorted(found, key=lambda part: part != "train"):
        parts[part] = []
        for entry in found[part]:
            inner = "" if entry == path else "/" + entry.relative_to(path).as_posix()
            rows, more = _read_entry(entry, spec.path.rstrip("/") + inner, _like(spec, parts["train"]))
            parts[part] += rows
            said += more
    return parts, said


def _is_on_hub(name: str, path: Path) -> bool:
    """Whether a path that is not there may be a data set of the hub."""
    # `datasets` would read a folder of that name in the working directory, which is not where paths start.
    here = path.exists() or Path(name).exists()
    return not here and ID.fullmatch(name) is not None and folders.suffix(path) not in folders.SUFFIXES


def _check_hub_options(spec: DataSpec) -> None:
    for key in ("config", "revision"):
        if getattr(spec, key) is not None:
            raise DataError(
                f"{spec.path} is not on the hub, so it has no {key}",
                where=f"data: {key}",
                allowed="a configuration and a revision of a data set of the hub: owner/name",
                remedy=f"remove {key}, or give the id of the data set as path",
            )


def _told(found: Mapping[str, Sequence[Path]], folder: Path, spec: DataSpec) -> list[str]:
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
class _Like:
    """How files are read: their encoding, their sheet, and column names that tell a header from a row."""

    encoding: str
    sheet: str | None
    columns: frozenset[str]


def _like(spec: DataSpec, train: Sequence[Row]) -> _Like:
    """A test file is read as the train file was: ten rows do not tell whether the first is a header."""
    columns = frozenset(spec.columns.values()).union(*(row.values for row in train[:1]))
    return _Like(spec.encoding, spec.sheet, columns)


def _located(path: str, folder: Path) -> Path:
    try:
        return folder / Path(path).expanduser()
    except RuntimeError:  # "~name" of nobody
        return folder / path


def _existing(path: str, folder: Path, where: str) -> Path:
    found = _located(path, folder)
    if found.exists():
        return found
    parent = found.parent
    siblings = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    near = f"there is {', '.join(siblings[:8])}" if siblings else f"the folder {parent} is empty or missing"
    raise DataError(
        f"no such file or folder: {path}{nearest(found.name, siblings)}",
        where=where,
        allowed=f"{FORMATS}; beside it {near}" if siblings else f"{FORMATS}; {near}",
        remedy=f"correct the path; it is looked for as {found}",
    )


def _neighbours(path: Path, spec: DataSpec) -> list[str]:
    """A file called train.* is read alone; say so when a test.* or validation.* lies beside it."""
    if folders.PARTS.get(folders.stem(path)) != "train":
        return []
    said = []
    for part in ("validation", "test"):
        beside = [
            file.name
            for file in sorted(path.parent.iterdir())
            if file.is_file()
            and folders.suffix(file) in folders.SUFFIXES
            and folders.PARTS.get(folders.stem(file)) == part
        ]
        if beside and getattr(spec, part) is None:
            said.append(f"{beside[0]} beside {path.name} is not read; to use it: data: {part}: {beside[0]}")
    return said


def _read_entry(entry: Path, shown: str, like: _Like) -> tuple[list[Row], list[str]]:
    if not entry.is_dir():
        return _read_file(entry, shown, like)
    files = folders.aligned(entry)
    if not files:
        raise DataError(
            "this is a folder",
            where=shown,
            remedy="name the file in it",
            allowed="a file, or a folder with the aligned files seq.in and label",
        )
    return _join(files, shown, like.encoding), []


def _join(files: Sequence[Path], shown: str, encoding: str) -> list[Row]:
    """Rows of aligned files: line n of each belongs to row n, and the file's name is the column's."""
    columns: dict[str, list[str]] = {}
    for file in files:
        name = f"{shown}/{file.name}"
        text = decode(read_bytes(file, name), encoding, name)
        columns[file.name] = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len({len(lines) for lines in columns.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(lines)} lines" for name, lines in columns.items())
        raise DataError(
            f"the aligned files differ in length: {lengths}",
            where=shown,
            remedy="line n of each file belongs to row n: add or remove the odd lines",
        )
    return [
        Row(dict(zip(columns, values, strict=True)), f"{shown}/seq.in", line)
        for line, values in enumerate(zip(*columns.values(), strict=True), 1)
    ]


def _read_file(file: Path, shown: str, like: _Like) -> tuple[list[Row], list[str]]:
    parts, said = _read_parts(file, shown, like)
    if parts.keys() != {"train"}:
        raise DataError(
            f"the file holds parts of its own: {', '.join(parts)}",
            where=shown,
            allowed="the rows of one part",
            remedy=f"give it as data: path: {shown}, or save the part as a file of its own",
        )
    return parts["train"], said


def _read_parts(file: Path, shown: str, like: _Like) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each part that a file holds: train alone, but for JSON with parts of its own."""
    data, suffix = read_bytes(file, shown), folders.suffix(file)
    if suffix == ".parquet" or data.startswith(tables.PARQUET):
        return {"train": tables.read_parquet(data, shown)}, []
    if suffix in (".arrow", ".feather") or data.startswith(tables.ARROW):
        return {"train": tables.read_arrow(data, shown)}, []
    if data.startswith(ZIP):
        rows, said = read_workbook(data, shown, like.sheet, like.columns)
        return {"train": rows}, said
    return _read_text(decode(data, like.encoding, shown), suffix, shown, like.columns)


def _read_text(text: str, suffix: str, shown: str, columns: Collection[str]) -> tuple[dict[str, list[Row]], list[str]]:
    kind = KINDS.get(suffix) or _sniff(text, suffix)
    if kind == "json":
        document = read_document(text, shown)
        return {part or "train": rows for part, rows in document.parts.items()}, list(document.said)
    if kind == "tagged" or (kind == "tsv" and is_tagged(text)):
        rows, said = read_tagged(text, shown)
        return {"train": rows}, said
    if kind == "fasttext":
        return {"train": read_fasttext(text, shown)}, [f"{shown}: the words behind __label__ are read as label"]
    if kind == "lines":
        said = [f"{shown}: plain text, read as one column called text"]
        return {"train": read_lines(text, shown, "text")}, said
    rows, said = read_delimited(text, shown, None if kind == "csv" else "\t", columns)
    return {"train": rows}, said


KINDS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
KINDS |= dict.fromkeys(folders.TAGGED, "tagged")


def _sniff(text: str, suffix: str) -> str:
    """json, tsv, csv or lines, for a file whose name does not tell."""
    if text.lstrip().startswith(("{", "[{", "[[", "[\n", "[\r")):
        return "json"
    if text.lstrip().startswith("__label__"):
        return "fasttext"
    if SEPARATOR.match(text):
        return "csv"
    if is_tagged(text):
        return "tagged"
    if is_table(text, "\t"):
        return "tsv"
    # Sentences hold commas: only a file that does not claim to be text is taken for CSV.
    return "csv" if suffix != ".txt" and is_table(text, ",") else "lines"

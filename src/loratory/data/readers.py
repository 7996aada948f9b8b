"""Rows from a file, a folder or the hub, each with the place it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loratory.data import folders, tag_schemes
from loratory.data.annotations import forms
from loratory.data.content import decode, read_bytes
from loratory.data.delimited import is_table, read_delimited, read_lines
from loratory.data.documents import read_documents
from loratory.data.hub import ID, read_hub
from loratory.data.rows import FORMATS, Row
from loratory.data.tables import MAGIC, read_parquet
from loratory.data.tagged import is_tagged, read_tagged
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


def read_source(spec: DataSpec, folder: Path) -> Source:
    """Read what `data:` names; relative paths start at `folder`, the spec's own. Raises DataError.

    Files are called what the spec calls them, so that an origin does not depend on who ran where.
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
        if not rows:
            raise DataError(
                f"{part} holds no rows", where=spec.path, allowed="at least one row", remedy="check the path"
            )
    validation, test = (tuple(parts[part]) if part in parts else None for part in ("validation", "test"))
    return Source(tuple(parts["train"]), validation, test, spec.path, tuple(said))


def _read_path(spec: DataSpec, folder: Path) -> tuple[dict[str, list[Row]], list[str]]:
    path = _located(spec.path, folder)
    # `datasets` would read a folder of that name in the working directory, which is not where paths start.
    if (
        not path.exists()
        and ID.fullmatch(spec.path)
        and folders.suffix(path) not in folders.SUFFIXES
        and not Path(spec.path).exists()
    ):
        given, said = read_hub(spec.path)
        for part, rows in given.items():
            given[part], said = _plain_rows(rows, said)
        return given, said
    path = _existing(spec.path, folder, "data: path")
    if not path.is_dir():
        rows, said = _read_file(path, spec.path, _like(spec, ()))
        return {"train": rows}, said + _neighbours(path, spec)
    found, said = folders.find_parts(path, spec.path)
    parts: dict[str, list[Row]] = {}
    for part in sorted(found, key=lambda part: part != "train"):
        parts[part] = []
        for entry in found[part]:
            inner = "" if entry == path else "/" + entry.relative_to(path).as_posix()
            rows, more = _read_entry(entry, spec.path.rstrip("/") + inner, _like(spec, parts["train"]))
            parts[part] += rows
            said += more
    return parts, said


@dataclass(frozen=True)
class _Like:
    """How files are read: their encoding, and column names that tell a header from a row."""

    encoding: str
    columns: frozenset[str]


def _like(spec: DataSpec, train: Sequence[Row]) -> _Like:
    """A test file is read as the train file was: ten rows do not tell whether the first is a header."""
    return _Like(spec.encoding, frozenset(spec.columns.values()).union(*(row.values for row in train[:1])))


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
    """A file called train.* is read alone; say so when a test.* lies beside it."""
    if folders.PARTS.get(folders.stem(path)) != "train" or spec.test:
        return []
    beside = [
        file.name
        for file in sorted(path.parent.iterdir())
        if file.is_file()
        and folders.suffix(file) in folders.SUFFIXES
        and folders.PARTS.get(folders.stem(file)) == "test"
    ]
    return [f"{beside[0]} beside {path.name} is not read; to use it: data: test: {beside[0]}"] if beside else []


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
    rows, said = _parse_file(file, shown, like)
    return _plain_rows(rows, said)


def _plain_rows(rows: list[Row], said: list[str]) -> tuple[list[Row], list[str]]:
    """Rows of an annotation tool's export and of tag schemes as plain rows; raises DataError."""
    rows, converted = forms.convert(rows)
    rows, decoded = tag_schemes.decode(rows)
    return rows, [*said, *converted, *decoded]


def _parse_file(file: Path, shown: str, like: _Like) -> tuple[list[Row], list[str]]:
    data, suffix = read_bytes(file, shown), folders.suffix(file)
    if suffix == ".parquet" or data.startswith(MAGIC):
        return read_parquet(data, shown), []
    text = decode(data, like.encoding, shown)
    kind = KINDS.get(suffix) or _sniff(text, suffix)
    if kind == "json":
        return read_documents(text, shown), []
    if kind == "tagged" or (kind == "tsv" and is_tagged(text)):
        return read_tagged(text, shown)
    if kind == "lines":
        return read_lines(text, shown, "text"), [f"{shown}: plain text, read as one column called text"]
    return read_delimited(text, shown, None if kind == "csv" else "\t", like.columns)


KINDS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
KINDS |= dict.fromkeys(folders.TAGGED, "tagged")


def _sniff(text: str, suffix: str) -> str:
    """json, tsv, csv or lines, for a file whose name does not tell."""
    if text.lstrip().startswith(("{", "[{", "[\n", "[\r")):
        return "json"
    if is_tagged(text):
        return "tagged"
    if is_table(text, "\t"):
        return "tsv"
    # Sentences hold commas: only a file that does not claim to be text is taken for CSV.
    return "csv" if suffix != ".txt" and is_table(text, ",") else "lines"

"""Excel workbooks (.xlsx, .xlsm), read with openpyxl."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from loratory.data import content
from loratory.data.rows import FORMATS, Row
from loratory.data.tables import plain
from loratory.errors import DataError, missing_extra, nearest
from loratory.protocols import JSON

WORKBOOK = "xl/workbook.xml"  # what makes a zip archive a workbook
HEAD = 4096  # bytes of an XML part that are searched for a document type, which stands before all else
MOST = 10_000_000  # cells of a sheet, empty ones too
Record = tuple[int, list[JSON]]  # the row's number, its cells


def read_workbook(data: bytes, shown: str, sheet: str | None, wanted: Collection[str]) -> tuple[list[Row], list[str]]:
    """The rows of a sheet (the first that holds any when None), and what was passed over. Raises DataError.

    The first row is the header, unless a cell of it is no text and none is a column's name in `wanted`. A formula
    counts as the value that Excel last kept of it.
    """
    _check_archive(data, shown)
    try:
        import openpyxl
    except ImportError:
        raise missing_extra("openpyxl", "excel") from None
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = {one.title: _records(one, shown) for one in book.worksheets}
    except DataError:
        raise
    except Exception as problem:  # openpyxl raises its own, those of zipfile and of its XML reader
        raise DataError(
            f"no valid Excel workbook: {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}",
            where=shown,
            remedy="open and save it again, or save the sheet as CSV (UTF-8)",
        ) from problem
    name = _chosen(sheets, shown, sheet)
    others = [title for title, records in sheets.items() if records and title != name]
    said = [f"{shown}: the sheet {name!r} is read"] if len(sheets) > 1 else []
    if others:
        said.append(f"{shown}: not read: the sheets {', '.join(map(repr, others))}; to read one: data: sheet: NAME")
    rows, guessed = _rows(sheets[name], shown, wanted)
    return rows, said + guessed


def _check_archive(data: bytes, shown: str) -> None:
    """Refuse other archives, and a workbook that unpacks to more than the cap."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as problem:
        raise DataError(
            f"this is a zip archive or an Excel workbook, and damaged: {problem}",
            where=shown,
            remedy="open and save it again, or save the sheet as CSV (UTF-8)",
        ) from problem
    if not any(entry.filename == WORKBOOK for entry in entries):
        raise DataError("this is a zip archive", where=shown, allowed=FORMATS, remedy="unpack it, and name its file")
    content.check_unpacked(sum(entry.file_size for entry in entries), len(data), "the workbook", shown)
    for entry in entries:
        if entry.filename.endswith((".xml", ".rels")) and _defines(archive, entry):
            raise DataError(
                f"{entry.filename} defines XML entities, which no workbook does",
                where=shown,
                remedy="save the sheet as CSV (UTF-8)",
            )


def _defines(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Whether an XML part has a document type: entities that name each other unpack to any size."""
    try:
        with archive.open(entry) as part:
            head = part.read(HEAD)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error):
        return False  # damaged, encrypted or packed in a way of its own: openpyxl tells it
    return b"<!DOCTYPE" in head.replace(b"\0", b"").upper()


def _records(sheet: Any, shown: str) -> list[Record]:
    """The rows of a sheet that hold something; raises DataError where a cell stands far away from the others.

    openpyxl makes every cell before the last one, and a sheet has place for 17 thousand million.
    """
    found: list[Record] = []
    cells = 0
    for number, row in enumerate(sheet.values, 1):
        cells += max(1, len(row))
        if cells > MOST or len(row) > content.COLUMNS:
            raise DataError(
                f"the sheet {sheet.title!r} reaches to row {number:,} and column {len(row):,}",
                where=shown,
                allowed=f"at most {MOST:,} cells and {content.COLUMNS:,} columns, empty ones too",
                remedy="delete the rows and columns behind the last one that is used, or save the sheet as CSV (UTF-8)",
            )
        held = [plain(cell) for cell in row] if any(cell not in (None, "") for cell in row) else []
        if held:
            found.append((number, held))
    return found


def _chosen(sheets: dict[str, list[Record]], shown: str, sheet: str | None) -> str:
    if sheet is not None and sheet not in sheets:
        raise DataError(
            f"there is no sheet {sheet!r}{nearest(sheet, sheets)}",
            where=f"{shown}: data: sheet",
            allowed=", ".join(map(repr, sheets)),
        )
    name = sheet if sheet is not None else next((title for title, records in sheets.items() if records), None)
    if name is None or not sheets[name]:
        raise DataError(
            "the workbook holds no rows" if sheet is None else f"the sheet {sheet!r} holds no rows",
            where=shown,
            allowed="at least one row",
            remedy="check the path, or name another sheet: data: sheet: NAME",
        )
    return name


def _rows(records: Sequence[Record], shown: str, wanted: Collection[str]) -> tuple[list[Row], list[str]]:
    width = max(max(i for i, cell in enumerate(cells, 1) if cell not in (None, "")) for _, cells in records)
    (line, first), body = records[0], records[1:]
    if not all(isinstance(cell, str) for cell in first if cell is not None) and not set(map(str, first)) & set(wanted):
        names = [f"column_{number}" for number in range(1, width + 1)]
        said = [f"{shown}: the first line is a row, not a header; the columns are called {', '.join(names)}"]
        return _made(names, records, shown), said
    cells = [*first, *[None] * width][:width]
    names = [str(cell).strip() if cell not in (None, "") else f"column_{n}" for n, cell in enumerate(cells, 1)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(
            f"the header names column {twice!r} twice", where=f"{shown}:{line}", remedy="rename one of them"
        )
    if not body:
        raise DataError(
            "the sheet holds a header and no rows",
            where=f"{shown}:{line}",
            allowed="at least one row",
            remedy="check the path, or name another sheet: data: sheet: NAME",
        )
    return _made(names, body, shown), []


def _made(names: Sequence[str], records: Sequence[Record], shown: str) -> list[Row]:
    return [
        Row(dict(zip(names, [*cells, *[None] * len(names)], strict=False)), shown, number) for number, cells in records
    ]

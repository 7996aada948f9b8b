"""Excel workbooks (.xlsx, .xlsm), read with openpyxl."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from loratory.data.readers import decoding
from loratory.data.readers.arrow_tables import to_json_value
from loratory.data.rows import SUPPORTED_FORMATS, Row
from loratory.errors import DataError, make_missing_extra, suggest_nearest
from loratory.protocols import JSON

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

WORKBOOK_PART = "xl/workbook.xml"  # what makes a zip archive a workbook
HEAD_BYTES = 4096  # bytes of an XML part that are searched for a document type, which stands before all else
MAX_SHEET_CELLS = 10_000_000  # cells of a sheet, empty ones too
Record = tuple[int, list[JSON]]  # the row's number, its cells


def read_workbook(
    data: bytes, display_path: str, sheet: str | None, known_columns: Collection[str]
) -> tuple[list[Row], list[str]]:
    """The rows of a sheet (the first that holds any when None), and what was passed over. Raises DataError.

    The first row is the header, unless a cell of it is no text and none is a column's name in `wanted`. A formula
    counts as the value that Excel last kept of it.
    """
    _check_archive(data, display_path)
    try:
        import openpyxl
    except ImportError:
        raise make_missing_extra("openpyxl", "excel") from None
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = {one.title: _read_records(one, display_path) for one in book.worksheets}
    except DataError:
        raise
    except Exception as problem:  # openpyxl raises its own, those of zipfile and of its XML reader
        raise DataError(
            f"no valid Excel workbook: {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}",
            where=display_path,
            remedy="open and save it again, or save the sheet as CSV (UTF-8)",
        ) from problem
    name = _choose_sheet(sheets, display_path, sheet)
    others = [title for title, records in sheets.items() if records and title != name]
    said = [f"{display_path}: the sheet {name!r} is read"] if len(sheets) > 1 else []
    if others:
        said.append(
            f"{display_path}: not read: the sheets {', '.join(map(repr, others))}; to read one: data: sheet: NAME"
        )
    rows, guessed = _read_header_and_rows(sheets[name], display_path, known_columns)
    return rows, said + guessed


def _check_archive(data: bytes, display_path: str) -> None:
    """Refuse other archives, and a workbook that unpacks to more than the cap."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as problem:
        raise DataError(
            f"this is a zip archive or an Excel workbook, and damaged: {problem}",
            where=display_path,
            remedy="open and save it again, or save the sheet as CSV (UTF-8)",
        ) from problem
    if not any(entry.filename == WORKBOOK_PART for entry in entries):
        raise DataError(
            "this is a zip archive",
            where=display_path,
            allowed=SUPPORTED_FORMATS,
            remedy="unpack it, and name its file",
        )
    decoding.check_unpacked_size(sum(entry.file_size for entry in entries), len(data), "the workbook", display_path)
    for entry in entries:
        if entry.filename.endswith((".xml", ".rels")) and _has_document_type(archive, entry):
            raise DataError(
                f"{entry.filename} defines XML entities, which no workbook does",
                where=display_path,
                remedy="save the sheet as CSV (UTF-8)",
            )


def _has_document_type(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Whether an XML part has a document type: entities that name each other unpack to any size."""
    try:
        with archive.open(entry) as part:
            head = part.read(HEAD_BYTES)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error):
        return False  # damaged, encrypted or packed in a way of its own: openpyxl tells it
    return b"<!DOCTYPE" in head.replace(b"\0", b"").upper()


def _read_records(sheet: Worksheet, display_path: str) -> list[Record]:
    """The rows of a sheet that hold something; raises DataError where a cell stands far away from the others.

    openpyxl makes every cell before the last one, and a sheet has place for 17 thousand million.
    """
    found: list[Record] = []
    cells = 0
    for number, row in enumerate(sheet.values, 1):
        cells += max(1, len(row))
        if cells > MAX_SHEET_CELLS or len(row) > decoding.MAX_COLUMNS:
            raise DataError(
                f"the sheet {sheet.title!r} reaches to row {number:,} and column {len(row):,}",
                where=display_path,
                allowed=f"at most {MAX_SHEET_CELLS:,} cells and {decoding.MAX_COLUMNS:,} columns, empty ones too",
                remedy="delete the rows and columns behind the last one that is used, or save the sheet as CSV (UTF-8)",
            )
        held = [to_json_value(cell) for cell in row] if any(cell not in (None, "") for cell in row) else []
        if held:
            found.append((number, held))
    return found


def _choose_sheet(sheets: dict[str, list[Record]], display_path: str, sheet: str | None) -> str:
    if sheet is not None and sheet not in sheets:
        raise DataError(
            f"there is no sheet {sheet!r}{suggest_nearest(sheet, sheets)}",
            where=f"{display_path}: data: sheet",
            allowed=", ".join(map(repr, sheets)),
        )
    name = sheet if sheet is not None else next((title for title, records in sheets.items() if records), None)
    if name is None or not sheets[name]:
        raise DataError(
            "the workbook holds no rows" if sheet is None else f"the sheet {sheet!r} holds no rows",
            where=display_path,
            allowed="at least one row",
            remedy="check the path, or name another sheet: data: sheet: NAME",
        )
    return name


def _read_header_and_rows(
    records: Sequence[Record], display_path: str, known_columns: Collection[str]
) -> tuple[list[Row], list[str]]:
    width = max(max(i for i, cell in enumerate(cells, 1) if cell not in (None, "")) for _, cells in records)
    (line, first), body = records[0], records[1:]
    if not all(isinstance(cell, str) for cell in first if cell is not None) and not set(map(str, first)) & set(
        known_columns
    ):
        names = [f"column_{number}" for number in range(1, width + 1)]
        said = [f"{display_path}: the first line is a row, not a header; the columns are called {', '.join(names)}"]
        return _build_rows(names, records, display_path), said
    cells = [*first, *[None] * width][:width]
    names = [str(cell).strip() if cell not in (None, "") else f"column_{n}" for n, cell in enumerate(cells, 1)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(
            f"the header names column {twice!r} twice", where=f"{display_path}:{line}", remedy="rename one of them"
        )
    if not body:
        raise DataError(
            "the sheet holds a header and no rows",
            where=f"{display_path}:{line}",
            allowed="at least one row",
            remedy="check the path, or name another sheet: data: sheet: NAME",
        )
    return _build_rows(names, body, display_path), []


def _build_rows(names: Sequence[str], records: Sequence[Record], display_path: str) -> list[Row]:
    return [
        Row(dict(zip(names, [*cells, *[None] * len(names)], strict=False)), display_path, number)
        for number, cells in records
    ]

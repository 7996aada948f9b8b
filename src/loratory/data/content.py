"""Bytes and text of data files: decompressed up to a cap, decoded with the place of the first bad byte."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from loratory.artifacts.foreign_files import kind_of
from loratory.errors import DataError

CAP = 512 * 2**20  # bytes after decompression, in memory at once: rows take several times as many
FREE, RATIO = 64 * 2**20, 200  # beyond so many bytes, what unpacks to that many times itself is no data but a bomb
LINES = 6_000_000  # of a text: a word on each in CoNLL's files
ROWS = 2_000_000
COLUMNS = 5_000
CELLS = 10_000_000  # of a table
VALUES = 20_000_000  # of a JSON text
PIECE = 2**20  # bytes that are unpacked at once
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
WIDE = {  # the longer marks first: one of UTF-32 begins as one of UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SMALLER = "split it, or keep only the columns that are needed"
T = TypeVar("T")


def read_bytes(file: Path, shown: str) -> bytes:
    """The file's content, decompressed; raises DataError when it cannot be read, is empty or exceeds the cap."""
    try:
        if (kind := kind_of(file)) is not None:
            raise DataError(f"this is {kind}", where=shown, allowed="a file", remedy="name a file that holds the rows")
        with file.open("rb") as handle:
            packed = handle.read(len(GZIP)) == GZIP
        data = _unpacked(file, shown) if packed else _plain(file, shown)
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise DataError(
            f"the gzip file is damaged: {problem}", where=shown, remedy="make or download it again"
        ) from problem
    except OSError as problem:
        raise DataError(
            f"cannot read the file: {problem.strerror}", where=shown, remedy="check the path and its permissions"
        ) from problem
    if not data.strip():
        raise DataError("the file is empty", where=shown, allowed="at least one row", remedy="check the path")
    return data


def _plain(file: Path, shown: str) -> bytes:
    if file.stat().st_size > CAP:
        raise _too_large("the file", shown)
    with file.open("rb") as handle:
        return handle.read(CAP + 1)


def _unpacked(file: Path, shown: str) -> bytes:
    """The content of a gzip file, unpacked piece by piece: what is a bomb is refused before it fills the memory."""
    most = min(CAP, max(FREE, RATIO * file.stat().st_size))
    pieces, size = [], 0
    with gzip.open(file) as handle:
        while piece := handle.read(PIECE):
            size += len(piece)
            if size > most:
                raise _too_large("the file", shown, " when decompressed", most)
            pieces.append(piece)
    return b"".join(pieces)


def _too_large(what: str, shown: str, more: str = "", most: int | None = None) -> DataError:
    return DataError(f"{what} is larger than {most or CAP:,} bytes{more}", where=shown, remedy=f"{SMALLER}, as Parquet")


def check_unpacked(size: int, packed: int, what: str, shown: str) -> None:
    """Raise DataError where an archive or a table would unpack to more than the cap, or to far more than it is."""
    most = min(CAP, max(FREE, RATIO * packed))
    if size > most:
        raise _too_large(what, shown, " when decompressed", most)


def check_table(rows: int, columns: int, shown: str, cells: int | None = None) -> None:
    """Raise DataError where a table has more rows, columns or cells than fit into the memory as rows.

    `cells` is their number where rows are not alike.
    """
    cells = rows * columns if cells is None else cells
    for number, most, what in ((rows, ROWS, "rows"), (columns, COLUMNS, "columns"), (cells, CELLS, "cells")):
        if number > most:
            raise DataError(
                f"the table has {number:,} {what}", where=shown, allowed=f"at most {most:,} {what}", remedy=SMALLER
            )


def at_most(rows: Iterable[T], shown: str) -> Iterator[T]:
    """The same rows; raises DataError behind the most that are read."""
    for number, row in enumerate(rows):
        if number >= ROWS:
            check_table(number + 1, 1, shown)
        yield row


def check_values(text: str, shown: str) -> None:
    """Raise DataError for a JSON text of more values than fit into the memory."""
    if (values := sum(text.count(sign) for sign in ",[{")) > VALUES:
        raise DataError(
            f"the JSON holds about {values:,} values", where=shown, allowed=f"at most {VALUES:,}", remedy=SMALLER
        )


def decode(data: bytes, encoding: str, shown: str) -> str:
    """Text without a byte order mark; raises DataError with line and byte offset of what cannot be decoded."""
    wide = next((name for mark, name in WIDE.items() if data.startswith(mark)), None)
    if wide and not encoding.lower().replace("_", "-").startswith(wide):
        raise DataError(
            f"the file is {wide.upper()}, not {encoding}",
            where=shown,
            remedy=f"data: encoding: {wide} in the spec, --encoding {wide} for loratory init",
        )
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        byte = data[problem.start]
        raise DataError(
            f"byte {problem.start} (0x{byte:02x}) is not {encoding}",
            where=f"{shown}:{line}",
            remedy="if it came from Excel on Windows, say its encoding: data: encoding: cp1252 in the spec, --encoding "
            f"cp1252 for loratory init; or convert it: iconv -f cp1252 -t utf-8 {shown}",
        ) from problem
    except (LookupError, ValueError) as problem:  # `undefined`, and names that hold a NUL
        raise DataError(
            f"{encoding!r} is no text encoding",
            where="data: encoding",
            allowed="utf-8, utf-16, cp1252, latin-1, ... (Python's names)",
        ) from problem
    if (lines := text.count("\n")) > LINES:
        raise DataError(f"the file has {lines:,} lines", where=shown, allowed=f"at most {LINES:,}", remedy=SMALLER)
    return text

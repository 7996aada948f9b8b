"""Bytes and text of data files: decompressed up to a cap, decoded with the place of the first bad byte."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from loratory.artifacts.untrusted_files import describe_irregular_file
from loratory.errors import DataError

MAX_BYTES = 512 * 2**20  # bytes after decompression, in memory at once: rows take several times as many
MIN_BOMB_BYTES, MAX_UNPACK_RATIO = (
    64 * 2**20,
    200,
)  # beyond so many bytes, what unpacks to that many times itself is no data but a bomb
MAX_LINES = 6_000_000  # of a text: a word on each in CoNLL's files
MAX_ROWS = 2_000_000
MAX_COLUMNS = 5_000
MAX_CELLS = 10_000_000  # of a table
MAX_JSON_VALUES = 20_000_000  # of a JSON text
CHUNK_BYTES = 2**20  # bytes that are unpacked at once
GZIP_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"PK\x03\x04"
BYTE_ORDER_MARKS = {  # the longer marks first: one of UTF-32 begins as one of UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SPLIT_REMEDY = "split it, or keep only the columns that are needed"
T = TypeVar("T")


def read_bytes(file: Path, display_path: str) -> bytes:
    """The file's content, decompressed; raises DataError when it cannot be read, is empty or exceeds the cap."""
    try:
        if (kind := describe_irregular_file(file)) is not None:
            raise DataError(
                f"this is {kind}", where=display_path, allowed="a file", remedy="name a file that holds the rows"
            )
        with file.open("rb") as handle:
            packed = handle.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        data = _unpack_gzip(file, display_path) if packed else _read_uncompressed(file, display_path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise DataError(
            f"the gzip file is damaged: {problem}", where=display_path, remedy="make or download it again"
        ) from problem
    except OSError as problem:
        raise DataError(
            f"cannot read the file: {problem.strerror}", where=display_path, remedy="check the path and its permissions"
        ) from problem
    if not data.strip():
        raise DataError("the file is empty", where=display_path, allowed="at least one row", remedy="check the path")
    return data


def _read_uncompressed(file: Path, display_path: str) -> bytes:
    if file.stat().st_size > MAX_BYTES:
        raise _make_too_large_error("the file", display_path)
    with file.open("rb") as handle:
        return handle.read(MAX_BYTES + 1)


def _unpack_gzip(file: Path, display_path: str) -> bytes:
    """The content of a gzip file, unpacked piece by piece: what is a bomb is refused before it fills the memory."""
    most = min(MAX_BYTES, max(MIN_BOMB_BYTES, MAX_UNPACK_RATIO * file.stat().st_size))
    pieces, size = [], 0
    with gzip.open(file) as handle:
        while piece := handle.read(CHUNK_BYTES):
            size += len(piece)
            if size > most:
                raise _make_too_large_error("the file", display_path, " when decompressed", most)
            pieces.append(piece)
    return b"".join(pieces)


def _make_too_large_error(what: str, display_path: str, more: str = "", max_bytes: int | None = None) -> DataError:
    return DataError(
        f"{what} is larger than {max_bytes or MAX_BYTES:,} bytes{more}",
        where=display_path,
        remedy=f"{SPLIT_REMEDY}, as Parquet",
    )


def check_unpacked_size(size: int, packed: int, what: str, display_path: str) -> None:
    """Raise DataError where an archive or a table would unpack to more than the cap, or to far more than it is."""
    most = min(MAX_BYTES, max(MIN_BOMB_BYTES, MAX_UNPACK_RATIO * packed))
    if size > most:
        raise _make_too_large_error(what, display_path, " when decompressed", most)


def check_table_size(rows: int, columns: int, display_path: str, cells: int | None = None) -> None:
    """Raise DataError where a table has more rows, columns or cells than fit into the memory as rows.

    `cells` is their number where rows are not alike.
    """
    cells = rows * columns if cells is None else cells
    for number, most, what in (
        (rows, MAX_ROWS, "rows"),
        (columns, MAX_COLUMNS, "columns"),
        (cells, MAX_CELLS, "cells"),
    ):
        if number > most:
            raise DataError(
                f"the table has {number:,} {what}",
                where=display_path,
                allowed=f"at most {most:,} {what}",
                remedy=SPLIT_REMEDY,
            )


def limit_rows(rows: Iterable[T], display_path: str) -> Iterator[T]:
    """The same rows; raises DataError behind the most that are read."""
    for number, row in enumerate(rows):
        if number >= MAX_ROWS:
            check_table_size(number + 1, 1, display_path)
        yield row


def check_json_value_count(text: str, display_path: str) -> None:
    """Raise DataError for a JSON text of more values than fit into the memory."""
    if (values := sum(text.count(sign) for sign in ",[{")) > MAX_JSON_VALUES:
        raise DataError(
            f"the JSON holds about {values:,} values",
            where=display_path,
            allowed=f"at most {MAX_JSON_VALUES:,}",
            remedy=SPLIT_REMEDY,
        )


def decode_text(data: bytes, encoding: str, display_path: str) -> str:
    """Text without a byte order mark; raises DataError with line and byte offset of what cannot be decoded."""
    wide = next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    if wide and not encoding.lower().replace("_", "-").startswith(wide):
        raise DataError(
            f"the file is {wide.upper()}, not {encoding}",
            where=display_path,
            remedy=f"data: encoding: {wide} in the spec, --encoding {wide} for loratory init",
        )
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        byte = data[problem.start]
        raise DataError(
            f"byte {problem.start} (0x{byte:02x}) is not {encoding}",
            where=f"{display_path}:{line}",
            remedy="if it came from Excel on Windows, say its encoding: data: encoding: cp1252 in the spec, --encoding "
            f"cp1252 for loratory init; or convert it: iconv -f cp1252 -t utf-8 {display_path}",
        ) from problem
    except (LookupError, ValueError) as problem:  # `undefined`, and names that hold a NUL
        raise DataError(
            f"{encoding!r} is no text encoding",
            where="data: encoding",
            allowed="utf-8, utf-16, cp1252, latin-1, ... (Python's names)",
        ) from problem
    if (lines := text.count("\n")) > MAX_LINES:
        raise DataError(
            f"the file has {lines:,} lines", where=display_path, allowed=f"at most {MAX_LINES:,}", remedy=SPLIT_REMEDY
        )
    return text

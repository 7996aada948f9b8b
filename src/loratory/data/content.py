"""Bytes and text of data files: decompressed up to a cap, decoded with the place of the first bad byte."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from loratory.errors import DataError

CAP = 2 * 1024**3  # bytes after decompression: 1 MB of gzip can hold 1 GB of zeros
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
WIDE = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_bytes(file: Path, shown: str) -> bytes:
    """The file's content, decompressed; raises DataError when it cannot be read, is empty or exceeds the cap."""
    try:
        with file.open("rb") as handle:
            packed = handle.read(len(GZIP)) == GZIP
        with gzip.open(file) if packed else file.open("rb") as handle:
            data = handle.read(CAP + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise DataError(
            f"the gzip file is damaged: {problem}", where=shown, remedy="make or download it again"
        ) from problem
    except OSError as problem:
        raise DataError(
            f"cannot read the file: {problem.strerror}", where=shown, remedy="check the path and its permissions"
        ) from problem
    if len(data) > CAP:
        raise DataError(
            f"the file is larger than {CAP:,} bytes{' when decompressed' if packed else ''}",
            where=shown,
            remedy="split it, or keep only the columns that are needed, as Parquet",
        )
    if not data.strip():
        raise DataError("the file is empty", where=shown, allowed="at least one row", remedy="check the path")
    return data


def decode(data: bytes, encoding: str, shown: str) -> str:
    """Text without a byte order mark; raises DataError with line and byte offset of what cannot be decoded."""
    wide = WIDE.get(data[:2])
    if wide and not encoding.lower().replace("_", "-").startswith("utf-16"):
        raise DataError(
            "the file is UTF-16, not " + encoding,
            where=shown,
            remedy=f"data: encoding: {wide} in the spec, --encoding {wide} for loratory init",
        )
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        byte = data[problem.start]
        raise DataError(
            f"byte {problem.start} (0x{byte:02x}) is not {encoding}",
            where=f"{shown}:{line}",
            remedy="if it came from Excel on Windows, say its encoding: data: encoding: cp1252 in the spec, --encoding "
            f"cp1252 for loratory init; or convert it: iconv -f cp1252 -t utf-8 {shown}",
        ) from problem
    except LookupError as problem:
        raise DataError(
            f"{encoding!r} is no text encoding",
            where="data: encoding",
            allowed="utf-8, utf-16, cp1252, latin-1, ... (Python's names)",
        ) from problem

"""A chain of lines, read: where it holds, where it breaks, what a crash left of a line. serving/audit.py writes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.errors import DataError

GENESIS_HASH = "0" * 64
# What the chain says of itself. The last three mean that something is gone, and are told for ever.
TORN_TAIL, HEAD_BEHIND, CONTINUED = "torn tail", "head behind", "continued"
CUT_OFF, HEAD_LOST, BROKEN = "cut off", "head lost", "broken"
MAX_LINES_WITHOUT_HEAD = 2  # lines at most that crashes leave before the first head is written


@dataclass(frozen=True)
class ChainLine:
    """A line that holds. `place` counts the lines of the file from 1, `number` those of the whole chain."""

    file_line: int
    number: int
    numbered: bool  # whether it says its number: lines of older versions do not
    digest: str
    row: dict[str, Any]


@dataclass(frozen=True)
class ChainScan:
    """What a file holds.

    `begins` is the hash of the line before its first; `torn` what is left of a line whose writing did not end, and that
    no other line tells of; `whole` says that the file ends with the end of a line; `broken` is the place where the
    chain breaks: what stands behind it was not read.
    """

    lines: tuple[ChainLine, ...]
    previous_hash: str = GENESIS_HASH
    previous_number: int = 0  # the number of the line before its first
    torn: bytes | None = None
    ends_with_newline: bool = True
    broken_line: int | None = None

    @property
    def last_hash(self) -> str:
        """The hash of its last line."""
        return self.lines[-1].digest if self.lines else self.previous_hash

    @property
    def last_number(self) -> int:
        """That of its last line."""
        return self.lines[-1].number if self.lines else self.previous_number

    def digest_of_line(self, number: int) -> str | None:
        """Of the line of that number; None where it has none."""
        if number == self.previous_number:
            return self.previous_hash
        place = number - self.previous_number - 1
        return self.lines[place].digest if 0 <= place < len(self.lines) else None

    def find_events(self, event: str) -> list[ChainLine]:
        """Lines in which the chain says this of itself."""
        return [line for line in self.lines if line.row.get("event") == event]


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def scan_chain(data: bytes) -> ChainScan:
    """Read a chain. What is no JSON is a torn line if the next line says so, or if nothing else follows."""
    *rows, rest = data.split(b"\n")
    whole = not rest
    rows = rows if whole else [*rows, rest]
    begins, before = _read_previous(rows)
    lines: list[ChainLine] = []
    last, number, place = begins, before, 0
    while place < len(rows):
        until = _find_end_of_torn(rows, place)
        if until == len(rows):
            return ChainScan(tuple(lines), begins, before, b"\n".join(rows[place:]), whole)
        line = _parse_line(rows[until], until + 1, last, number)
        if line is None or (until > place and not _explains_torn(line, b"\n".join(rows[place:until]))):
            return ChainScan(tuple(lines), begins, before, None, whole, place + 1)
        lines.append(line)
        last, number, place = line.digest, line.number, until + 1
    return ChainScan(tuple(lines), begins, before, None, whole)


def _find_end_of_torn(rows: Sequence[bytes], place: int) -> int:
    """Where what is no JSON ends. It may be several lines: one that tells of a torn line can be torn itself."""
    return next((k for k in range(place, len(rows)) if _parse_object(rows[k]) is not None), len(rows))


def _read_previous(rows: Sequence[bytes]) -> tuple[str, int]:
    """The hash and the number of the line before the first: of another file, where this one continues it."""
    first = _parse_object(rows[0]) if rows else None
    if first is None or first.get("event") != CONTINUED:
        return GENESIS_HASH, 0
    before, number = first.get("before"), first.get("number")
    return (before, number - 1) if isinstance(before, str) and type(number) is int else (GENESIS_HASH, 0)


def _parse_line(raw: bytes, place: int, last: str, number: int) -> ChainLine | None:
    """The line, where it follows the one before."""
    row = _parse_object(raw)
    if row is None or row.get("before") != last or not isinstance(row.get("at"), str):
        return None
    if row.get("number", number + 1) != number + 1:
        return None
    return ChainLine(place, number + 1, "number" in row, sha256(raw), row)


def _explains_torn(line: ChainLine, torn: bytes) -> bool:
    """Whether a line says that this, just before it, is torn."""
    return line.row.get("event") == TORN_TAIL and line.row.get("sha256") == sha256(torn)


def _parse_object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class ChainHead:
    """What is kept outside of a chain's file: the number and the hash of its last line, and how long the file was."""

    number: int
    sha256: str
    size: int

    @staticmethod
    def path_for(file: Path) -> Path:
        """Where it is kept."""
        return file.with_name(f"{file.name}.head")

    @classmethod
    def read(cls, file: Path) -> ChainHead | None:
        """The head of a chain's file, or None where there is none. Raises DataError where it is no head."""
        place = cls.path_for(file)
        try:
            found = json.loads(place.read_bytes())
            made = cls(found["number"], found["sha256"], found["size"])
            if type(made.number) is int and type(made.size) is int and isinstance(made.sha256, str):
                return made
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        raise DataError(
            "the head of the chain cannot be read, so nobody sees whether lines were cut off",
            where=str(place),
            remedy=f"compare it with a copy; to begin a new chain, move {file.name} and {place.name} away together",
        )


def find_rotated_files(file: Path) -> list[Path]:
    """Files beside it that may hold other parts of the chain: rotation leaves names that begin with `audit`."""
    own = (file, ChainHead.path_for(file))
    beside = sorted(file.parent.glob(f"{file.name.split('.')[0] or file.name}*"))
    return [one for one in beside if one not in own and one.suffix not in (".head", ".lock") and one.is_file()]


def find_previous_part(file: Path, begins: str) -> tuple[Path, ChainScan] | None:
    """The neighbour whose last line has this hash."""
    for one in find_rotated_files(file):
        found = scan_chain(one.read_bytes())
        if found.lines and found.last_hash == begins:
            return one, found
    return None


def find_part_with_head(file: Path, head: ChainHead) -> ChainScan | None:
    """The neighbour that holds the line which a head knows."""
    parts = (scan_chain(one.read_bytes()) for one in find_rotated_files(file))
    return next((one for one in parts if one.digest_of_line(head.number) == head.sha256), None)


def is_continued(file: Path, found: ChainScan) -> bool:
    """Whether a neighbour continues this part."""
    return any(
        other.previous_hash == found.last_hash and other.previous_number == found.last_number
        for other in (scan_chain(one.read_bytes()) for one in find_rotated_files(file))
        if other.previous_number
    )

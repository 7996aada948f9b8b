"""A chain of lines, read: where it holds, where it breaks, what a crash left of a line. serving/audit.py writes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.errors import DataError

START = "0" * 64
# What the chain says of itself. The last three mean that something is gone, and are told for ever.
TORN, BEHIND, CONTINUED = "torn tail", "head behind", "continued"
CUT, LOST, BROKEN = "cut off", "head lost", "broken"
WITHOUT = 2  # lines at most that crashes leave before the first head is written


@dataclass(frozen=True)
class Line:
    """A line that holds. `place` counts the lines of the file from 1, `number` those of the whole chain."""

    place: int
    number: int
    numbered: bool  # whether it says its number: lines of older versions do not
    digest: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Walk:
    """What a file holds.

    `begins` is the hash of the line before its first; `torn` what is left of a line whose writing did not end, and that
    no other line tells of; `whole` says that the file ends with the end of a line; `broken` is the place where the
    chain breaks: what stands behind it was not read.
    """

    lines: tuple[Line, ...]
    begins: str = START
    before: int = 0  # the number of the line before its first
    torn: bytes | None = None
    whole: bool = True
    broken: int | None = None

    @property
    def last(self) -> str:
        """The hash of its last line."""
        return self.lines[-1].digest if self.lines else self.begins

    @property
    def number(self) -> int:
        """That of its last line."""
        return self.lines[-1].number if self.lines else self.before

    def digest(self, number: int) -> str | None:
        """Of the line of that number; None where it has none."""
        if number == self.before:
            return self.begins
        place = number - self.before - 1
        return self.lines[place].digest if 0 <= place < len(self.lines) else None

    def told(self, event: str) -> list[Line]:
        """Lines in which the chain says this of itself."""
        return [line for line in self.lines if line.row.get("event") == event]


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def walk(data: bytes) -> Walk:
    """Read a chain. What is no JSON is a torn line if the next line says so, or if nothing else follows."""
    *rows, rest = data.split(b"\n")
    whole = not rest
    rows = rows if whole else [*rows, rest]
    begins, before = _begin(rows)
    lines: list[Line] = []
    last, number, place = begins, before, 0
    while place < len(rows):
        until = _torn(rows, place)
        if until == len(rows):
            return Walk(tuple(lines), begins, before, b"\n".join(rows[place:]), whole)
        line = _line(rows[until], until + 1, last, number)
        if line is None or (until > place and not _tells(line, b"\n".join(rows[place:until]))):
            return Walk(tuple(lines), begins, before, None, whole, place + 1)
        lines.append(line)
        last, number, place = line.digest, line.number, until + 1
    return Walk(tuple(lines), begins, before, None, whole)


def _torn(rows: Sequence[bytes], place: int) -> int:
    """Where what is no JSON ends. It may be several lines: one that tells of a torn line can be torn itself."""
    return next((k for k in range(place, len(rows)) if _parsed(rows[k]) is not None), len(rows))


def _begin(rows: Sequence[bytes]) -> tuple[str, int]:
    """The hash and the number of the line before the first: of another file, where this one continues it."""
    first = _parsed(rows[0]) if rows else None
    if first is None or first.get("event") != CONTINUED:
        return START, 0
    before, number = first.get("before"), first.get("number")
    return (before, number - 1) if isinstance(before, str) and type(number) is int else (START, 0)


def _line(raw: bytes, place: int, last: str, number: int) -> Line | None:
    """The line, where it follows the one before."""
    row = _parsed(raw)
    if row is None or row.get("before") != last or not isinstance(row.get("at"), str):
        return None
    if row.get("number", number + 1) != number + 1:
        return None
    return Line(place, number + 1, "number" in row, sha256(raw), row)


def _tells(line: Line, torn: bytes) -> bool:
    """Whether a line says that this, just before it, is torn."""
    return line.row.get("event") == TORN and line.row.get("sha256") == sha256(torn)


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Head:
    """What is kept outside of a chain's file: the number and the hash of its last line, and how long the file was."""

    number: int
    sha256: str
    size: int

    @staticmethod
    def beside(file: Path) -> Path:
        """Where it is kept."""
        return file.with_name(f"{file.name}.head")

    @classmethod
    def read(cls, file: Path) -> Head | None:
        """The head of a chain's file, or None where there is none. Raises DataError where it is no head."""
        place = cls.beside(file)
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


def neighbours(file: Path) -> list[Path]:
    """Files beside it that may hold other parts of the chain: rotation leaves names that begin with `audit`."""
    own = (file, Head.beside(file))
    beside = sorted(file.parent.glob(f"{file.name.split('.')[0] or file.name}*"))
    return [one for one in beside if one not in own and one.suffix not in (".head", ".lock") and one.is_file()]


def part_before(file: Path, begins: str) -> tuple[Path, Walk] | None:
    """The neighbour whose last line has this hash."""
    for one in neighbours(file):
        found = walk(one.read_bytes())
        if found.lines and found.last == begins:
            return one, found
    return None


def part_with(file: Path, head: Head) -> Walk | None:
    """The neighbour that holds the line which a head knows."""
    parts = (walk(one.read_bytes()) for one in neighbours(file))
    return next((one for one in parts if one.digest(head.number) == head.sha256), None)


def goes_on(file: Path, found: Walk) -> bool:
    """Whether a neighbour continues this part."""
    return any(
        other.begins == found.last and other.before == found.number
        for other in (walk(one.read_bytes()) for one in neighbours(file))
        if other.before
    )

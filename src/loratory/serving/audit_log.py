"""What was loaded, unloaded, or let in: a chain of lines, each with the hash of the one before.

The hash of the last line is kept in a file of its own beside it (`.head`), and told in the log: lines that are cut off
at the end are missed. A line is written before the head is: after a crash the head is behind, never ahead.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from loratory.artifacts.durable_files import make_folder, translate_write_errors, write_text
from loratory.errors import DataError
from loratory.protocols import JSON
from loratory.serving.hash_chain import (
    BROKEN,
    CONTINUED,
    CUT_OFF,
    GENESIS_HASH,
    HEAD_BEHIND,
    HEAD_LOST,
    MAX_LINES_WITHOUT_HEAD,
    TORN_TAIL,
    ChainHead,
    ChainScan,
    find_part_with_head,
    find_previous_part,
    is_continued,
    scan_chain,
    sha256,
)

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("loratory.serving")

ChainEvent = tuple[str, Mapping[str, JSON]]


@dataclass(frozen=True)
class VerifiedChain:
    """A chain that holds: how many lines, when the first and the last were written, and the hash of the last.

    `torn` counts lines whose writing did not end: nobody was told that they were written. `beyond` counts the last
    lines that the head does not know; None where there is no head. `parts` are the files that it was found in, the
    newest first.
    """

    lines: int
    first: str | None
    last: str | None
    head: str
    torn: int
    beyond: int | None
    parts: tuple[str, ...]


@dataclass(frozen=True)
class AppendPoint:
    """Where the next line goes: behind the line of that hash and number, after what is to be said of the file."""

    previous_hash: str
    last_number: int
    events: tuple[ChainEvent, ...] = ()
    line_break: bytes = b""  # ends a torn line


class AuditLog:
    """An append-only file with its head. A line that was changed, removed, put in or cut off is found."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()

    def record(self, event: str, facts: Mapping[str, JSON]) -> None:
        """Add a line, durably. Raises StorageError: the line then counts as not written, and what is left of it is
        told by the next.
        """
        with self._lock, translate_write_errors(self.file), self._exclusive_lock():
            end = self._find_append_point()
            for what, told in end.events:
                log.warning("audit %s: %s %s", self.file, what, json.dumps(told))
            data, head = end.line_break, ChainHead(end.last_number, end.previous_hash, 0)
            for what, told in (*end.events, (event, facts)):
                raw = _encode_line(what, told, head)
                data, head = data + raw + b"\n", ChainHead(head.number + 1, sha256(raw), 0)
            size = self._append(data)
            head = ChainHead(head.number, head.sha256, size)
            write_text(ChainHead.path_for(self.file), json.dumps(asdict(head)) + "\n")
            log.info(json.dumps({"audit": head.number, "event": event, "sha256": head.sha256}))

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        """No other process adds a line meanwhile: `loratory keys` writes where a server does.

        The lock is a file of its own: the chain's may be moved away by rotation, and its head is replaced.
        """
        make_folder(self.file.parent)
        with self.file.with_name(f"{self.file.name}.lock").open("ab") as handle:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed
            yield

    def _append(self, data: bytes) -> int:
        """The file's size afterwards."""
        with self.file.open("ab", buffering=0) as handle:
            while data:
                data = data[handle.write(data) :]
            os.fsync(handle.fileno())
            return handle.tell()

    def _find_append_point(self) -> AppendPoint:
        """Where the file ends, by its head where that fits its size: the file is then not read."""
        notes: list[ChainEvent] = []
        try:
            head = ChainHead.read(self.file)
        except DataError as problem:
            head, notes = None, [(HEAD_LOST, {"reason": problem.problem})]
        size = self.file.stat().st_size if self.file.is_file() else 0
        if head is not None and size == head.size:
            return AppendPoint(head.sha256, head.number)
        if head is not None and size == 0:
            older = find_part_with_head(self.file, head)
            last, number = (older.last_hash, older.last_number) if older else (head.sha256, head.number)
            return AppendPoint(last, number, ((CONTINUED, {"lines": number}),))
        data = self.file.read_bytes() if size else b""
        found = scan_chain(data)
        opening = b"" if found.ends_with_newline else b"\n"
        if found.broken_line is not None:
            end = data.removesuffix(b"\n").split(b"\n")[-1]
            number = max(found.last_number, head.number if head else 0)
            return AppendPoint(sha256(end), number, (*notes, (BROKEN, {"line": found.broken_line})), opening)
        if found.torn is not None:  # directly behind what is torn, or the line would not be known as such
            notes = [(TORN_TAIL, {"bytes": len(found.torn), "sha256": sha256(found.torn)}), *notes]
        if not notes or notes[-1][0] != HEAD_LOST:
            notes += _compare_with_head(found, head)
        return AppendPoint(found.last_hash, found.last_number, tuple(notes), opening)

    def verify(self) -> int:
        """How many lines there are; raises DataError where the chain is broken."""
        return self.verify_chain().lines

    def verify_chain(self) -> VerifiedChain:
        """What there is, in this file and in those that it continues; raises DataError where lines were changed,
        removed, put in or cut off, or where a file cannot be read.
        """
        with self._shared_lock():
            head = ChainHead.read(self.file)
            found = scan_chain(self._read_file(head))
        _check_unbroken(self.file, found)
        beyond = _count_lines_beyond_head(self.file, found, head)
        parts = [(self.file, found), *_find_previous_parts(self.file, found)]
        times = [str(line.row["at"]) for _, part in reversed(parts) for line in part.lines]
        torn = sum(len(part.find_events(TORN_TAIL)) + (part.torn is not None) for _, part in parts)
        first, last = (times[0], times[-1]) if times else (None, None)
        return VerifiedChain(
            len(times), first, last, found.last_hash, torn, beyond, tuple(str(file) for file, _ in parts)
        )

    @contextmanager
    def _shared_lock(self) -> Iterator[None]:
        """Nobody is in the middle of a line, as far as whoever reads may know."""
        try:
            handle = self.file.with_name(f"{self.file.name}.lock").open("rb")
        except OSError:  # a copy, or the file of an older version
            yield
            return
        with handle:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_SH)
            yield

    def _read_file(self, head: ChainHead | None) -> bytes:
        try:
            data = self.file.read_bytes()
        except OSError as problem:
            if head is not None and isinstance(problem, FileNotFoundError):
                data = b""
            else:
                raise DataError(
                    f"this file cannot be read: {problem.strerror or problem}",
                    where=str(self.file),
                    remedy="name the file that the server's `audit` names",
                ) from None
        if head is not None and not data:
            raise DataError(
                f"the file is gone or empty, and its head knows {head.number} lines; the last had the SHA-256 "
                f"{head.sha256}",
                where=str(self.file),
                remedy="restore it from a copy; after a rotation it begins again with the server's next line",
            )
        return data


def _encode_line(event: str, facts: Mapping[str, JSON], head: ChainHead) -> bytes:
    line = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        **facts,
        "before": head.sha256,
        "number": head.number + 1,
    }
    return json.dumps(line, ensure_ascii=False, sort_keys=True).encode("utf-8", "backslashreplace")


def _compare_with_head(found: ChainScan, head: ChainHead | None) -> list[ChainEvent]:
    """What the next line has to say of a file whose chain holds, and of its head."""
    if head is None:
        numbered = sum(line.numbered for line in found.lines)
        return [(HEAD_LOST, {"reason": "there is none"})] if numbered > MAX_LINES_WITHOUT_HEAD else []
    if found.digest_of_line(head.number) != head.sha256:
        return [(CUT_OFF, {"known": head.number, "sha256": head.sha256, "found": found.last_number})]
    if found.last_number > head.number:
        return [(HEAD_BEHIND, {"lines": found.last_number - head.number})]
    return []


def _check_unbroken(file: Path, found: ChainScan) -> None:
    """Raises DataError."""
    if found.broken_line is not None:
        raise DataError(
            "the chain is broken: this line or the one before it was changed, removed or put in",
            where=f"{file}:{found.broken_line}",
            remedy="compare it with a copy; what stands before this place is as it was written",
        )
    for event, problem in (
        (CUT_OFF, "before this line others were cut off or changed"),
        (HEAD_LOST, "the chain had lost its head before this line, so lines may have been cut off"),
    ):
        if lines := found.find_events(event):
            line = lines[0]
            told = {name: line.row[name] for name in ("known", "found", "sha256", "reason", "why") if name in line.row}
            raise DataError(
                f"{problem}: {json.dumps(told)}",
                where=f"{file}:{line.file_line}",
                remedy=f"compare it with a copy; to begin a new chain, move {file.name} and its .head away together",
            )


def _count_lines_beyond_head(file: Path, found: ChainScan, head: ChainHead | None) -> int | None:
    """How many of the last lines the head does not know. Raises DataError where it knows more, or others."""
    if head is None:
        if sum(line.numbered for line in found.lines) <= MAX_LINES_WITHOUT_HEAD or is_continued(file, found):
            return None
        raise DataError(
            "this chain has no head, so nobody sees whether lines were cut off",
            where=str(ChainHead.path_for(file)),
            remedy="copy the .head together with the file, or restore it",
        )
    if found.digest_of_line(head.number) == head.sha256:
        return found.last_number - head.number
    if found.last_number < head.number:
        problem = f"lines were cut off: the head knows {head.number}, and there are {found.last_number}"
    else:
        problem = f"line {head.number} is not the one that the head knows: it or others before it were changed"
    raise DataError(
        f"the chain is broken at its end: {problem}",
        where=f"{file}:{len(found.lines) + 1}",
        remedy="compare it with a copy; what stands before this place is as it was written",
    )


def _find_previous_parts(file: Path, found: ChainScan) -> list[tuple[Path, ChainScan]]:
    """The files that this one continues. Raises DataError where one is not there."""
    parts: list[tuple[Path, ChainScan]] = []
    while found.previous_hash != GENESIS_HASH:
        older = find_previous_part(file, found.previous_hash)
        if older is None or older[1].last_number != found.previous_number:
            raise DataError(
                f"this file continues another with {found.previous_number} lines, and none beside it ends with "
                "the line of "
                f"the SHA-256 {found.previous_hash}: it was deleted, changed, cut off, or moved elsewhere",
                where=f"{file}:1",
                remedy=f"put it beside this one, under a name that begins with {file.name}",
            )
        _check_unbroken(*older)
        parts.append(older)
        file, found = older
    return parts

"""What was loaded, unloaded, or let in: a chain of lines, each with the hash of the one before."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loratory.artifacts.files import append_line, storage
from loratory.errors import DataError
from loratory.protocols import JSON

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

START = "0" * 64


@dataclass(frozen=True)
class Chain:
    """A chain that holds: how many lines, when the first and the last were written, and the hash of the last.

    Whoever keeps the hash elsewhere sees later whether lines were cut off at the end.
    """

    lines: int
    first: str | None
    last: str | None
    head: str


class Audit:
    """An append-only file. A line that was changed, removed or put in breaks the chain; its end is not protected."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()

    def note(self, event: str, facts: Mapping[str, JSON]) -> None:
        """Add a line, durably."""
        with self._lock, storage(self.file), self._alone():
            before = self._last()
            line = {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "event": event,
                **facts,
                "before": before,
            }
            append_line(self.file, json.dumps(line, ensure_ascii=False, sort_keys=True))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process adds a line meanwhile: `loratory keys` writes where a server does."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as handle:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed
            yield

    def _last(self) -> str:
        if not self.file.is_file():
            return START
        lines = self.file.read_bytes().splitlines()
        return hashlib.sha256(lines[-1]).hexdigest() if lines else START

    def verify(self) -> int:
        """How many lines there are; raises DataError where the chain is broken."""
        return self.chain().lines

    def chain(self) -> Chain:
        """What there is; raises DataError where it is broken, or cannot be read."""
        try:
            lines = self.file.read_bytes().splitlines()
        except OSError as problem:
            raise DataError(
                f"this file cannot be read: {problem.strerror or problem}",
                where=str(self.file),
                remedy="name the file that the server's `audit` names",
            ) from None
        before, times = START, []
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
                follows = found["before"] == before
                times.append(str(found["at"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                follows = False
            if not follows:
                raise DataError(
                    "the chain is broken: this line or the one before it was changed, removed or put in",
                    where=f"{self.file}:{number}",
                    remedy="compare it with a copy; what stands before this place is as it was written",
                )
            before = hashlib.sha256(line).hexdigest()
        return Chain(len(lines), times[0] if times else None, times[-1] if times else None, before)

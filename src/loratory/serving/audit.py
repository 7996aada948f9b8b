"""What was loaded, unloaded, or let in: a chain of lines, each with the hash of the one before."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        before, number = START, 0
        for number, line in enumerate(self.file.read_bytes().splitlines(), 1):
            try:
                found = json.loads(line)["before"]
            except (ValueError, KeyError, TypeError):
                found = None
            if found != before:
                raise DataError(
                    "the chain is broken: this line or the one before it was changed", where=f"{self.file}:{number}"
                )
            before = hashlib.sha256(line).hexdigest()
        return number

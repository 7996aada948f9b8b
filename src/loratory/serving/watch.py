"""Keys as their file has them: read again when it changes, while a server runs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loratory.errors import DataError
from loratory.serving.keys import Keys

log = logging.getLogger("loratory.serving")

SECONDS = 1.0  # between two looks at a file that nobody asks about
FRESH = 1.0  # seconds in which a file may change again without another time of change

State = tuple[int, int, int, int, int]
Told = Callable[[list[str], list[str]], None]  # the names of keys that came, and of those that went


@dataclass
class Watch:
    """Looks at a file of keys; one that cannot be read leaves the keys as they are, and the log says so once."""

    keys: Keys
    file: Path
    told: Told = lambda came, went: None
    _seen: State | None = None
    _looked: float = field(default=float("-inf"))
    _problem: str = ""

    def look(self, now: bool = False) -> None:
        """Read the file where it has changed: at once, or when the last look is some time ago."""
        clock = time.monotonic()
        if not now and clock - self._looked < SECONDS:
            return
        self._looked = clock
        state = self._state()
        if state is None or state != self._seen:
            self._read(state)

    def reread(self) -> None:
        """Read the file whatever it looks like."""
        self._seen = None
        self.look(now=True)
        log.info(json.dumps({"keys": len(self.keys.by_digest), "file": str(self.file)}))

    def _state(self) -> State | None:
        """What changes with the file; None where that cannot be said yet."""
        try:
            found = self.file.stat()
        except OSError:
            return None
        if abs(time.time() - found.st_mtime) < FRESH:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev

    def _read(self, state: State | None) -> None:
        try:
            came, went = self.keys.become(Keys.read(self.file))
        except DataError as problem:
            self._complain(problem.problem)
            self._seen = state
            return
        if self._problem:
            log.warning("keys: %s can be read again", self.file)
        self._seen, self._problem = state, ""
        if came or went:
            log.warning("keys: %s was read again; new: %s; gone: %s", self.file, _listed(came), _listed(went))
            self.told(came, went)

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            log.error("keys: %s: %s; the keys of before hold", self.file, problem)
        self._problem = problem


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"

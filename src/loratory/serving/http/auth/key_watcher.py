"""Keys as their file has them: read again when it changes, while a server runs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loratory.errors import DataError
from loratory.serving.http.auth.api_keys import ApiKeys

log = logging.getLogger("loratory.serving")

CHECK_INTERVAL_SECONDS = 1.0  # between two looks at a file that nobody asks about
MTIME_SETTLE_SECONDS = 1.0  # seconds in which a file may change again without another time of change

FileState = tuple[int, int, int, int, int]
KeysChanged = Callable[[list[str], list[str]], None]  # the names of keys that came, and of those that went


@dataclass
class KeyFileWatcher:
    """Looks at a file of keys; one that cannot be read leaves the keys as they are, and the log says so once."""

    keys: ApiKeys
    file: Path
    on_change: KeysChanged = lambda came, went: None
    _last_state: FileState | None = None
    _last_check: float = field(default=float("-inf"))
    _last_problem: str = ""

    def check(self, now: bool = False) -> None:
        """Read the file where it has changed: at once, or when the last look is some time ago."""
        clock = time.monotonic()
        if not now and clock - self._last_check < CHECK_INTERVAL_SECONDS:
            return
        self._last_check = clock
        state = self._read_file_state()
        if state is None or state != self._last_state:
            self._load_keys(state)

    def reload(self) -> None:
        """Read the file whatever it looks like."""
        self._last_state = None
        self.check(now=True)
        log.info(json.dumps({"keys": len(self.keys.by_digest), "file": str(self.file)}))

    def _read_file_state(self) -> FileState | None:
        """What changes with the file; None where that cannot be said yet."""
        try:
            found = self.file.stat()
        except OSError:
            return None
        if abs(time.time() - found.st_mtime) < MTIME_SETTLE_SECONDS:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev

    def _load_keys(self, state: FileState | None) -> None:
        try:
            came, went = self.keys.replace_with(ApiKeys.read(self.file))
        except DataError as problem:
            self._log_problem_once(problem.problem)
            self._last_state = state
            return
        if self._last_problem:
            log.warning("keys: %s can be read again", self.file)
        self._last_state, self._last_problem = state, ""
        if came or went:
            log.warning("keys: %s was read again; new: %s; gone: %s", self.file, _join_names(came), _join_names(went))
            self.on_change(came, went)

    def _log_problem_once(self, problem: str) -> None:
        if problem != self._last_problem:
            log.error("keys: %s: %s; the keys of before hold", self.file, problem)
        self._last_problem = problem


def _join_names(names: list[str]) -> str:
    return ", ".join(names) or "none"

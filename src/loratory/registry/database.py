"""The registry's tables in SQLite: releases, aliases, champions in order, and a history that is only added to.

Write-ahead log with synchronous=FULL: what was acknowledged survives a kill and a power cut. Every change is one
transaction that begins with a write lock, so two processes cannot both read the same state and change it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loratory.artifacts.durable_files import make_folder, translate_write_errors
from loratory.errors import ArtifactError, StorageError

FORMAT = 1  # PRAGMA user_version
LOCK_SECONDS = 30.0  # that a change waits for another process
SCHEMA = """
CREATE TABLE IF NOT EXISTS releases (
  name TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, contents TEXT NOT NULL,
  created_at TEXT NOT NULL, created_by TEXT NOT NULL, retired_at TEXT,
  PRIMARY KEY (name, version), UNIQUE (name, digest)
) STRICT;
CREATE TABLE IF NOT EXISTS aliases (
  name TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL,
  PRIMARY KEY (name, alias), FOREIGN KEY (name, version) REFERENCES releases (name, version)
) STRICT;
CREATE TABLE IF NOT EXISTS champions (
  name TEXT NOT NULL, position INTEGER NOT NULL, version INTEGER NOT NULL,
  PRIMARY KEY (name, position), FOREIGN KEY (name, version) REFERENCES releases (name, version)
) STRICT;
CREATE TABLE IF NOT EXISTS history (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,
  name TEXT NOT NULL, version INTEGER, facts TEXT NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS history_is_kept BEFORE UPDATE ON history
  BEGIN SELECT RAISE(ABORT, 'the history is only added to'); END;
CREATE TRIGGER IF NOT EXISTS history_is_whole BEFORE DELETE ON history
  BEGIN SELECT RAISE(ABORT, 'the history is only added to'); END;
"""


class RegistryDatabase:
    """Connections to the file; each call opens its own, so threads and processes need no more than this."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def create(self) -> None:
        """Make the file and its tables where they are missing. Raises StorageError and ArtifactError."""
        with translate_write_errors(self.file):
            make_folder(self.file.parent)
        with self._connect() as connection:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                raise ArtifactError(
                    f"the registry is of format {found}, and this version of Loratory knows {FORMAT}",
                    where=str(self.file),
                    remedy="pip install --upgrade loratory",
                )
            if found == 0:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state. Raises StorageError and ArtifactError."""
        with self._connect() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that is committed at the end, or leaves nothing. Raises StorageError."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self.file, timeout=LOCK_SECONDS, isolation_level=None)
        except sqlite3.Error as problem:
            raise _translate(problem, self.file) from problem
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
        except sqlite3.Error as problem:
            raise _translate(problem, self.file) from problem
        finally:
            connection.close()


def _translate(problem: sqlite3.Error, file: Path) -> ArtifactError | StorageError:
    text = str(problem)
    if "locked" in text or "busy" in text:
        return StorageError(
            f"another process holds the registry for more than {LOCK_SECONDS:.0f} s",
            where=str(file),
            remedy="end that process, and try again; nothing was changed",
        )
    if "malformed" in text or "not a database" in text:
        return ArtifactError(
            f"this is no registry, or its file is damaged: {text}",
            where=str(file),
            remedy="restore a copy of the folder; or move it away and register the runs again",
        )
    return StorageError(f"the registry cannot be changed: {text}", where=str(file), remedy="look at the disk")

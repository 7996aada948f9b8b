"""Which test texts were looked at, when and by what: a SQLite file of the user's, keyed by the rows themselves.

A read is kept with the hashes of its rows, so that another split, another folder, a changed label, other white space
or half of the rows do not make the same texts look new. It holds no text: a row is the first 8 bytes of the SHA-256 of
its normalised text. Equal sets of rows are stored once.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loratory.errors import StorageError

LEDGER_VARIABLE = "LORATORY_LEDGER"
LEDGER_FILE = "test-reads.sqlite"
LOCK_TIMEOUT_SECONDS = 60.0  # seconds that a process waits for another one that is writing
TABLE_DEFINITIONS = (
    "CREATE TABLE IF NOT EXISTS sets (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, rows BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS reads (id INTEGER PRIMARY KEY, time TEXT NOT NULL, run TEXT NOT NULL, "
    "place TEXT NOT NULL, purpose TEXT NOT NULL, looks TEXT NOT NULL, rows INTEGER NOT NULL REFERENCES sets (id))",
)
EDGE_CHARACTERS = string.punctuation + " "
RowKeys = NDArray[np.uint64]


@dataclass(frozen=True)
class TestReader:
    """Who reads: the run's name, its folder, what for, and what is looked at (a digest for each fit, none: always new).

    A look whose every digest was in one earlier look of the same place at the same rows is that look, gone on with.
    """

    run: str
    folder: str
    purpose: str
    fit_digests: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LedgerRead:
    """A reading that shares rows with the set that is asked about. held: bool[N], which of its N rows it had."""

    time: str  # ISO 8601, UTC
    reader: TestReader
    shared_rows: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Of the set that is asked about, the share that this reading had."""
        return float(self.shared_rows.mean())


def find_ledger_file() -> Path:
    """The ledger's file: $LORATORY_LEDGER, else under $XDG_STATE_HOME or ~/.local/state. Raises StorageError."""
    if given := os.environ.get(LEDGER_VARIABLE):
        return Path(given).expanduser().absolute()
    try:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError as problem:
        raise _make_ledger_error(str(problem), LEDGER_VARIABLE) from None
    return home / "loratory" / LEDGER_FILE


def compute_row_keys(texts: Iterable[str]) -> RowKeys:
    """uint64[N]: a key for each text, equal where only case, white space, Unicode form or signs at the ends differ."""
    digests = (hashlib.sha256(normalise_row_text(text).encode("utf-8", "surrogatepass")).digest()[:8] for text in texts)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def normalise_row_text(text: str) -> str:
    """NFKC, case folded, one space for white space, nothing invisible, no signs at the ends (signs alone stay)."""
    if text.isascii():
        words = " ".join(text.lower().split())
        return words.strip(EDGE_CHARACTERS) or words
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = " ".join("".join(sign for sign in folded if unicodedata.category(sign) != "Cf").split())
    first = next((at for at, sign in enumerate(words) if _is_word_character(sign)), 0)
    last = next((at for at, sign in enumerate(reversed(words)) if _is_word_character(sign)), 0)
    return words[first : len(words) - last]


def _is_word_character(sign: str) -> bool:
    """A letter, a mark or a number."""
    return unicodedata.category(sign)[0] in "LMN"


def record_read(reader: TestReader, keys: RowKeys) -> None:
    """Note a reading before it happens; one that was begun before counts once. Raises StorageError."""
    rows = np.unique(keys).astype("<u8").tobytes()
    digest = hashlib.sha256(rows).hexdigest()
    with _open_ledger() as ledger:
        ledger.execute("INSERT OR IGNORE INTO sets (digest, rows) VALUES (?, ?)", (digest, rows))
        (known,) = ledger.execute("SELECT id FROM sets WHERE digest = ?", (digest,)).fetchone()
        earlier = ledger.execute("SELECT looks FROM reads WHERE rows = ? AND place = ?", (known, reader.folder))
        if reader.fit_digests and any(reader.fit_digests <= set(looks.split()) for (looks,) in earlier.fetchall()):
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        values = (now, reader.run, reader.folder, reader.purpose, " ".join(sorted(reader.fit_digests)), known)
        ledger.execute("INSERT INTO reads (time, run, place, purpose, looks, rows) VALUES (?, ?, ?, ?, ?, ?)", values)


def check_ledger() -> None:
    """Make sure that a reading could be noted, before anything expensive is done. Raises StorageError."""
    with _open_ledger():
        pass


def find_reads(keys: RowKeys) -> list[LedgerRead]:
    """Every reading that shares a row with these, oldest first. Raises StorageError where the ledger is damaged."""
    if not len(keys) or not find_ledger_file().exists():
        return []
    with _open_ledger(writable=False) as ledger:
        if not ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'reads'").fetchone():
            return []  # whoever made the file was stopped before anything was noted
        held = {number: _find_shared_rows(keys, rows) for number, rows in ledger.execute("SELECT id, rows FROM sets")}
        found = ledger.execute("SELECT time, run, place, purpose, looks, rows FROM reads ORDER BY id").fetchall()
    return [
        LedgerRead(time, TestReader(run, where, purpose, frozenset(looks.split())), held[rows])
        for time, run, where, purpose, looks, rows in found
        if held[rows].any()
    ]


def summarise_overlap(reads: Sequence[LedgerRead]) -> dict[str, Any] | None:
    """{reads, largest, seen, run, time}: how many readings share rows, the largest share of the rows that one of them
    had with its run and time (the latest of equals), and the share that any of them had; None where there is none.
    """
    if not reads:
        return None
    most = max(reversed(reads), key=lambda read: read.share)
    seen = np.logical_or.reduce([read.shared_rows for read in reads])
    return {
        "reads": len(reads),
        "largest": most.share,
        "seen": float(seen.mean()),
        "run": most.reader.run,
        "time": most.time,
    }


def count_reads(reader: TestReader, keys: RowKeys) -> tuple[int, dict[str, Any] | None]:
    """Reads of these rows up to the last one of this look, and what the earlier ones share (see `overlap`).

    The look's own is the last of its place, else (its folder was moved) the last that looked at one of its fits; where
    the ledger knows neither, it is one more.
    """
    known = find_reads(keys)
    here = [at for at, one in enumerate(known) if one.reader.folder == reader.folder]
    same = here or [at for at, one in enumerate(known) if one.reader.fit_digests & reader.fit_digests]
    earlier = known[: same[-1]] if same else known
    return len(earlier) + 1, summarise_overlap(earlier)


def _find_shared_rows(keys: RowKeys, rows: bytes) -> NDArray[np.bool_]:
    """Which keys are among the sorted rows of a set."""
    stored = np.frombuffer(rows, dtype="<u8")
    if not len(stored):
        return np.zeros(len(keys), dtype=bool)
    at = np.minimum(np.searchsorted(stored, keys), len(stored) - 1)
    return np.asarray(stored[at] == keys)


@contextmanager
def _open_ledger(writable: bool = True) -> Iterator[sqlite3.Connection]:
    """The ledger; to write it is locked before it is looked at, and what was written is on the disk at the end.

    Its journal is a rollback journal and no WAL, which a home folder on a network drive cannot have.
    """
    file = find_ledger_file()
    try:
        if writable:
            file.parent.mkdir(parents=True, exist_ok=True)
        mode = "rwc" if writable else "rw"
        with closing(
            sqlite3.connect(f"{file.as_uri()}?mode={mode}", LOCK_TIMEOUT_SECONDS, isolation_level=None, uri=True)
        ) as one:
            if not writable:
                yield one
                return
            one.execute("PRAGMA synchronous = EXTRA")
            one.execute("BEGIN IMMEDIATE")
            with one:  # commits, or rolls back
                for table in TABLE_DEFINITIONS:
                    one.execute(table)
                yield one
    except (sqlite3.Error, OSError) as problem:
        raise _make_ledger_error(str(problem), str(file)) from problem


def _make_ledger_error(problem: str, where: str) -> StorageError:
    return StorageError(
        f"the ledger of test reads cannot be used: {problem}",
        where=where,
        allowed="a SQLite file in a folder that can be written",
        remedy=f"name another file: export {LEDGER_VARIABLE}=FILE; or move a damaged one away",
    )

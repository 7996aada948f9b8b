"""The history as a chain of hashes: what was changed, removed or put in later is found.

The hash of the last entry is kept in a file of its own, beside the database: a cut tail is missed by the chain alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loratory.artifacts.durable_files import write_text
from loratory.artifacts.manifests import digest_of
from loratory.errors import ArtifactError
from loratory.protocols import JSON
from loratory.registry.releases import HistoryEntry

GENESIS = "0" * 64
COLUMNS = ("number", "at", "by", "action", "name", "version", "facts", "previous", "digest")


@dataclass(frozen=True)
class VerifiedHistory:
    """A history that holds: its entries, when the first and the last were made, and the digest of the last."""

    entries: int
    first: str | None
    last: str | None
    head: str


def append_entry(
    connection: sqlite3.Connection,
    by: str,
    action: str,
    name: str,
    version: int | None,
    facts: Mapping[str, JSON],
) -> HistoryEntry:
    """Add an entry in the transaction of the change that it tells of. A clock that went back does not order it."""
    row = connection.execute("SELECT number, at, digest FROM history ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (row["number"] + 1, row["digest"]) if row else (1, GENESIS)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    at = max(now, row["at"]) if row else now
    told = json.dumps(dict(facts), sort_keys=True, ensure_ascii=False)
    digest = digest_of([number, at, by, action, name, version, told, previous])
    connection.execute(
        f"INSERT INTO history ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",
        (number, at, by, action, name, version, told, previous, digest),
    )
    return HistoryEntry(number, at, by, action, name, version, facts, previous, digest)


def read_history(connection: sqlite3.Connection, name: str | None = None) -> list[HistoryEntry]:
    """Every entry, or those of one name, the first first."""
    where, values = ("WHERE name = ? ", (name,)) if name else ("", ())
    rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM history {where}ORDER BY number", values)
    return [HistoryEntry(**{**dict(row), "facts": json.loads(row["facts"])}) for row in rows]


def write_head(file: Path, entry: HistoryEntry) -> None:
    """Note the last entry beside the database. After a crash it is behind by what was committed last, never ahead."""
    write_text(file, json.dumps({"number": entry.number, "digest": entry.digest}) + "\n")


def verify_history(connection: sqlite3.Connection, head_file: Path) -> VerifiedHistory:
    """Raises ArtifactError where an entry was changed, removed or put in, or the end was cut off."""
    previous, rows = GENESIS, connection.execute(f"SELECT {', '.join(COLUMNS)} FROM history ORDER BY number").fetchall()
    digests = {}
    for expected, row in enumerate(rows, 1):
        covered = [row[column] for column in COLUMNS[:-1]]
        if row["number"] != expected or row["previous"] != previous or row["digest"] != digest_of(covered):
            raise ArtifactError(
                f"the history is broken at entry {expected}: it, or one before it, was changed or removed",
                where=str(head_file.parent),
                remedy="restore the registry's folder from a copy",
            )
        previous = digests[expected] = row["digest"]
    _check_head(head_file, digests)
    first, last = (rows[0]["at"], rows[-1]["at"]) if rows else (None, None)
    return VerifiedHistory(len(rows), first, last, previous)


def _check_head(head_file: Path, digests: Mapping[int, str]) -> None:
    try:
        head = json.loads(head_file.read_text(encoding="utf-8"))
        number, digest = int(head["number"]), str(head["digest"])
    except FileNotFoundError:
        if len(digests) <= 1:  # a crash came before the first head
            return
        number, digest = 0, ""
    except (OSError, ValueError, KeyError, TypeError):
        number, digest = 0, ""
    if digests.get(number) != digest:
        raise ArtifactError(
            "the head of the history is missing, damaged, or names an entry that is not there: the end may be cut off",
            where=str(head_file),
            remedy="restore the registry's folder from a copy",
        )

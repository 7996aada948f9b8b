"""How often each test set was looked at: an append-only file of the workspace, keyed by the test set's digest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loratory.artifacts.files import append_line

LEDGER = Path(".loratory") / "test-reads.jsonl"


def record(workspace: Path, digest: str, run: str, purpose: str) -> int:
    """Note one reading of a test set; returns how often it has been read, this time included."""
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "test": digest, "run": run, "purpose": purpose}
    append_line(workspace / LEDGER, json.dumps(entry, ensure_ascii=False))
    return len(reads(workspace, digest))


def reads(workspace: Path, digest: str) -> list[dict[str, Any]]:
    """Every reading of a test set, oldest first; a line torn by a crash is passed over."""
    try:
        lines = (workspace / LEDGER).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    entries = [_parsed(line) for line in lines]
    return [entry for entry in entries if entry.get("test") == digest]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}

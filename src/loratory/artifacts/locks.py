"""One writer at a time: a lock beside what is written, held by the operating system, so a dead holder's is free."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from loratory.artifacts.durable_files import translate_write_errors
from loratory.errors import StorageError

DEFAULT_WAIT_SECONDS = 60.0  # seconds that a command waits for another that writes a file, which takes milliseconds


def ignore_message(line: str) -> None:
    """Says nothing."""


@contextmanager
def hold_lock(
    target: Path, timeout_seconds: float = DEFAULT_WAIT_SECONDS, on_wait: Callable[[str], None] = ignore_message
) -> Iterator[None]:
    """Hold `target` (a file or folder, which need not exist) against every other holder in any process.

    Waits so many seconds for the one who has it, which `say` tells; then raises StorageError, which names the holder.
    """
    file = target.absolute().with_name(f".{target.name}.lock")
    new = [folder for folder in file.parents if not folder.exists()]
    with translate_write_errors(target):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if timeout_seconds > 0:
                on_wait(f"waiting for {target}: {describe_holder(target)} is writing to it")
            _wait_for_lock(lock, target, timeout_seconds)
    try:
        _write_holder(_get_holder_file(target))
        yield
    finally:
        for mine in (_get_holder_file(target), file):  # filelock tries again where the file that it locked is gone
            with suppress(OSError):
                mine.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            for folder in new:  # nothing is left where nothing was written
                folder.rmdir()


def _wait_for_lock(lock: FileLock, target: Path, timeout_seconds: float) -> None:
    try:
        lock.acquire(timeout=timeout_seconds)
    except Timeout:
        raise StorageError(
            f"{describe_holder(target)} is writing to it",
            where=str(target),
            allowed="one writer at a time",
            remedy="wait until it has ended, or choose another output",
        ) from None


def describe_holder(target: Path) -> str:
    """Who holds it, as the holder signed: process, machine, since when."""
    try:
        told: dict[str, Any] = json.loads(_get_holder_file(target).read_text(encoding="utf-8"))
        return f"process {told['pid']} on {told['host']} (since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _get_holder_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.holder")


def _write_holder(file: Path) -> None:
    told = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with suppress(OSError):  # it only makes the message of another process better
        file.write_text(json.dumps(told) + "\n", encoding="utf-8")

"""Durable files: a temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from loratory.errors import StorageError

WRITE_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk reports an I/O error",
    errno.EACCES: "no permission to write",
    errno.EPERM: "no permission to write",
}


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's write errors into a StorageError that names the path."""
    try:
        yield
    except Exception as problem:
        code = _get_error_number(problem)
        if code not in WRITE_ERRORS:
            raise
        raise StorageError(
            f"cannot write: {WRITE_ERRORS[code]}",
            where=str(path),
            remedy="free some space or choose another --output, then run it again; what was finished is kept",
        ) from problem


def _get_error_number(problem: Exception) -> int | None:
    """The system's error number, also of safetensors and tokenizers, which tell it in words."""
    if isinstance(problem, OSError):
        return problem.errno
    told = re.search(r"\(os error (\d+)\)", str(problem))
    return int(told[1]) if told else None


def sync_path(path: Path) -> None:
    """Make the bytes of a file durable, or the renames inside a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably: an entry of a folder is on the disk when that folder is."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in new:
        sync_path(one.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two paths change places, at one moment for every reader; whether the system can.

    renameat2(2) of Linux 3.15 with RENAME_EXCHANGE, renamex_np(2) of macOS 10.12 with RENAME_SWAP. Raises OSError.
    """
    call = _exchanger()
    if call is None:
        return False
    if call(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


CANNOT = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
)  # this file system, or a sandbox, knows no such call


@cache
def _exchanger() -> Callable[[bytes, bytes], int] | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if hasattr(library, "renameat2"):
            here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
            return lambda one, other: int(library.renameat2(here, one, here, other, swap))
        if hasattr(library, "renamex_np"):
            return lambda one, other: int(library.renamex_np(one, other, 2))
    except (OSError, TypeError):  # no such library on Windows
        pass
    return None


def make_temporary_path(final: Path, end: str = "part") -> Path:
    """A name beside `final` that no other process and no other call has: `.NAME.HOST-PID-RANDOM.part`."""
    return final.with_name(f".{final.name}.{_hash_hostname()}-{os.getpid()}-{secrets.token_hex(4)}.{end}")


def _hash_hostname() -> str:
    """The machine's name in 8 hexadecimal digits: a folder may be shared with others."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def remove_leftovers(final: Path) -> None:
    """Remove what dead processes of this machine, and older versions, left under temporary names of `final`.

    Where one ended while it replaced a folder, the older folder gets its name back.
    """
    start = f".{final.name}."
    with suppress(OSError):
        found = [name for name in os.listdir(final.parent) if name.startswith(start)]
        for left in [final.with_name(name) for name in found if _is_leftover(name.removeprefix(start))]:
            if left.name.endswith(".old") and not final.exists():
                os.replace(left, final)
                sync_path(final.parent)
            else:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _is_leftover(rest: str) -> bool:
    found = re.fullmatch(r"(?:([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.)?(?:part|old)", rest)
    if found is None:
        return False
    return found[1] is None or (found[1] == _hash_hostname() and not is_process_alive(int(found[2])))


def is_process_alive(pid: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def write_bytes(file: Path, data: bytes) -> None:
    """Replace a file whole or not at all; raises StorageError."""
    with _replace_file(file) as part:
        part.write_bytes(data)


@contextmanager
def open_replacement(file: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `file` once all is written; whatever ends it before leaves the old file.

    Lines end as they are written. Raises StorageError.
    """
    with (
        _replace_file(file) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as opened,
    ):
        yield opened


@contextmanager
def _replace_file(file: Path) -> Iterator[Path]:
    """A temporary path, whose file takes the place of `file` at the end; without one where the work inside fails."""
    part = make_temporary_path(file)
    with translate_write_errors(file):
        make_folder(file.parent)
        remove_leftovers(file)
        try:
            yield part
            sync_path(part)
            os.replace(part, file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_path(file.parent)


def write_text(file: Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(file, text.encode())


def to_json(value: object) -> str:
    """Readable, stable JSON; refuses NaN and infinity, which are not JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_to_plain) + "\n"


def _to_plain(value: object) -> Any:
    if isinstance(value, (tuple, set, frozenset)):
        return sorted(value) if not isinstance(value, tuple) else list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def write_json(file: Path, value: object) -> None:
    """`write_text` of readable JSON."""
    write_text(file, to_json(value))


def append_line(file: Path, line: str) -> None:
    """Append one line or several durably; a torn last line of an earlier crash is closed first."""
    with translate_write_errors(file):
        make_folder(file.parent)
        new = not file.exists()
        with file.open("ab+") as handle:
            handle.seek(0, os.SEEK_END)
            torn = handle.tell() > 0 and (handle.seek(-1, os.SEEK_END), handle.read(1))[1] != b"\n"
            handle.write((b"\n" if torn else b"") + line.encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        if new:
            sync_path(file.parent)

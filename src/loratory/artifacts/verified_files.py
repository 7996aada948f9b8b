"""The files of a folder that count, and the only way to their bytes: what is handed out is what was hashed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO

from loratory.errors import ArtifactError

CHUNK_BYTES = 1 << 20  # bytes that are read and hashed at a time
RESTORE_REMEDY = "restore the file from a copy, or run the command that made it again"


def is_safe_name(name: object) -> bool:
    """Whether a name stays below its folder on every system: `a/b.json`, no `..`, no root, no drive, no backslash."""
    if not isinstance(name, str) or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


@contextmanager
def open_inside(folder: Path, name: str) -> Iterator[BinaryIO]:
    """A regular file below a folder, reached through no symbolic link; raises OSError. A FIFO or device is refused."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *inner, last = name.split("/")
        for part in inner:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = deeper
        handle = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    yield from _yield_regular_file(handle)


@contextmanager
def open_following_links(file: Path) -> Iterator[BinaryIO]:
    """A regular file wherever links lead, as those of the hub's cache do; raises OSError."""
    yield from _yield_regular_file(os.open(file, os.O_RDONLY | os.O_NONBLOCK))


def _yield_regular_file(number: int) -> Iterator[BinaryIO]:
    with os.fdopen(number, "rb") as handle:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError("it is no regular file")
        yield handle


class HashingReader:
    """A file that is read once from its beginning to its end, and hashed as it passes."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._hash = handle, hashlib.sha256()
        self.size = os.fstat(handle.fileno()).st_size  # bytes, when it was opened

    def read_into(self, view: memoryview) -> None:
        """Fill a view of bytes; raises OSError where the file ends before."""
        for start in range(0, len(view), CHUNK_BYTES):
            part = view[start : start + CHUNK_BYTES]
            done = 0
            while done < len(part):
                got = self._handle.readinto(part[done:])  # type: ignore[attr-defined]
                if not got:
                    raise OSError("the file ends too early")
                done += got
            self._hash.update(part)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes; raises OSError where the file ends before."""
        held = self._handle.read(count)
        if len(held) < count:
            raise OSError("the file ends too early")
        self._hash.update(held)
        return held

    def finish(self) -> str:
        """SHA-256 of the whole file, what was not read yet included."""
        while part := self._handle.read(CHUNK_BYTES):
            self._hash.update(part)
        return self._hash.hexdigest()


class VerifiedFiles:
    """Files below a folder by name, each with the SHA-256 that its bytes must have. No other file there is read."""

    description = "a file that the manifest lists"

    def __init__(self, folder: Path, digests: Mapping[str, str], prefix: str = "", follow_links: bool = False) -> None:
        self.root, self._digests, self._prefix, self._follow_links = folder, digests, prefix, follow_links
        self.folder = folder / prefix if prefix else folder

    def list_names(self) -> list[str]:
        """Of all files, relative to this folder, sorted."""
        return sorted(name.removeprefix(self._prefix) for name in self._digests if name.startswith(self._prefix))

    def has(self, name: str) -> bool:
        """Whether this file counts."""
        return self._prefix + name in self._digests

    def list_top_level(self) -> list[str]:
        """The names of this folder's own files and folders, sorted."""
        return sorted({name.partition("/")[0] for name in self.list_names()})

    def open_subfolder(self, inner: str) -> VerifiedFiles:
        """The files of a folder in it; none where there is no such folder."""
        return VerifiedFiles(self.root, self._digests, f"{self._prefix}{inner}/", self._follow_links)

    def digest(self, name: str) -> str:
        """SHA-256 that the bytes of a file must have; raises ArtifactError where the file does not count."""
        try:
            return self._digests[self._prefix + name]
        except KeyError:
            raise ArtifactError(f"{name} is not among the files that count", where=str(self.folder)) from None

    def read(self, name: str) -> bytes:
        """The bytes of a file, which have its digest; raises ArtifactError where they do not, or cannot be read."""
        with self.stream(name) as data:
            return data.read(data.size)

    @contextmanager
    def stream(self, name: str) -> Iterator[HashingReader]:
        """A file to read piece by piece. Nothing made of it may be used before the block has ended without an error.

        Raises ArtifactError where its bytes do not have its digest, or cannot be read.
        """
        wanted = self.digest(name)
        try:
            with self._open_file(name) as handle:
                data = HashingReader(handle)
                try:
                    yield data
                except ValueError as problem:  # what the bytes say is wrong: first, are they the right bytes?
                    self._check_digest(name, wanted, data.finish())
                    raise ArtifactError(str(problem), where=str(self.folder / name), remedy=RESTORE_REMEDY) from problem
                self._check_digest(name, wanted, data.finish())
        except OSError as problem:
            why = "is missing" if isinstance(problem, FileNotFoundError) else f"cannot be read: {problem}"
            raise ArtifactError(
                f"{self.description} {why}",
                where=str(self.folder / name),
                allowed="a regular file, reached through no symbolic link",
                remedy="restore the folder from a copy, or run the command that made it again",
            ) from problem

    def _open_file(self, name: str) -> Any:
        if self._follow_links:  # a folder of others, such as the hub's cache, which is made of links
            return open_following_links(self.folder / name)
        return open_inside(self.root, self._prefix + name)

    def _check_digest(self, name: str, wanted: str, found: str) -> None:
        if found != wanted:
            raise ArtifactError(
                "the file's SHA-256 differs from the manifest: it was changed or damaged",
                where=str(self.folder / name),
                allowed=wanted,
                remedy=RESTORE_REMEDY,
            )

    def check(self, name: str) -> None:
        """Raise ArtifactError where the bytes of a file do not have its digest; it is not kept in memory."""
        with self.stream(name):
            pass

    def read_text(self, name: str) -> str:
        """UTF-8 text; raises ArtifactError."""
        try:
            return self.read(name).decode("utf-8")
        except UnicodeDecodeError as problem:
            raise ArtifactError(
                "it is no UTF-8 text", where=str(self.folder / name), remedy=RESTORE_REMEDY
            ) from problem

    def read_json(self, name: str) -> Any:
        """A JSON value; raises ArtifactError."""
        try:
            return json.loads(self.read_text(name))
        except (ValueError, RecursionError) as problem:
            raise ArtifactError(
                f"not JSON: {problem}", where=str(self.folder / name), remedy=RESTORE_REMEDY
            ) from problem

    @contextmanager
    def copy_to_temporary(self, names: Collection[str]) -> Iterator[Path]:
        """A temporary folder for this process alone with those of the files that are there, for what reads folders."""
        with tempfile.TemporaryDirectory(prefix="loratory-") as made:
            for name in names:
                if self.has(name):
                    target = Path(made) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(self.read(name))
            yield Path(made)


class UnlistedFiles(VerifiedFiles):
    """The files of a folder without a manifest: each has the SHA-256 that it had when it was first asked for."""

    description = "the file"

    def __init__(self, folder: Path, prefix: str = "", digests: dict[str, str] | None = None) -> None:
        self._first_digests: dict[str, str] = {} if digests is None else digests
        super().__init__(folder, self._first_digests, prefix, follow_links=True)

    def list_names(self) -> list[str]:
        """Of all files below the folder as it is now, sorted."""
        found = (file for file in self.folder.rglob("*") if file.is_file()) if self.folder.is_dir() else ()
        return sorted(file.relative_to(self.folder).as_posix() for file in found)

    def list_top_level(self) -> list[str]:
        """The names of what the folder itself holds now, sorted; none where it cannot be read."""
        with suppress(OSError):
            return sorted(os.listdir(self.folder))
        return []

    def has(self, name: str) -> bool:
        """Whether there is such a file now, by a name that stays inside the folder."""
        return is_safe_name(name) and (self.folder / name).is_file()

    def open_subfolder(self, inner: str) -> VerifiedFiles:
        """The files of a folder in it; digests that were taken here hold there too."""
        return UnlistedFiles(self.root, f"{self._prefix}{inner}/", self._first_digests)

    def digest(self, name: str) -> str:
        key = self._prefix + name
        if key not in self._first_digests:
            try:
                with self._open_file(name) as handle:
                    self._first_digests[key] = HashingReader(handle).finish()
            except OSError as problem:
                raise ArtifactError(f"it cannot be read: {problem}", where=str(self.folder / name)) from problem
        return self._first_digests[key]

    def _check_digest(self, name: str, wanted: str, found: str) -> None:
        if found != wanted:
            raise ArtifactError(
                "the file was changed while it was being read",
                where=str(self.folder / name),
                allowed=wanted,
                remedy="let nobody write to the folder, and try again",
            )


def open_files(source: Path | VerifiedFiles) -> VerifiedFiles:
    """The files themselves, or those of a folder as they are seen from now on."""
    return source if isinstance(source, VerifiedFiles) else UnlistedFiles(source)

"""Files by the SHA-256 of their bytes: the same file of two releases is kept once, and a changed one is known."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from loratory.artifacts.durable_files import make_folder, make_temporary_path, sync_path, translate_write_errors
from loratory.artifacts.manifests import hash_file
from loratory.errors import ArtifactError

DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")


class ObjectStore:
    """Objects in a folder of this machine. What is written is whole and durable before its digest is returned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate(self, digest: str) -> Path:
        """Where an object lies, whether it is there or not. Raises ValueError where `digest` is none."""
        if not DIGEST_PATTERN.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256")
        return self.folder / digest[:2] / digest

    def add(self, source: Path) -> str:
        """Copy a file in; returns its digest. Raises StorageError."""
        digest = hash_file(source)
        target = self.locate(digest)
        if target.is_file() and target.stat().st_size == source.stat().st_size:
            return digest
        with translate_write_errors(target):
            make_folder(target.parent)
            part = make_temporary_path(target)
            try:
                shutil.copyfile(source, part)
                if hash_file(part) != digest:
                    raise ArtifactError("the file was changed while it was copied", where=str(source))
                self._finish(part, target)
            finally:
                part.unlink(missing_ok=True)
        return digest

    def add_bytes(self, data: bytes) -> str:
        """Keep these bytes; returns their digest. Raises StorageError."""
        with translate_write_errors(self.folder):
            make_folder(self.folder)
            part = make_temporary_path(self.folder / "new")
            try:
                part.write_bytes(data)
                digest = hash_file(part)
                target = self.locate(digest)
                make_folder(target.parent)
                if not target.is_file():
                    self._finish(part, target)
            finally:
                part.unlink(missing_ok=True)
        return digest

    def _finish(self, part: Path, target: Path) -> None:
        sync_path(part)
        os.chmod(part, 0o444)
        os.replace(part, target)
        sync_path(target.parent)

    def read(self, digest: str) -> bytes:
        """The bytes of an object. Raises ArtifactError where it is missing, or its bytes are others."""
        self.check(digest)
        return self.locate(digest).read_bytes()

    def check(self, digest: str) -> None:
        """Raise ArtifactError where an object is missing or was changed."""
        file = self.locate(digest)
        if not file.is_file():
            raise ArtifactError(
                "an object of the registry is missing", where=str(file), remedy="register the run again: it is put back"
            )
        if hash_file(file) != digest:
            raise ArtifactError(
                "an object of the registry was changed",
                where=str(file),
                allowed=f"SHA-256 {digest}",
                remedy="remove this file, and register the run again",
            )

    def list_digests(self) -> Iterator[str]:
        """Every object that is there."""
        for file in self.folder.glob("??/*"):
            if DIGEST_PATTERN.fullmatch(file.name):
                yield file.name

    def remove_all_but(self, kept: Collection[str]) -> tuple[int, int]:
        """Remove objects that are not in `kept`; returns how many, and their bytes."""
        count = size = 0
        for digest in list(self.list_digests()):
            if digest not in kept:
                file = self.locate(digest)
                size += file.stat().st_size
                with translate_write_errors(file):
                    file.unlink()
                count += 1
        return count, size

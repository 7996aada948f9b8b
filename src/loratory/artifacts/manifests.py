"""Artifacts: a folder is one when its manifest lists every file with its SHA-256; the manifest is written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loratory.artifacts.files import storage, sync_file, sync_folder, to_json, write_json
from loratory.errors import ArtifactError

MANIFEST = "manifest.json"
FORMAT = 1


def file_digest(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def staging(final: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """A fresh folder that becomes `final` whole, or leaves no trace. `facts` go into the manifest.

    Raises StorageError when the disk refuses; an older `final` is then untouched.
    """
    part = final.with_name(f".{final.name}.part")
    with storage(final):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            _seal(part, facts)
            _swap(part, final)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _seal(folder: Path, facts: Mapping[str, Any]) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    digests = {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
    for file in files:
        sync_file(file)
    (folder / MANIFEST).write_text(to_json({"format": FORMAT, **facts, "files": digests}), encoding="utf-8")
    sync_file(folder / MANIFEST)
    for inner in (folder, *(f for f in folder.rglob("*") if f.is_dir())):
        sync_folder(inner)


def _swap(part: Path, final: Path) -> None:
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    try:
        os.replace(part, final)
    except OSError:
        if old.exists():
            os.replace(old, final)
        raise
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def extending(folder: Path) -> Iterator[Path]:
    """Add top-level entries to a valid artifact: they move in first, then a longer manifest replaces the old one.

    At every moment the folder is valid: files that its manifest does not list do not exist for any reader, and those
    of an entry that is replaced are taken off the manifest before they change.
    """
    manifest = verified(folder)
    part = folder / ".extending.part"
    with storage(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            added = {f.relative_to(part).as_posix(): file_digest(f) for f in sorted(part.rglob("*")) if f.is_file()}
            for file in part.rglob("*"):
                (sync_folder if file.is_dir() else sync_file)(file)
            entries = list(part.iterdir())
            names = {entry.name for entry in entries}
            kept = {name: sha for name, sha in manifest["files"].items() if name.partition("/")[0] not in names}
            if kept != manifest["files"]:
                write_json(folder / MANIFEST, {**manifest, "files": kept})
            for entry in entries:
                target = folder / entry.name
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(entry, target)
            sync_folder(folder)
            write_json(folder / MANIFEST, {**manifest, "files": dict(sorted({**kept, **added}.items()))})
        finally:
            shutil.rmtree(part, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None where there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def verified(folder: Path) -> dict[str, Any]:
    """The manifest of a valid artifact; raises ArtifactError when there is none or a file differs from it."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise ArtifactError(
            "this folder has no valid manifest.json, so nothing in it is loaded",
            where=str(folder),
            remedy=f"for a foreign model folder: loratory import {folder}; for a run: loratory run it again",
        )
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"the manifest is of format {manifest.get('format')!r}",
            where=str(folder / MANIFEST),
            allowed=str(FORMAT),
            remedy="open it with the version of loratory that wrote it",
        )
    for name, digest in manifest["files"].items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise ArtifactError(
                "a file that the manifest lists is missing",
                where=str(file),
                remedy="restore the folder from a copy, or run the command that made it again",
            )
        if file_digest(file) != digest:
            raise ArtifactError(
                "the file's SHA-256 differs from the manifest: it was changed or damaged",
                where=str(file),
                allowed=digest,
                remedy="restore the file from a copy, or run the command that made it again",
            )
    return manifest

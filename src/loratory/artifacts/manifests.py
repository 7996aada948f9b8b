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

from loratory.artifacts.durable_files import (
    exchange,
    make_folder,
    make_temporary_path,
    remove_leftovers,
    sync_path,
    to_json,
    translate_write_errors,
    write_text,
)
from loratory.artifacts.verified_files import VerifiedFiles, is_safe_name, open_inside
from loratory.errors import ArtifactError

MANIFEST = "manifest.json"
PREDICTOR_FILE = "predictor.json"  # of every artifact that answers
MANIFEST_FORMAT = 3  # of the whole folder: the names of its files and of their keys, too
OWN = "sha256"  # the last key of a manifest: SHA-256 of the file without it


def hash_file(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


_DIGEST_CACHE: dict[
    tuple[str, int, int, int], str
] = {}  # of this process alone: another may change a file and its time


def hash_file_cached(file: Path) -> str:
    """`hash_file` of a file that is asked for several times in one process, and was not touched since."""
    about = file.stat()
    key = (str(file.resolve()), about.st_size, about.st_mtime_ns, about.st_ino)
    if key not in _DIGEST_CACHE:
        _DIGEST_CACHE[key] = hash_file(file)
    return _DIGEST_CACHE[key]


def digest_of(value: object) -> str:
    """SHA-256 of a value's canonical JSON, hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def stage_artifact(final: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """A fresh folder that becomes `final` whole, or leaves no trace. `facts` go into the manifest.

    Raises StorageError when the disk refuses; an older `final` is then untouched.
    """
    part = make_temporary_path(final)
    with translate_write_errors(final):
        make_folder(final.parent)
        remove_leftovers(final)
        part.mkdir()
        try:
            yield part
            _write_manifest(part, facts)
            _replace_folder(part, final)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    digests = {file.relative_to(folder).as_posix(): hash_file(file) for file in files}
    for file in files:
        sync_path(file)
    (folder / MANIFEST).write_text(seal_manifest({**facts, "files": digests}), encoding="utf-8")
    sync_path(folder / MANIFEST)
    for inner in (folder, *(f for f in folder.rglob("*") if f.is_dir())):
        sync_path(inner)


def seal_manifest(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest: its format, what it says, and the digest of these, so that a changed one is known."""
    rest = {name: value for name, value in manifest.items() if name not in ("format", OWN)}
    text = to_json({"format": MANIFEST_FORMAT, **rest})
    return to_json({"format": MANIFEST_FORMAT, **rest, OWN: hashlib.sha256(text.encode()).hexdigest()})


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest of a folder; raises StorageError."""
    write_text(folder / MANIFEST, seal_manifest(manifest))


def _replace_folder(part: Path, final: Path) -> None:
    """`part` in the place of `final`: at one moment where the system can, else with a moment when there is neither.

    Whoever is stopped in that moment leaves the older one under a temporary name, from where `remove_leftovers` takes
    it back.
    """
    if final.is_dir() and exchange(part, final):
        sync_path(final.parent)
        shutil.rmtree(part, ignore_errors=True)
        return
    old = make_temporary_path(final, "old")
    if final.exists():
        os.replace(final, old)
    try:
        os.replace(part, final)
    except OSError:
        if old.exists():
            os.replace(old, final)
        raise
    sync_path(final.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def extend_artifact(folder: Path) -> Iterator[Path]:
    """Add top-level entries to a valid artifact: they move in first, then a longer manifest replaces the old one.

    At every moment the folder is valid: files that its manifest does not list do not exist for any reader, and those
    of an entry that is replaced are taken off the manifest before they change.
    """
    manifest = verify_artifact(folder)
    part = make_temporary_path(folder / "extending")
    with translate_write_errors(folder):
        remove_leftovers(folder / "extending")
        part.mkdir()
        try:
            yield part
            added = {f.relative_to(part).as_posix(): hash_file(f) for f in sorted(part.rglob("*")) if f.is_file()}
            for file in part.rglob("*"):
                sync_path(file)
            entries = list(part.iterdir())
            names = {entry.name for entry in entries}
            kept = {name: sha for name, sha in manifest["files"].items() if name.partition("/")[0] not in names}
            if kept != manifest["files"]:
                write_manifest(folder, {**manifest, "files": kept})
            for entry in entries:
                target = folder / entry.name
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(entry, target)
            sync_path(folder)
            write_manifest(folder, {**manifest, "files": dict(sorted({**kept, **added}.items()))})
        finally:
            shutil.rmtree(part, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None where there is none that can be read, or it is not as it was written."""
    data = _read_manifest_bytes(folder)
    return None if data is None else _parse_manifest(data)


def _read_manifest_bytes(folder: Path) -> bytes | None:
    try:
        with open_inside(folder, MANIFEST) as handle:
            return handle.read()
    except OSError:
        return None


def _parse_manifest(data: bytes) -> dict[str, Any] | None:
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return None
    return manifest if manifest.get("format") != MANIFEST_FORMAT or _is_whole(manifest, data) else None


def _is_whole(manifest: Mapping[str, Any], data: bytes) -> bool:
    """Whether these bytes are what `seal_manifest` makes of what they say."""
    try:
        return seal_manifest(manifest).encode() == data
    except (ValueError, TypeError, RecursionError):  # NaN, half of a surrogate pair
        return False


class Artifact(VerifiedFiles):
    """An artifact opened for reading: the files that its manifest lists, and no others. `release` names its state."""

    def __init__(self, folder: Path, manifest: dict[str, Any], manifest_digest: str) -> None:
        super().__init__(folder, manifest["files"])
        self.manifest, self.manifest_digest = manifest, manifest_digest

    def check_all(self) -> None:
        """Raise ArtifactError where any file differs from the manifest."""
        for name in self.manifest["files"]:
            self.check(name)


def open_artifact(folder: Path) -> Artifact:
    """The artifact in a folder, its manifest read once and each file checked when it is read; raises ArtifactError."""
    data = _read_manifest_bytes(folder)
    manifest = None if data is None else _parse_manifest(data)
    if data is None or manifest is None:
        raise ArtifactError(
            f"this folder has no valid {MANIFEST}, so nothing in it is loaded: it is missing, changed or damaged",
            where=str(folder),
            remedy=f"for a foreign model folder: loratory import {folder}; for a run: loratory run it again",
        )
    check_format(folder, manifest)
    _check_names(folder, manifest["files"])
    return Artifact(folder, manifest, hashlib.sha256(data).hexdigest())


def check_format(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise ArtifactError for a folder that another version of loratory wrote in another form."""
    if manifest.get("format") != MANIFEST_FORMAT:
        raise ArtifactError(
            f"the manifest is of format {manifest.get('format')!r}: another version of loratory wrote this folder",
            where=str(folder / MANIFEST),
            allowed=str(MANIFEST_FORMAT),
            remedy="open it with the version that wrote it, or run it again into another folder (--output)",
        )


def _check_names(folder: Path, files: Mapping[str, Any]) -> None:
    """Refuse names that leave the folder, and two that are one file where case does not count."""
    seen: dict[str, str] = {}
    for name, digest in files.items():
        if not is_safe_name(name) or not isinstance(digest, str):
            raise ArtifactError(
                f"the manifest lists {name!r}, which is no name of a file inside the folder, or has no digest",
                where=str(folder / MANIFEST),
                allowed="relative paths such as adapter/adapter_config.json, each with its SHA-256",
                remedy="restore the folder from a copy, or run the command that made it again",
            )
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ArtifactError(
                f"the manifest lists {other!r} and {name!r}, which differ in case alone",
                where=str(folder / MANIFEST),
                allowed="names that are different on every file system",
                remedy="restore the folder from a copy, or run the command that made it again",
            )


def verify_artifact(folder: Path) -> dict[str, Any]:
    """The manifest of a valid artifact; raises ArtifactError when there is none or a file differs from it."""
    artifact = open_artifact(folder)
    artifact.check_all()
    return artifact.manifest

"""The folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import check_format, read_manifest
from loratory.errors import SpecError
from loratory.specs.spec import Spec


@dataclass(frozen=True)
class RunPaths:
    """Where a run lives."""

    folder: Path

    @classmethod
    def for_spec(cls, spec: Spec, output: Path | None) -> RunPaths:
        """The folder asked for, or runs/<name>; raises SpecError where a file is in its way."""
        folder = output or Path("runs") / spec.name
        for there in (folder, *folder.parents):
            if there.exists() and not there.is_dir():
                raise SpecError("this is a file, not a folder", where=str(there), remedy="choose another --output")
        return cls(folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else writes into it meanwhile; raises StorageError, which names who does already."""
        with hold_lock(self.folder, 0):
            yield


def check_run_format(folder: Path) -> None:
    """Raise ArtifactError where another version wrote any part of a run: it is not gone on with, nor overwritten."""
    for part in (folder, folder / "data", *sorted(folder.glob("contenders/*/seed-*"))):
        if (manifest := read_manifest(part)) is not None:
            check_format(part, manifest)

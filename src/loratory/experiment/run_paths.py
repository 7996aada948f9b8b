"""The folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loratory.artifacts.locks import hold_lock
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

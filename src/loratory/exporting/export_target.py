"""The output of an export: folders with manifests that say which command made them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loratory import __version__
from loratory.artifacts.manifests import MANIFEST, Artifact, digest_of, read_manifest, stage_artifact
from loratory.errors import ArtifactError
from loratory.protocols import JSON

EXPORT_KIND = "export"
FIT_FACTS = ("contender", "regime", "base", "seed", "identity")


def describe_export(artifact: Artifact, source: Path, layout: str) -> dict[str, JSON]:
    """What the manifest of an export says; `command` is the same for the same place, contender and layout."""
    fit = {key: artifact.manifest.get(key) for key in FIT_FACTS}
    command = digest_of([str(source.resolve()), fit["contender"], layout])[:16]
    return {"kind": EXPORT_KIND, "layout": layout, "command": command, "loratory": __version__, "fit": fit}


@dataclass(frozen=True)
class StagedTarget:
    """An output folder, and the folders that were written: itself, or some in it."""

    output: Path
    facts: Mapping[str, JSON]  # of every manifest
    folders: list[Path] = field(default_factory=list)
    certify: Callable[[Path], None] | None = None  # measures a staged folder; raises ParityError to refuse it
    exact_member: Path | None = None

    def check_replaceable(self, *names: str) -> None:
        """Raise ArtifactError where a folder holds anything that this very command did not write."""
        for name in names:
            _check_replaceable(self._locate(name), str(self.facts["command"]))

    @contextmanager
    def stage(self, name: str = "", facts: Mapping[str, JSON] | None = None) -> Iterator[Path]:
        """A fresh folder that becomes the output, or the folder of that name in it, with these facts beside ours."""
        self.check_replaceable(name)
        folder = self._locate(name)
        with stage_artifact(folder, ChainMap({}, dict(self.facts), facts or {})) as part:  # type: ignore[arg-type]
            yield part
            if self.certify is not None:
                self.certify(part)
        self.folders.append(folder)

    def _locate(self, name: str) -> Path:
        return self.output / name if name else self.output


def _check_replaceable(target: Path, command: str) -> None:
    if not target.exists():
        return
    manifest = read_manifest(target)
    if manifest is None or manifest.get("command") != command:
        raise ArtifactError(
            "the output folder exists, and its manifest does not say that this command made it",
            where=str(target),
            remedy="choose another --output, or remove the folder",
        )
    listed = {*manifest["files"], MANIFEST}
    there = (f.relative_to(target).as_posix() for f in sorted(target.rglob("*")) if not f.is_dir())
    if strange := next((name for name in there if name not in listed), None):
        raise ArtifactError(
            "the output folder holds a file that this command did not write, which it would remove",
            where=str(target / strange),
            remedy="move the file away, or choose another --output",
        )

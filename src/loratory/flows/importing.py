"""`loratory import`: a foreign folder becomes an artifact; nothing without a manifest is loaded elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loratory import __version__
from loratory.artifacts.contents import Files, files_of
from loratory.artifacts.locks import held
from loratory.artifacts.manifests import open_artifact, read_manifest, staging
from loratory.errors import ArtifactError
from loratory.flows.opening import PREDICTOR
from loratory.protocols import Predictor


def import_folder(
    folder: Path, output: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> str:
    """Write `output` as an artifact of the foreign `folder`; returns which weights were taken. Raises ArtifactError.

    `base` is that of an adapter, `labels` name the outputs in their order, `scheme` says how tags of tokens are meant.
    """
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a Hugging Face or PEFT folder")
    with held(output, 0):
        return _import(folder, output, base, labels, scheme)


def _import(folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None) -> str:
    if output.exists():
        raise ArtifactError("the output folder exists", where=str(output), remedy="choose another --output")
    ours = PREDICTOR in (read_manifest(folder) or {"files": ()})["files"]
    if ours and not (base or labels or scheme):
        _copy(folder, output)
        return "whole"
    predictor, order = taken_in(folder, base, labels, scheme)
    from loratory.predictors import store

    with staging(output, _about(folder, order)) as part:
        store.write(part, predictor)
    return order


def taken_in(
    source: Path | Files, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> tuple[Predictor, str]:
    """A predictor of a foreign folder's weights, and which were taken; raises ArtifactError.

    Of an artifact no file is read that its manifest does not list.
    """
    from loratory.export.backbones import read_head, take_in_own
    from loratory.export.foreign import labels_in, locate, outputs_of, take_in

    files = files_of(source)
    found = locate(files, base)
    head = read_head(found)
    count = outputs_of(found.files(found.adapter) if found.adapter else None)
    names = labels_in(files, found.files(found.model), named=labels, count=count)
    return (take_in_own(names, found, head, scheme) if head else take_in(names, found, scheme)), found.order


def _about(folder: Path, order: str) -> dict[str, str]:
    return {"kind": "import", "source": folder.resolve().name, "order": order, "loratory": __version__}


def _copy(folder: Path, output: Path) -> None:
    """An artifact of our own as it is, each file checked as it is read; what its manifest does not list stays."""
    artifact = open_artifact(folder)
    with staging(output, _about(folder, "whole")) as part:
        for name in artifact.names():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(artifact.read(name))

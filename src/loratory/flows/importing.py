"""`loratory import`: a foreign folder becomes an artifact; nothing without a manifest is loaded elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from loratory import __version__
from loratory.artifacts.manifests import file_digest, read_manifest, staging, verified
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
    if output.exists():
        raise ArtifactError("the output folder exists", where=str(output), remedy="choose another --output")
    if (folder / PREDICTOR).is_file() and not (base or labels or scheme) and read_manifest(folder) is not None:
        _copy(folder, output)
        return "whole"
    predictor, order = taken_in(folder, base, labels, scheme)
    from loratory.predictors import store

    with staging(output, _about(folder, order)) as part:
        store.write(part, predictor)
    return order


def taken_in(
    folder: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> tuple[Predictor, str]:
    """A predictor of a foreign folder's weights, and which were taken; raises ArtifactError."""
    from loratory.export.backbones import read_head, take_in_own
    from loratory.export.foreign import labels_in, locate, outputs_of, take_in

    found = locate(folder, base)
    head = read_head(found)
    names = labels_in(folder, found.model, named=labels, count=outputs_of(found.adapter))
    return (take_in_own(names, found, head, scheme) if head else take_in(names, found, scheme)), found.order


def _about(folder: Path, order: str) -> dict[str, str]:
    return {"kind": "import", "source": folder.resolve().name, "order": order, "loratory": __version__}


def _copy(folder: Path, output: Path) -> None:
    """An artifact of our own as it is, checked against its manifest before and after; what it does not list stays."""
    files = verified(folder)["files"]
    with staging(output, _about(folder, "whole")) as part:
        for name, digest in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, part / name)
            if file_digest(part / name) != digest:
                raise ArtifactError("the copy differs from the manifest", where=str(part / name), remedy="try again")

"""`loratory import`: a foreign folder becomes an artifact; nothing without a manifest is loaded elsewhere."""

from __future__ import annotations

from pathlib import Path

from loratory import __version__
from loratory.artifacts.manifests import staging
from loratory.errors import ArtifactError


def import_folder(folder: Path, output: Path) -> str:
    """Write `output` as an artifact of the foreign `folder`; returns which weights were taken. Raises ArtifactError."""
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a Hugging Face or PEFT folder")
    if output.exists():
        raise ArtifactError("the output folder exists", where=str(output), remedy="choose another --output")
    from loratory.export.foreign import labels_in, locate, take_in
    from loratory.predictors import store

    found = locate(folder)
    predictor = take_in(folder, labels_in(folder, found.model), found)
    with staging(
        output, {"kind": "import", "source": str(folder), "order": found.order, "loratory": __version__}
    ) as part:
        store.write(part, predictor)
    return found.order

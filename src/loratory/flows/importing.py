"""`loratory import`: a foreign folder becomes an artifact; nothing without a manifest is loaded elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loratory import __version__
from loratory.artifacts.manifests import staging
from loratory.errors import ArtifactError


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
    from loratory.export.foreign import labels_in, locate, outputs_of, take_in
    from loratory.predictors import store

    found = locate(folder, base)
    names = labels_in(folder, found.model, named=labels, count=outputs_of(found.adapter))
    predictor = take_in(names, found, scheme)
    about = {"kind": "import", "source": folder.resolve().name, "order": found.order, "loratory": __version__}
    with staging(output, about) as part:
        store.write(part, predictor)
    return found.order

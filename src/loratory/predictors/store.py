"""A predictor as an artifact: its task, its own files, and a manifest over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loratory.artifacts.files import to_json
from loratory.artifacts.manifests import Artifact, open_artifact
from loratory.discovery import find, names
from loratory.errors import ArtifactError
from loratory.predictors.operated import FILE as POINT
from loratory.predictors.operated import Operated
from loratory.protocols import Labelled, Predictor, Trunks


def write(folder: Path, predictor: Predictor) -> None:
    """Fill a staging folder with a predictor and its contract."""
    task: Any = predictor.task
    if isinstance(predictor, Operated):
        predictor.save(folder)
        predictor = predictor.predictor
    kind = next(name for name in names("predictors") if find("predictors", name) is type(predictor))
    (folder / "predictor.json").write_text(to_json({"predictor": kind}), encoding="utf-8")
    (folder / "task.json").write_text(to_json(task.model_dump(mode="json")), encoding="utf-8")
    if isinstance(task, Labelled):
        (folder / "labels.json").write_text(to_json(label_maps(task.labels or ())), encoding="utf-8")
    predictor.save(folder)


def label_maps(labels: tuple[str, ...]) -> dict[str, Any]:
    """labels.json: both directions, so that nothing downstream re-indexes labels silently."""
    return {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def read(source: Path | Artifact, trunks: Trunks) -> Predictor:
    """The predictor of a valid artifact, at its operating point if it has one; raises ArtifactError."""
    artifact = _checked(source)
    return _loaded(artifact, trunks, Operated if artifact.has(POINT) else None)


def bare(source: Path | Artifact, trunks: Trunks) -> Predictor:
    """The predictor of a valid artifact without its operating point; raises ArtifactError."""
    return _loaded(_checked(source), trunks, None)


def _checked(source: Path | Artifact) -> Artifact:
    artifact = source if isinstance(source, Artifact) else open_artifact(source)
    artifact.check_all()  # what is not read is refused too where it was changed
    return artifact


def _loaded(artifact: Artifact, trunks: Trunks, around: type[Operated] | None) -> Predictor:
    """From bytes that have their digests; a file that the manifest does not list is not there for any reader."""
    if not (artifact.has("predictor.json") and artifact.has("task.json")):
        raise ArtifactError("this artifact holds no predictor", where=str(artifact.folder))
    try:
        kind, facts = artifact.json("predictor.json")["predictor"], artifact.json("task.json")
        task = find("tasks", facts["kind"]).model_validate(facts)
    except (KeyError, TypeError) as problem:
        raise ArtifactError("this artifact holds no predictor", where=str(artifact.folder)) from problem
    predictor: Predictor = (around or find("predictors", kind)).load(artifact, task, trunks)
    return predictor

"""A predictor as an artifact: its task, its own files, and a manifest over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import to_json
from loratory.artifacts.manifests import PREDICTOR_FILE, Artifact, open_artifact
from loratory.discovery import list_names, load_named
from loratory.errors import ArtifactError, ExtensionError
from loratory.predictors.calibrated import OPERATING_POINT_FILE as POINT
from loratory.predictors.calibrated import CalibratedPredictor
from loratory.protocols import BackbonePool, Labelled, Predictor


def find_kind(predictor: Predictor) -> str:
    """The name of its class in `loratory.predictors`, below an operating point. Raises ExtensionError without one."""
    if isinstance(predictor, CalibratedPredictor):
        predictor = predictor.predictor
    for name in list_names("predictors"):
        if load_named("predictors", name) is type(predictor):
            return name
    raise ExtensionError(
        f"{type(predictor).__name__} is no predictor that can be found again",
        where=f"module {type(predictor).__module__}",
        remedy='add its class to [project.entry-points."loratory.predictors"], and install the package again',
    )


def save_predictor(folder: Path, predictor: Predictor) -> None:
    """Fill a staging folder with a predictor and its contract."""
    task: Any = predictor.task
    if isinstance(predictor, CalibratedPredictor):
        predictor.save(folder)
        predictor = predictor.predictor
    kind = find_kind(predictor)
    (folder / PREDICTOR_FILE).write_text(to_json({"predictor": kind}), encoding="utf-8")
    (folder / "task.json").write_text(to_json(task.model_dump(mode="json")), encoding="utf-8")
    if isinstance(task, Labelled):
        (folder / "labels.json").write_text(to_json(build_label_maps(task.labels or ())), encoding="utf-8")
    predictor.save(folder)


def build_label_maps(labels: tuple[str, ...]) -> dict[str, Any]:
    """labels.json: both directions, so that nothing downstream re-indexes labels silently."""
    return {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def load_predictor(source: Path | Artifact, backbones: BackbonePool) -> Predictor:
    """The predictor of a valid artifact, at its operating point if it has one; raises ArtifactError."""
    artifact = _open_checked(source)
    return _load_from_artifact(artifact, backbones, CalibratedPredictor if artifact.has(POINT) else None)


def load_uncalibrated(source: Path | Artifact, backbones: BackbonePool) -> Predictor:
    """The predictor of a valid artifact without its operating point; raises ArtifactError."""
    return _load_from_artifact(_open_checked(source), backbones, None)


def _open_checked(source: Path | Artifact) -> Artifact:
    artifact = source if isinstance(source, Artifact) else open_artifact(source)
    artifact.check_all()  # what is not read is refused too where it was changed
    return artifact


def _load_from_artifact(
    artifact: Artifact, backbones: BackbonePool, wrapper: type[CalibratedPredictor] | None
) -> Predictor:
    """From bytes that have their digests; a file that the manifest does not list is not there for any reader."""
    if not (artifact.has(PREDICTOR_FILE) and artifact.has("task.json")):
        raise ArtifactError("this artifact holds no predictor", where=str(artifact.folder))
    try:
        kind, facts = artifact.read_json(PREDICTOR_FILE)["predictor"], artifact.read_json("task.json")
        task = load_named("tasks", facts["kind"]).model_validate(facts)
    except (KeyError, TypeError) as problem:
        raise ArtifactError("this artifact holds no predictor", where=str(artifact.folder)) from problem
    predictor: Predictor = (wrapper or load_named("predictors", kind)).load(artifact, task, backbones)
    return predictor

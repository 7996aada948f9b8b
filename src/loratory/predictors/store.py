"""A predictor as an artifact: its task, its own files, and a manifest over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loratory.artifacts.files import to_json
from loratory.artifacts.manifests import verified
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


def read(folder: Path, trunks: Trunks) -> Predictor:
    """The predictor of a valid artifact, at its operating point if it has one; raises ArtifactError."""
    return _loaded(folder, trunks, Operated if (folder / POINT).is_file() else None)


def bare(folder: Path, trunks: Trunks) -> Predictor:
    """The predictor of a valid artifact without its operating point; raises ArtifactError."""
    return _loaded(folder, trunks, None)


def _loaded(folder: Path, trunks: Trunks, around: type[Operated] | None) -> Predictor:
    verified(folder)
    try:
        kind = json.loads((folder / "predictor.json").read_text(encoding="utf-8"))["predictor"]
        facts = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as problem:
        raise ArtifactError("this artifact holds no predictor", where=str(folder)) from problem
    task = find("tasks", facts["kind"]).model_validate(facts)
    predictor: Predictor = (around or find("predictors", kind)).load(folder, task, trunks)
    return predictor

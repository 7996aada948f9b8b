"""`loratory export`: a fit as folders that other programs open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import (
    MANIFEST,
    PREDICTOR_FILE,
    digest_of,
    open_artifact,
    read_manifest,
    stage_artifact,
)
from loratory.artifacts.verified_files import VerifiedFiles
from loratory.errors import ArtifactError, SpecError, suggest_nearest
from loratory.experiment.artifact_lookup import find_fit_folder
from loratory.integrations.semantic_router.router_names import MERGED_SUFFIX, ROUTER_TASKS
from loratory.predictors.calibrated import OPERATING_POINT_FILE as POINT
from loratory.predictors.span_rules import SPAN_RULES_FILE as FINDERS

POINT_NOT_EXPORTED = (
    "the fit's operating point stays behind: stock classes know no temperature, threshold or abstention"
)
SPAN_RULES_NOT_EXPORTED = (
    "the fit's validators stay behind: stock classes give what the head says of a text, and no more"
)
POINT_ONLY_IN_LORATORY = (
    "stock classes know no temperature, threshold or abstention: loratory alone answers at the fit's point"
)
SPAN_RULES_ONLY_IN_LORATORY = (
    "stock classes give what the head says of a text: loratory alone adds what validators find"
)
ROUTER_ORDER_WARNING = (
    "the router takes a task's first folder in the order of names: let it walk one with the _rust twins alone"
)


ARTIFACT_FILES = (  # what predictors.store reads
    PREDICTOR_FILE,
    "task.json",
    "labels.json",
    "encoder.json",
    "head.safetensors",
    "decoder.json",
    "prompt.yaml",
    POINT,
    FINDERS,
)


@dataclass(frozen=True)
class ExportRequest:
    """What a person asked for."""

    source: Path
    contender: str | None
    layout: str
    output: Path
    task_name: str | None = None
    with_adapter: bool = True


@dataclass(frozen=True)
class ExportResult:
    """What was written, and what to know about it."""

    folders: list[Path]
    notes: list[str] = field(default_factory=list)


def export_fit(request: ExportRequest) -> ExportResult:
    """Write what was asked for; raises LoratoryError before anything is written where it cannot be."""
    if request.layout not in EXPORT_LAYOUTS:
        raise SpecError(
            f"there is no layout {request.layout!r}{suggest_nearest(request.layout, EXPORT_LAYOUTS)}",
            where="--layout",
            allowed=", ".join(EXPORT_LAYOUTS),
        )
    if request.task_name is not None and (request.layout != "router" or request.task_name not in ROUTER_TASKS):
        raise SpecError(
            f"there is no task {request.task_name!r} of --layout "
            f"{request.layout}{suggest_nearest(request.task_name, ROUTER_TASKS)}",
            where="--task-name",
            allowed=f"{', '.join(ROUTER_TASKS)} with --layout router",
        )
    if request.output.exists() and not request.output.is_dir():
        raise ArtifactError("the output is a file", where=str(request.output), allowed="a folder")
    with hold_lock(request.output, 0):
        return EXPORT_LAYOUTS[request.layout](request)


def _manifest_facts(request: ExportRequest, manifest: Mapping[str, Any], task: str | None = None) -> dict[str, Any]:
    """What the manifest says; `command` is the same for the same place, contender, layout and task of the router."""
    fit = {key: manifest.get(key) for key in ("contender", "regime", "base", "seed", "identity")}
    command = digest_of([str(request.source.resolve()), fit["contender"], request.layout, task])[:16]
    about = {"kind": "export", "layout": request.layout, "command": command, "loratory": __version__, "fit": fit}
    return about | ({"task": task} if task else {})


def _check_replaceable(target: Path, command: str) -> None:
    """Raises ArtifactError where there is anything that this very command did not write."""
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


def _export_stock(request: ExportRequest) -> ExportResult:
    """Copy what stock libraries open as it lies in the fit, and what makes the copy an artifact of ours."""
    folder = find_fit_folder(request.source, request.contender)
    artifact = open_artifact(folder)
    artifact.check_all()
    manifest = artifact.manifest
    files = {name: sha for name, sha in manifest["files"].items() if _is_stock(name)}
    if not any(name.startswith("merged/") for name in files):
        raise ArtifactError(
            "nothing that stock libraries open lies beside this fit",
            where=str(folder),
            allowed="the fit of lora, qlora or a tuned writer that ships; loratory run writes them beside it",
            remedy="--contender NAME of one of these",
        )
    about = _manifest_facts(request, manifest)
    _check_replaceable(request.output, about["command"])
    with stage_artifact(request.output, about) as part:
        for name in files:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(artifact.read(name))
    return ExportResult(
        [request.output], _describe_left_behind(artifact, POINT_ONLY_IN_LORATORY, SPAN_RULES_ONLY_IN_LORATORY)
    )


def _describe_left_behind(
    fit: VerifiedFiles, point: str = POINT_NOT_EXPORTED, span_rules: str = SPAN_RULES_NOT_EXPORTED
) -> list[str]:
    """What stock classes cannot carry."""
    return [said for file, said in ((POINT, point), (FINDERS, span_rules)) if fit.has(file)]


def _is_stock(name: str) -> bool:
    top = name.partition("/")[0]
    return top in ("adapter", "merged", "README.md", *ARTIFACT_FILES) or top.startswith("base_")


def _export_router(request: ExportRequest) -> ExportResult:
    """The adapter's folder and its merged twin, under the router's names."""
    folder = find_fit_folder(request.source, request.contender)  # a mistake is told before the libraries are loaded
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.integrations.semantic_router.router_layout import (
        check_router_fit,
        list_export_notes,
        write_merged_model,
        write_router_adapter,
    )
    from loratory.predictors import predictor_files

    artifact = open_artifact(folder)
    fit = check_router_fit(predictor_files.load_uncalibrated(artifact, TorchBackbonePool()), request.task_name)
    about = _manifest_facts(request, artifact.manifest, fit.task)
    plain, twin = request.output / fit.folder_name, request.output / f"{fit.folder_name}{MERGED_SUFFIX}"
    targets = [plain, twin] if request.with_adapter else [twin]
    for target in targets:
        _check_replaceable(target, about["command"])
    said = {key: about["fit"][key] for key in ("contender", "seed")}
    facts = {**about, "apart": 0.0}  # how far the twin's probabilities lie from the fit's: known when it is written
    with stage_artifact(twin, facts) as part:
        facts["apart"] = write_merged_model(part, fit, said)
    if request.with_adapter:
        with stage_artifact(plain, about) as part:
            write_router_adapter(part, fit, said)
    return ExportResult(
        targets,
        [
            *list_export_notes(fit),
            *_describe_left_behind(artifact),
            *([ROUTER_ORDER_WARNING] if request.with_adapter else []),
        ],
    )


EXPORT_LAYOUTS: Mapping[str, Callable[[ExportRequest], ExportResult]] = {
    "stock": _export_stock,
    "router": _export_router,
}

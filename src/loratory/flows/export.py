"""`loratory export`: a fit as folders that other programs open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.contents import Files
from loratory.artifacts.locks import held
from loratory.artifacts.manifests import MANIFEST, digest_of, open_artifact, read_manifest, staging
from loratory.errors import ArtifactError, SpecError, nearest
from loratory.export.naming import JOBS, TWIN
from loratory.flows.opening import fit_folder
from loratory.predictors.finders import FILE as FINDERS
from loratory.predictors.operated import FILE as POINT

POINT_STAYS = "the fit's operating point stays behind: stock classes know no temperature, threshold or abstention"
FINDERS_STAY = "the fit's recognisers stay behind: stock classes give what the head says of a text, and no more"
POINT_WITHIN = "stock classes know no temperature, threshold or abstention: loratory alone answers at the fit's point"
FINDERS_WITHIN = "stock classes give what the head says of a text: loratory alone adds what recognisers find"
FIRST = "the router takes a task's first folder in the order of names: let it walk one with the _rust twins alone"


ARTIFACT = (  # what predictors.store reads
    "predictor.json",
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
class Asked:
    """What a person asked for."""

    where: Path
    contender: str | None
    layout: str
    output: Path
    task_name: str | None = None
    with_adapter: bool = True


@dataclass(frozen=True)
class Exported:
    """What was written, and what to know about it."""

    folders: list[Path]
    notes: list[str] = field(default_factory=list)


def export(asked: Asked) -> Exported:
    """Write what was asked for; raises LoratoryError before anything is written where it cannot be."""
    if asked.layout not in LAYOUTS:
        raise SpecError(
            f"there is no layout {asked.layout!r}{nearest(asked.layout, LAYOUTS)}",
            where="--layout",
            allowed=", ".join(LAYOUTS),
        )
    if asked.task_name is not None and (asked.layout != "router" or asked.task_name not in JOBS):
        raise SpecError(
            f"there is no task {asked.task_name!r} of --layout {asked.layout}{nearest(asked.task_name, JOBS)}",
            where="--task-name",
            allowed=f"{', '.join(JOBS)} with --layout router",
        )
    if asked.output.exists() and not asked.output.is_dir():
        raise ArtifactError("the output is a file", where=str(asked.output), allowed="a folder")
    with held(asked.output, 0):
        return LAYOUTS[asked.layout](asked)


def _about(asked: Asked, manifest: Mapping[str, Any], task: str | None = None) -> dict[str, Any]:
    """What the manifest says; `command` is the same for the same place, contender, layout and task of the router."""
    fit = {key: manifest.get(key) for key in ("contender", "regime", "base", "seed", "identity")}
    command = digest_of([str(asked.where.resolve()), fit["contender"], asked.layout, task])[:16]
    about = {"kind": "export", "layout": asked.layout, "command": command, "loratory": __version__, "fit": fit}
    return about | ({"task": task} if task else {})


def _free(target: Path, command: str) -> None:
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


def _stock(asked: Asked) -> Exported:
    """Copy what stock libraries open as it lies in the fit, and what makes the copy an artifact of ours."""
    folder = fit_folder(asked.where, asked.contender)
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
    about = _about(asked, manifest)
    _free(asked.output, about["command"])
    with staging(asked.output, about) as part:
        for name in files:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(artifact.read(name))
    return Exported([asked.output], _left_behind(artifact, POINT_WITHIN, FINDERS_WITHIN))


def _left_behind(fit: Files, point: str = POINT_STAYS, finders: str = FINDERS_STAY) -> list[str]:
    """What stock classes cannot carry."""
    return [said for file, said in ((POINT, point), (FINDERS, finders)) if fit.has(file)]


def _is_stock(name: str) -> bool:
    top = name.partition("/")[0]
    return top in ("adapter", "merged", "README.md", *ARTIFACT) or top.startswith("base_")


def _router(asked: Asked) -> Exported:
    """The adapter's folder and its merged twin, under the router's names."""
    folder = fit_folder(asked.where, asked.contender)  # a mistake is told before the libraries are loaded
    from loratory.export.router import notes, routed, write_adapter, write_twin
    from loratory.models.trunks import Pool
    from loratory.predictors import store

    artifact = open_artifact(folder)
    fit = routed(store.bare(artifact, Pool()), asked.task_name)
    about = _about(asked, artifact.manifest, fit.task)
    plain, twin = asked.output / fit.folder, asked.output / f"{fit.folder}{TWIN}"
    targets = [plain, twin] if asked.with_adapter else [twin]
    for target in targets:
        _free(target, about["command"])
    said = {key: about["fit"][key] for key in ("contender", "seed")}
    facts = {**about, "apart": 0.0}  # how far the twin's probabilities lie from the fit's: known when it is written
    with staging(twin, facts) as part:
        facts["apart"] = write_twin(part, fit, said)
    if asked.with_adapter:
        with staging(plain, about) as part:
            write_adapter(part, fit, said)
    return Exported(targets, [*notes(fit), *_left_behind(artifact), *([FIRST] if asked.with_adapter else [])])


LAYOUTS: Mapping[str, Callable[[Asked], Exported]] = {"stock": _stock, "router": _router}

"""From a path that a person names (a run, a contender, a fit, an imported folder) to a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import translate_write_errors
from loratory.artifacts.manifests import (
    MANIFEST,
    PREDICTOR_FILE,
    Artifact,
    hash_file,
    open_artifact,
    read_manifest,
    write_manifest,
)
from loratory.artifacts.verified_files import UnlistedFiles, VerifiedFiles
from loratory.errors import ArtifactError, suggest_nearest
from loratory.protocols import JSON, BackbonePool, Predictor
from loratory.specs.spec import NAME_PATTERN, NAME_RULE

LADDER_FILE, RUN_KIND, FIT_KIND = "ladder.json", "run", "fit"
GOLDEN_FILE = "golden.jsonl"  # the texts on which every form of a fit is compared with it
COVERED_FILES = (LADDER_FILE, GOLDEN_FILE, "verdict.json", "report.html", "spec.lock.yaml", "environment.json")
METRICS_FILE = "metrics.json"  # beside a fit that has answered the test set


def find_fit_folder(path: Path, contender: str | None = None) -> Path:
    """The artifact folder: of a run the recommended contender's shipped fit, or that of `contender`.

    A name that is no folder may be a release of the registry: tickets@champion, tickets@3.
    """
    if not path.is_dir() and (release := _find_release_folder(path)):
        return release
    if not path.is_dir():
        raise ArtifactError("there is no such folder", where=str(path), allowed="a run, a fit or an imported folder")
    if own := _find_artifact(path):
        return own
    run = open_run(path)
    ladder = read_ladder_of(run)
    name = contender or ladder["verdict"]["recommended"]
    rows = {row["name"]: row for row in ladder["contenders"] if row["status"] == "fitted"}
    if name not in rows:
        raise ArtifactError(
            f"the run has no fitted contender {name!r}{suggest_nearest(str(name), rows)}"
            if rows
            else "no contender was fitted",
            where=str(path),
            allowed=", ".join(rows),
        )
    inner = f"contenders/{name}/seed-{rows[name]['shipped_seed']}"
    folder = path / inner
    if METRICS_FILE not in (read_manifest(folder) or {"files": (METRICS_FILE,)})["files"]:
        raise ArtifactError(
            f"{name} was fitted again after the ladder was made, so its evidence is not this fit's",
            where=str(folder),
            remedy="loratory run it again; or name this folder itself to use the fit without evidence",
        )
    if run.has(f"{inner}/{MANIFEST}"):
        _check_fit_unchanged(run, f"{inner}/{MANIFEST}")
    return folder


def _find_release_folder(path: Path) -> Path | None:
    """The files of the release that a path names; None where it is written as no release is."""
    from loratory.registry.releases import parse_reference

    if parse_reference(str(path)) is None:
        return None
    from loratory.registry.registry import Registry, find_registry_folder

    registry = Registry(find_registry_folder())
    return registry.checkout(registry.find(str(path)))


def _find_artifact(path: Path) -> Path | None:
    """The artifact that a path names: itself, an exported folder, or the one above of `merged/` and its like."""
    manifest = read_manifest(path)
    if manifest is not None and (PREDICTOR_FILE in manifest["files"] or manifest.get("kind") == "export"):
        return path
    above = path.resolve().parent
    listed = (read_manifest(above) or {"files": ()})["files"] if manifest is None else ()
    inside = PREDICTOR_FILE in listed and any(name.startswith(f"{path.resolve().name}/") for name in listed)
    return above if inside else None


def name_artifact(path: Path) -> str:
    """What an artifact is called: a fit as its contender, also where merged/ or the like inside it is named; any other
    folder as the artifact's folder.
    """
    folder = _find_artifact(path) or path
    manifest = read_manifest(folder) or {}
    contender = manifest.get("contender") if manifest.get("kind") == FIT_KIND else None
    return contender if isinstance(contender, str) and contender else folder.resolve().name


def read_predictor(source: Path | Artifact, backbones: BackbonePool) -> Predictor:
    """The predictor of an artifact; an exported folder without one of its own is read as stock libraries read it.

    Raises ArtifactError.
    """
    from loratory.predictors import predictor_files

    artifact = source if isinstance(source, Artifact) else open_artifact(source)
    if artifact.has(PREDICTOR_FILE):
        return predictor_files.load_predictor(artifact, backbones)
    artifact.check_all()
    from loratory.importing.import_folder import build_predictor

    return build_predictor(artifact)[0]


def _check_fit_unchanged(run: VerifiedFiles, name: str) -> None:
    """Raise ArtifactError where the fit is not the one whose evidence the ladder is."""
    try:
        run.check(name)
    except ArtifactError as problem:
        raise ArtifactError(
            "the fit was changed, exchanged or measured again after the ladder was made",
            where=problem.where,
            remedy=f"loratory report {run.folder} makes the evidence again from the fits' own rows",
        ) from problem


def open_run(path: Path) -> Artifact:
    """A finished run, each of its own files checked when it is read; raises ArtifactError."""
    if not (path / LADDER_FILE).is_file():
        raise _not_a_run_error(path)
    manifest = read_manifest(path)
    if manifest is None or manifest.get("kind") != RUN_KIND:
        raise ArtifactError(
            f"the run has no {MANIFEST} that covers {LADDER_FILE}: it is of an older version, or was stopped "
            "while writing",
            where=str(path),
            remedy=f"loratory report {path} makes its evidence again from the fits' own rows",
        )
    return open_artifact(path)


def read_ladder(path: Path) -> dict[str, Any]:
    """ladder.json of a run, with the digest that the run's manifest says; raises ArtifactError."""
    return read_ladder_of(open_run(path))


def read_ladder_of(run: VerifiedFiles) -> dict[str, Any]:
    """Its ladder.json, whose names of contenders are names of folders in it; raises ArtifactError."""
    try:
        value = run.read_json(LADDER_FILE)
    except ArtifactError as problem:
        remedy = f"loratory report {run.folder} makes its evidence again from the fits' own rows"
        raise ArtifactError(problem.problem, where=problem.where, allowed=problem.allowed, remedy=remedy) from problem
    return _check_ladder(value, run.folder)


def _check_ladder(value: JSON, path: Path) -> dict[str, Any]:
    try:
        ladder = dict(value)
        if not ladder["verdict"] or not isinstance(ladder["contenders"], list):
            raise ValueError
        _check_rows(ladder["contenders"], path)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _not_a_run_error(path) from None
    return ladder


def read_unsealed_ladder(path: Path) -> dict[str, Any]:
    """ladder.json of a run as it lies there, to make the evidence again from the fits; raises ArtifactError."""
    if not (path / LADDER_FILE).is_file():
        raise _not_a_run_error(path)
    try:
        value = UnlistedFiles(path).read_json(LADDER_FILE)
    except ArtifactError as problem:
        raise _not_a_run_error(path) from problem
    return _check_ladder(value, path)


def _check_rows(rows: Sequence[Any], path: Path) -> None:
    for row in rows:
        seeds = [row.get("shipped_seed") or 0, *(row.get("seeds") or ())]
        if not NAME_PATTERN.fullmatch(str(row["name"])) or not all(type(seed) is int and seed >= 0 for seed in seeds):
            raise ArtifactError(
                f"ladder.json names a contender {str(row['name'])[:60]!r}, which is no name of a folder of this run",
                where=str(path / LADDER_FILE),
                allowed=NAME_RULE,
            )


def _not_a_run_error(path: Path) -> ArtifactError:
    return ArtifactError(
        f"neither a run (ladder.json) nor an artifact ({MANIFEST})",
        where=str(path),
        remedy="finish it with loratory run, or take in a foreign model with loratory import",
    )


def seal_run(path: Path) -> None:
    """Write the run's manifest, last of all: its ladder, verdict, report and spec, and the manifests of its fits.

    What other commands add to a run later (stress.json) is not covered. Raises StorageError.
    """
    own = [name for name in COVERED_FILES if (path / name).is_file()]
    fits = sorted(path.glob(f"contenders/*/seed-*/{MANIFEST}"))
    names = [*own, *(file.relative_to(path).as_posix() for file in fits)]
    write_manifest(path, {"kind": RUN_KIND, "files": {name: hash_file(path / name) for name in names}})


def unseal_run(path: Path) -> None:
    """Take the manifest away before what it covers changes: a run that is stopped meanwhile has none."""
    with translate_write_errors(path):
        (path / MANIFEST).unlink(missing_ok=True)


def open_predictor(path: Path, contender: str | None = None) -> tuple[Predictor, Path]:
    """A verified predictor and its folder."""
    folder = find_fit_folder(path, contender)  # a mistake is told before the libraries are loaded
    from loratory.backbones.pool import TorchBackbonePool

    return read_predictor(folder, TorchBackbonePool()), folder

"""From a path that a person names (a run, a contender, a fit, an imported folder) to a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loratory.artifacts.contents import Files, Seen
from loratory.artifacts.files import storage
from loratory.artifacts.manifests import MANIFEST, Artifact, file_digest, open_artifact, read_manifest, write_manifest
from loratory.errors import ArtifactError, nearest
from loratory.protocols import Predictor, Trunks
from loratory.specs.frame import NAME, NAMED

PREDICTOR = "predictor.json"  # of every artifact that answers
LADDER, RUN = "ladder.json", "run"
COVERED = (LADDER, "verdict.json", "report.html", "spec.lock.yaml", "environment.json")
METRICS = "metrics.json"  # beside a fit that has answered the test set


def fit_folder(path: Path, contender: str | None = None) -> Path:
    """The artifact folder: of a run the recommended contender's shipped fit, or that of `contender`."""
    if not path.is_dir():
        raise ArtifactError("there is no such folder", where=str(path), allowed="a run, a fit or an imported folder")
    if own := _artifact(path):
        return own
    run = open_run(path)
    ladder = ladder_of(run)
    name = contender or ladder["verdict"]["recommended"]
    rows = {row["name"]: row for row in ladder["contenders"] if row["status"] == "fitted"}
    if name not in rows:
        raise ArtifactError(
            f"the run has no fitted contender {name!r}{nearest(str(name), rows)}"
            if rows
            else "no contender was fitted",
            where=str(path),
            allowed=", ".join(rows),
        )
    inner = f"contenders/{name}/seed-{rows[name]['shipped_seed']}"
    folder = path / inner
    if METRICS not in (read_manifest(folder) or {"files": (METRICS,)})["files"]:
        raise ArtifactError(
            f"{name} was fitted again after the ladder was made, so its evidence is not this fit's",
            where=str(folder),
            remedy="loratory run it again; or name this folder itself to use the fit without evidence",
        )
    if run.has(f"{inner}/{MANIFEST}"):
        _check_fit(run, f"{inner}/{MANIFEST}")
    return folder


def _artifact(path: Path) -> Path | None:
    """The artifact that a path names: itself, an exported folder, or the one above of `merged/` and its like."""
    manifest = read_manifest(path)
    if manifest is not None and (PREDICTOR in manifest["files"] or manifest.get("kind") == "export"):
        return path
    above = path.resolve().parent
    listed = (read_manifest(above) or {"files": ()})["files"] if manifest is None else ()
    inside = PREDICTOR in listed and any(name.startswith(f"{path.resolve().name}/") for name in listed)
    return above if inside else None


def read_predictor(source: Path | Artifact, trunks: Trunks) -> Predictor:
    """The predictor of an artifact; an exported folder without one of its own is read as stock libraries read it.

    Raises ArtifactError.
    """
    from loratory.predictors import store

    artifact = source if isinstance(source, Artifact) else open_artifact(source)
    if artifact.has(PREDICTOR):
        return store.read(artifact, trunks)
    artifact.check_all()
    from loratory.flows.importing import build_predictor

    return build_predictor(artifact)[0]


def _check_fit(run: Files, name: str) -> None:
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
    if not (path / LADDER).is_file():
        raise _no_run(path)
    manifest = read_manifest(path)
    if manifest is None or manifest.get("kind") != RUN:
        raise ArtifactError(
            f"the run has no {MANIFEST} that covers {LADDER}: it is of an older version, or was stopped while writing",
            where=str(path),
            remedy=f"loratory report {path} makes its evidence again from the fits' own rows",
        )
    return open_artifact(path)


def read_ladder(path: Path) -> dict[str, Any]:
    """ladder.json of a run, with the digest that the run's manifest says; raises ArtifactError."""
    return ladder_of(open_run(path))


def ladder_of(run: Files) -> dict[str, Any]:
    """Its ladder.json, whose names of contenders are names of folders in it; raises ArtifactError."""
    try:
        value = run.json(LADDER)
    except ArtifactError as problem:
        remedy = f"loratory report {run.folder} makes its evidence again from the fits' own rows"
        raise ArtifactError(problem.problem, where=problem.where, allowed=problem.allowed, remedy=remedy) from problem
    return _shaped(value, run.folder)


def _shaped(value: Any, path: Path) -> dict[str, Any]:
    try:
        ladder = dict(value)
        if not ladder["verdict"] or not isinstance(ladder["contenders"], list):
            raise ValueError
        _check_rows(ladder["contenders"], path)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _no_run(path) from None
    return ladder


def unsealed_ladder(path: Path) -> dict[str, Any]:
    """ladder.json of a run as it lies there, to make the evidence again from the fits; raises ArtifactError."""
    if not (path / LADDER).is_file():
        raise _no_run(path)
    try:
        value = Seen(path).json(LADDER)
    except ArtifactError as problem:
        raise _no_run(path) from problem
    return _shaped(value, path)


def _check_rows(rows: Sequence[Any], path: Path) -> None:
    for row in rows:
        seeds = [row.get("shipped_seed") or 0, *(row.get("seeds") or ())]
        if not NAME.fullmatch(str(row["name"])) or not all(type(seed) is int and seed >= 0 for seed in seeds):
            raise ArtifactError(
                f"ladder.json names a contender {str(row['name'])[:60]!r}, which is no name of a folder of this run",
                where=str(path / LADDER),
                allowed=NAMED,
            )


def _no_run(path: Path) -> ArtifactError:
    return ArtifactError(
        f"neither a run (ladder.json) nor an artifact ({MANIFEST})",
        where=str(path),
        remedy="finish it with loratory run, or take in a foreign model with loratory import",
    )


def seal_run(path: Path) -> None:
    """Write the run's manifest, last of all: its ladder, verdict, report and spec, and the manifests of its fits.

    What other commands add to a run later (stress.json) is not covered. Raises StorageError.
    """
    own = [name for name in COVERED if (path / name).is_file()]
    fits = sorted(path.glob(f"contenders/*/seed-*/{MANIFEST}"))
    names = [*own, *(file.relative_to(path).as_posix() for file in fits)]
    write_manifest(path, {"kind": RUN, "files": {name: file_digest(path / name) for name in names}})


def unseal_run(path: Path) -> None:
    """Take the manifest away before what it covers changes: a run that is stopped meanwhile has none."""
    with storage(path):
        (path / MANIFEST).unlink(missing_ok=True)


def open_predictor(path: Path, contender: str | None = None) -> tuple[Predictor, Path]:
    """A verified predictor and its folder."""
    folder = fit_folder(path, contender)  # a mistake is told before the libraries are loaded
    from loratory.models.trunks import Pool

    return read_predictor(folder, Pool()), folder

"""From a path that a person names (a run, a contender, a fit, an imported folder) to a predictor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import MANIFEST, read_manifest, verified
from loratory.errors import ArtifactError, nearest
from loratory.protocols import Predictor, Trunks

PREDICTOR = "predictor.json"  # of every artifact that answers
METRICS = "metrics.json"  # beside a fit that has answered the test set


def fit_folder(path: Path, contender: str | None = None) -> Path:
    """The artifact folder: of a run the recommended contender's shipped fit, or that of `contender`."""
    if not path.is_dir():
        raise ArtifactError("there is no such folder", where=str(path), allowed="a run, a fit or an imported folder")
    if own := _artifact(path):
        return own
    ladder = read_ladder(path)
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
    folder = path / "contenders" / name / f"seed-{rows[name]['shipped_seed']}"
    if METRICS not in (read_manifest(folder) or {"files": (METRICS,)})["files"]:
        raise ArtifactError(
            f"{name} was fitted again after the ladder was made, so its evidence is not this fit's",
            where=str(folder),
            remedy="loratory run it again; or name this folder itself to use the fit without evidence",
        )
    return folder


def _artifact(path: Path) -> Path | None:
    """The artifact that a path names: itself, an exported folder, or the one above of `merged/` and its like."""
    manifest = read_manifest(path)
    if manifest is not None and ((path / PREDICTOR).is_file() or manifest.get("kind") == "export"):
        return path
    above = path.resolve().parent
    listed = (read_manifest(above) or {"files": ()})["files"] if manifest is None else ()
    inside = PREDICTOR in listed and any(name.startswith(f"{path.resolve().name}/") for name in listed)
    return above if inside else None


def read_predictor(folder: Path, trunks: Trunks) -> Predictor:
    """The predictor of an artifact; an exported folder without one of its own is read as stock libraries read it.

    Raises ArtifactError.
    """
    from loratory.predictors import store

    if (folder / PREDICTOR).is_file():
        return store.read(folder, trunks)
    verified(folder)
    from loratory.flows.importing import taken_in

    return taken_in(folder)[0]


def read_ladder(path: Path) -> dict[str, Any]:
    """ladder.json of a run; raises ArtifactError."""
    try:
        ladder = dict(json.loads((path / "ladder.json").read_text(encoding="utf-8")))
        if not ladder["verdict"] or not isinstance(ladder["contenders"], list):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError):
        raise ArtifactError(
            f"neither a run (ladder.json) nor an artifact ({MANIFEST})",
            where=str(path),
            remedy="finish it with loratory run, or take in a foreign model with loratory import",
        ) from None
    return ladder


def open_predictor(path: Path, contender: str | None = None) -> tuple[Predictor, Path]:
    """A verified predictor and its folder."""
    folder = fit_folder(path, contender)  # a mistake is told before the libraries are loaded
    from loratory.models.trunks import Pool

    return read_predictor(folder, Pool()), folder

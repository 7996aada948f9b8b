"""`loratory register`: a run's fit with its evidence, as a release of the registry.

Everything is read through the run's own manifest, so what is registered is what was measured. The data stays where it
is: the release holds the digests of its parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loratory import __version__
from loratory.artifacts.manifests import MANIFEST, Artifact, open_artifact, read_manifest, seal_manifest
from loratory.backbones.loading.bases import origin_of
from loratory.errors import ArtifactError
from loratory.evaluation.prediction_rows import read_predictions
from loratory.experiment.artifact_lookup import METRICS_FILE, find_fit_folder, open_run, read_ladder_of
from loratory.protocols import JSON
from loratory.registry.evidence_rows import keep_rows
from loratory.registry.registry import Registry
from loratory.registry.releases import Release, ReleaseContents
from loratory.specs.yaml_files import parse_yaml

EVIDENCE_FILES: Mapping[str, str] = {"validation": "validation.parquet", "test": "test_predictions.parquet"}


def register_run(
    registry: Registry, folder: Path, contender: str | None = None, name: str | None = None, by: str | None = None
) -> Release:
    """Register the recommended contender of a run, or `contender`, under `name` (by default the run's own).

    Raises ArtifactError where the run is unfinished or was changed after it was sealed, and StorageError.
    """
    run = open_run(folder)
    ladder = read_ladder_of(run)
    fit = open_artifact(find_fit_folder(folder, contender))
    fit.check_all()
    chosen = str(fit.manifest["contender"])
    rows = [row for row in ladder["contenders"] if row["status"] == "fitted"]
    evidence = {str(row["name"]): _keep_evidence(registry, _open_shipped_fit(run, row)) for row in rows}
    contents = ReleaseContents(_keep_files(registry, fit), evidence, _collect_facts(run, ladder, fit, chosen))
    return registry.register(name or str(ladder["name"]), contents, by)


def _open_shipped_fit(run: Artifact, row: Mapping[str, Any]) -> Artifact:
    inner = f"contenders/{row['name']}/seed-{row['shipped_seed']}"
    if not run.has(f"{inner}/{MANIFEST}"):
        raise ArtifactError(
            f"the run's manifest does not cover the fit of {row['name']}",
            where=str(run.folder / inner),
            remedy=f"loratory report {run.folder} makes the evidence again from the fits' own rows",
        )
    run.check(f"{inner}/{MANIFEST}")
    return open_artifact(run.folder / inner)


def _keep_evidence(registry: Registry, fit: Artifact) -> dict[str, str]:
    return {
        part: keep_rows(registry.objects, read_predictions(fit.folder / file, fit.read(file)))
        for part, file in EVIDENCE_FILES.items()
    }


def _keep_files(registry: Registry, fit: Artifact) -> dict[str, str]:
    """The files of the fit, under a manifest of their own without the rows that hold texts: the evidence has them."""
    left_out = set(EVIDENCE_FILES.values())
    kept = {name: registry.objects.add(fit.folder / name) for name in fit.manifest["files"] if name not in left_out}
    manifest = seal_manifest({**fit.manifest, "fit": fit.manifest_digest, "files": dict(sorted(kept.items()))})
    return {**kept, MANIFEST: registry.objects.add_bytes(manifest.encode())}


def _collect_facts(run: Artifact, ladder: Mapping[str, Any], fit: Artifact, contender: str) -> dict[str, JSON]:
    rows = {row["name"]: row for row in ladder["contenders"]}
    spec, _ = parse_yaml(run.read_text("spec.lock.yaml"), run.folder / "spec.lock.yaml")
    base = fit.manifest.get("base")
    data = (read_manifest(run.folder / "data") or {"files": {}})["files"]
    row = rows[contender]
    return {
        "loratory": __version__,
        "run": run.manifest_digest,
        "contender": contender,
        "regime": fit.manifest.get("regime"),
        "seed": fit.manifest.get("seed"),
        "identity": fit.manifest.get("identity"),
        "base": None if base is None else {"name": base, "licence": origin_of(str(base))[1]},
        "task": fit.read_json("task.json"),
        "spec": spec,
        "gate": spec.get("gate"),
        "evidence": spec.get("evidence"),
        "data": dict(data),
        "metrics": fit.read_json(METRICS_FILE),
        "latency_ms": row.get("latency_ms"),
        "size_bytes": row.get("size_bytes"),
        "ladder": [
            {
                "name": one["name"],
                "regime": one["regime"],
                "base": one.get("base"),
                "fine_tuned": bool(one.get("adapts")),
                "stress": one.get("stress") or [],
            }
            for one in ladder["contenders"]
            if one["status"] == "fitted"
        ],
    }

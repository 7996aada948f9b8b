"""`loratory report`: the evidence of a finished run, weighed again from its rows."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import open_artifact
from loratory.backbones.forward.activation_cache import ActivationCache
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import ArtifactError, ContenderPruned, LoratoryError, make_missing_extra
from loratory.experiment.artifact_lookup import read_ladder, read_unsealed_ladder
from loratory.experiment.prepare import load_prepared
from loratory.experiment.results import write_results
from loratory.experiment.run_context import FittedContender, RunContext
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import make_parser
from loratory.protocols.events import EventListener, Message
from loratory.specs.spec import Contender, parse_spec
from loratory.specs.yaml_files import load_yaml

REPORT_LIBRARIES = ("jinja2", "matplotlib", "nervaluate", "scipy")


def rebuild_report(folder: Path, on_event: EventListener) -> Path:
    """Write ladder.json, verdict.json and report.html of a run again; returns the page.

    Raises MissingExtra, before anything of the run is changed, and ArtifactError.
    """
    for library in REPORT_LIBRARIES:
        if find_spec(library) is None:
            raise make_missing_extra(library, "evaluation")
    with hold_lock(folder, 0):
        return _rebuild_locked(folder, on_event)


def _rebuild_locked(folder: Path, on_event: EventListener) -> Path:
    ladder = _read_fits(folder, on_event)
    file = folder / "spec.lock.yaml"
    values, lines = load_yaml(file)
    spec = parse_spec(values, make_parser(file, lines), folder)
    split = load_prepared(spec, open_artifact(folder / "data"))
    context = RunContext(
        spec,
        split,
        folder / "contenders",
        TorchBackbonePool(),
        ActivationCache(run_locally),
        on_event,
        lambda: False,
        spec.training,
    )
    fitted: dict[str, FittedContender] = {}
    failures: dict[str, LoratoryError] = {}
    rows = {row["name"]: row for row in ladder["contenders"]}
    for contender in spec.ladder:
        row = _row_of(rows, contender, folder)
        if row["status"] != "fitted":
            kind = ContenderPruned if row["status"] == "pruned" else LoratoryError
            failures[contender.name] = kind(row["failure"])
        else:
            folders = {seed: context.folder / contender.name / f"seed-{seed}" for seed in row["seeds"]}
            fitted[contender.name] = FittedContender(contender, folders, row["shipped_seed"], row["trials"])
    write_results(context, RunPaths(folder), fitted, failures)
    return folder / "report.html"


def _read_fits(folder: Path, on_event: EventListener) -> dict[str, Any]:
    """Which fits there are; where the run's manifest does not vouch for it, that is said."""
    try:
        return read_ladder(folder)
    except ArtifactError as problem:
        ladder = read_unsealed_ladder(folder)
        on_event(Message(f"{problem.problem}; the results are computed again from the stored answers of each fit"))
        return ladder


def _row_of(rows: dict[str, Any], contender: Contender, folder: Path) -> Any:
    if contender.name not in rows:
        raise ArtifactError(
            f"the run has no contender {contender.name!r}", where=str(folder), remedy="loratory run finishes it"
        )
    return rows[contender.name]
